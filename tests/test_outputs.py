"""What is written whole or not at all, and what is gone afterwards, with Ctrl-C at the worst moments."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.system.files import folder_beside, write_file


def interrupted_after(function: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    """Does what `function` does and then raises KeyboardInterrupt, as often as said."""
    left = [None] * times

    def interrupted(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if left:
            left.pop()
            raise KeyboardInterrupt
        return result

    return interrupted


def test_a_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    write_file(target, [b"af", memoryview(b"ter")])
    assert target.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_there_is(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    write_file(target, [b"after"])
    assert target.read_bytes() == b"after"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_a_file_that_cannot_be_finished(tmp_path: Path, error: type[BaseException]) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise error

    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(error):
        write_file(target, parts())
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_with_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, interrupted_after(getattr(os, call)))
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", [b"after"])
    assert os.listdir(tmp_path) == (["file"] if call == "replace" else [])


def test_a_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "target") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".target.")
        (folder / "file").write_bytes(b"")
    with pytest.raises(RuntimeError), folder_beside(tmp_path / "target") as folder:
        raise RuntimeError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["mkdir", "unlink", "rmdir", "rmtree"])
def test_a_folder_with_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    owner = shutil if call == "rmtree" else os
    monkeypatch.setattr(owner, call, interrupted_after(getattr(owner, call)))
    with pytest.raises(KeyboardInterrupt), folder_beside(tmp_path / "target") as folder:
        (folder / "file").write_bytes(b"")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "target") as folder:
        folder.rename(tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]


def test_no_folder_to_put_it_in(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "file", [b""])
    with pytest.raises(FileNotFoundError), folder_beside(tmp_path / "none" / "target"):
        pass
