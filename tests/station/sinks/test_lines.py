"""Files of lines: each outcome once, whatever came between; and what a table may hold."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.journal import Row
from edge_ad.station.sinks import lines as module
from edge_ad.station.sinks.base import Message, SinkOpening
from edge_ad.station.sinks.table import SINKS


def message(number: int, part_id: str = "a", **fields: object) -> Message:
    values: dict[str, object] = dict.fromkeys(Row.__dataclass_fields__)
    values |= {"id": number, "camera": "top", "part_id": part_id, "source": "folder:x", "sequence": 0, "time_ns": 0}
    values |= {"number": number, "outcome": "good", "reason": "", "kept": 0, "label": "", "picture": "", **fields}
    return Message(f"key-{number}", Row(**values))  # type: ignore[arg-type]


def opened(kind: str, path: Path) -> object:
    return SINKS.open(kind, SinkOpening("station", path.parent, {"path": str(path)}))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_again_and_half_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new" / f"out.{kind}"
    sink = opened(kind, path)
    sink.deliver([message(1), message(3)])  # type: ignore[attr-defined]
    sink.deliver([message(3), message(4)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1][:10])  # a power cut
    sink = opened(kind, path)
    assert path.read_bytes() == whole
    sink.deliver([message(4), message(5)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    assert numbers(path) == [1, 3, 4, 5]


def numbers(path: Path) -> list[int]:
    with open(path, encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line)["number"] for line in file]
        return [int(line["number"]) for line in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_write_that_fails_leaves_whole_lines(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"out.{kind}"
    sink = opened(kind, path)
    sink.deliver([message(1)])  # type: ignore[attr-defined]

    def fail(descriptor: int) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", fail)
        with pytest.raises(OSError, match="no space"):
            sink.deliver([message(2)])  # type: ignore[attr-defined]
    sink.deliver([message(2), message(3)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    assert numbers(path) == [1, 2, 3]


def test_part_ids_of_any_kind(tmp_path: Path) -> None:
    parts = ["=1+1", "ä\nb", 'a,"b"', "\udc80", "-1", "@x"]
    for kind in ("jsonl", "csv"):
        sink = opened(kind, tmp_path / f"out.{kind}")
        sink.deliver([message(at, part) for at, part in enumerate(parts, 1)])  # type: ignore[attr-defined]
        sink.close()  # type: ignore[attr-defined]
    with open(tmp_path / "out.jsonl", encoding="utf-8") as file:
        found = [json.loads(line)["part_id"] for line in file]
    assert found[:3] == parts[:3]
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        cells = [line["part_id"] for line in csv.DictReader(file)]
    assert cells == ["'=1+1", "ä\\nb", 'a,"b"', "\\x80", "'-1", "'@x"]  # a sheet computes none of them


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for kind in ("jsonl", "csv"):
        with pytest.raises(EdgeADError, match="cannot write"):
            opened(kind, tmp_path / "folder")


def test_every_kind_has_its_keys() -> None:
    for kind in SINKS:
        assert {"what"} <= {*SINKS.keys_of(kind)}


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path, kind: str) -> None:
    """What was said to be delivered must not lie in a file that nobody finds."""
    path = tmp_path / f"out.{kind}"
    sink = opened(kind, path)
    sink.deliver([message(1)])  # type: ignore[attr-defined]
    path.rename(tmp_path / f"old.{kind}")
    sink.deliver([message(2)])  # type: ignore[attr-defined]
    path.unlink()
    path.mkdir()
    with pytest.raises(EdgeADError, match="cannot write"):
        sink.deliver([message(3)])  # type: ignore[attr-defined]
    path.rmdir()
    sink.deliver([message(3), message(4)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    assert (numbers(tmp_path / f"old.{kind}"), numbers(path)) == ([1], [3, 4])


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_the_numbers_of_another_journal(tmp_path: Path, kind: str) -> None:
    """A data folder that was made anew counts from 1 again; the file has larger numbers already."""
    path = tmp_path / f"out.{kind}"
    sink = opened(kind, path)
    sink.deliver([message(7)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    sink = opened(kind, path)
    sink.deliver([replace(message(number), key=f"other-{number}") for number in (1, 2)])  # type: ignore[attr-defined]
    sink.deliver([replace(message(number), key=f"other-{number}") for number in (2, 3)])  # type: ignore[attr-defined]
    sink.close()  # type: ignore[attr-defined]
    assert numbers(path) == [7, 1, 2, 3]
