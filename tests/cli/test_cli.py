"""The `edge-ad` command, whatever it is asked."""

from __future__ import annotations

from pathlib import Path

from tests.cli.calling import run


def test_nothing_is_written_where_it_runs(golden: Path, parts: Path, tmp_path: Path) -> None:
    empty = tmp_path / "here"
    empty.mkdir()
    for command in ("info", "check"):
        assert run(command, golden, cwd=empty).returncode == 0
    assert run("inspect", golden, parts, cwd=empty).returncode == 1
    assert list(empty.iterdir()) == []
