"""Files that grow, hold space, or move."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_ad.system import files
from edge_ad.system.files import hold_space, move_file, open_appended


def test_a_file_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    for part in (b"a", b"b"):
        with open_appended(path) as file:
            file.write(part)
    assert path.read_bytes() == b"ab"
    with pytest.raises(files.EdgeADError, match="cannot write"):
        open_appended(tmp_path)


def test_space_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "held"
    assert hold_space(path, 3 * 2**20 + 5)
    assert path.stat().st_size == 3 * 2**20 + 5
    assert hold_space(path, 3 * 2**20 + 5)

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    assert not hold_space(path, 10)
    assert os.listdir(tmp_path) == ["held"]


def test_a_move_replaces_nothing(tmp_path: Path) -> None:
    for expected in ("a.png", "a~2.png", "a~3.png"):
        (tmp_path / "a.png").write_text(expected)
        assert move_file(tmp_path / "a.png", tmp_path / "done/a.png") == tmp_path / "done" / expected
    assert {path.name: path.read_text() for path in (tmp_path / "done").iterdir()} == {
        name: name for name in ("a.png", "a~2.png", "a~3.png")
    }
    with pytest.raises(FileNotFoundError):
        move_file(tmp_path / "a.png", tmp_path / "done/a.png")
