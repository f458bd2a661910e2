"""A disk that is full: a small tmpfs, filled by another program while the station runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.station import retention
from edge_ad.station.config import load_config
from edge_ad.station.station import Station
from tests.station.making import lines, rows, wait_for, write_config

MB = 2**20


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """The data folder of the station, on a disk of 24 MB."""
    data = place / "var"
    data.mkdir()
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("a small disk is mounted by root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield data
    subprocess.run(["umount", "--lazy", data], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Takes the room that a disk has now, but for so many bytes. What the station gives up meanwhile stays its own."""
    path, left = folder / "filler", shutil.disk_usage(folder).free - leave
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:  # others write at the same time
        while left > 0:
            left -= file.write(b"x" * min(MB, left))
    return path


def test_verdicts_go_on_with_the_reserve_and_stop_without(
    small: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RESERVE_BYTES", 4 * MB)
    rest = '[retention]\ngood_sample = 0\nmin_free_gb = 0\n[[sink]]\nkind = "jsonl"\npath = "out.jsonl"'
    config = write_config(place, "options = { rate = 300, bad = 0.2 }", rest, source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        wait_for(lambda: len(rows(config, "number > 0")) > 50)
        assert station.keeper.has_reserve
        filler = fill(small, 0)
        wait_for(lambda: not station.keeper.has_reserve)
        assert not (small / "reserve").exists()
        at_loss = len(rows(config))
        wait_for(lambda: len(rows(config, "number > 0")) > at_loss + 50)  # in the room of the reserve
        fill(small, 0)
        wait_for(lambda: station.desk.blocked)
        wait_for(lambda: station.desk.failed is None and station.desk.blocked)
        filler.unlink()
        wait_for(lambda: not station.desk.blocked)
        wait_for(lambda: station.keeper.has_reserve)  # made again
        count = len(rows(config))
        wait_for(lambda: len(rows(config, "number > 0 AND kept = 2")) and len(rows(config)) > count + 50)
    finally:
        station.close()
    found = rows(config)
    assert [row.sequence for row in found] == list(range(len(found)))  # what was not accepted was not taken either
    assert sorted(row.number or 0 for row in found) == list(range(1, len(found) + 1))
    for row in found:
        assert row.outcome in ("good", "reject") or row.reason.startswith("late: ")
    assert all((small / row.picture).is_file() for row in found if row.kept == 2)
    assert [line["number"] for line in lines(place / "out.jsonl")] == list(range(1, len(found) + 1))
    assert list(small.rglob("*.tmp")) == []


def test_pictures_of_good_parts_make_room_for_rejects(
    small: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RESERVE_BYTES", MB)
    config = write_config(
        place,
        "options = { rate = 300, bad = 0.05 }",
        "[retention]\ngood_sample = 1\nmin_free_gb = 0",
        source="synthetic:64x64",
    )
    station = Station(load_config(config))
    try:
        wait_for(lambda: len(rows(config, "kept = 2 AND outcome = 'good'")) > 60)
        before = len(rows(config))
        fill(small, 64 * 1024)
        wait_for(lambda: rows(config, "kept = 4"))
        # Where the journal has taken its reserve meanwhile, more room is wanted than good parts have: rejects go then
        removed, left = rows(config, "kept = 4"), rows(config, "kept = 2 AND outcome = 'good'")
        rejects = [row.number for row in removed if row.outcome == "reject"]
        assert len(rejects) < len(removed)
        assert all(row.number > max(rejects, default=0) for row in left)
        wait_for(lambda: rows(config, f"kept = 2 AND outcome = 'reject' AND id > {before}"))
    finally:
        station.close()
