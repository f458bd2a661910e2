"""Triggers from outside and from a clock: each part once, and none is lost while the station is down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_ad.cli import main
from edge_ad.errors import SourceError, SpecError
from edge_ad.sources.registry import SOURCES, SourceEntry
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal
from edge_ad.station.station import Station
from edge_ad.station.triggers import Clock, Requests, request_folder, write_requests
from tests.station.making import rows, run_batch, wait_for, write_config


def test_requests_come_in_order_and_once(tmp_path: Path) -> None:
    known = {"old"}
    requests = Requests(tmp_path, "Kamera ü/1", known.__contains__)
    first = write_requests(tmp_path, "Kamera ü/1", ["a", "b/ü\n", "old"])
    write_requests(tmp_path, "Kamera ü/1", ["a", "c"])
    requests.call("now")
    found = [requests.next(0) for _ in range(5)]
    assert [request.part_id for request in found if request] == ["now", "a", "b/ü\n", "", "c"]
    assert first.exists()
    for request in found:
        if request is not None:
            request.accepted()
    assert list(request_folder(tmp_path, "Kamera ü/1").iterdir()) == []
    assert requests.next(0.01) is None


def test_a_ticking_clock() -> None:
    clock = Clock(20.0)
    assert clock.next(0) is not None
    assert clock.next(0) is None
    first = wait_for(lambda: clock.next(0.1))
    time.sleep(0.05)
    second = clock.next(1)
    assert second is not None
    assert second.clock_ns > first.clock_ns
    assert clock.next(0) is None  # what was missed is not made up for


def test_software_triggers(place: Path) -> None:
    config = write_config(place, 'trigger = "software"', source="synthetic:64x64")
    assert main(["trigger", str(config), "top", "A 1", "ü/2", "A 1"]) == 0
    found = run_batch(config)
    assert [(row.part_id, row.outcome, row.sequence) for row in found] == [("A 1", "good", 0), ("ü/2", "good", 1)]
    assert main(["trigger", str(config), "top", "A 1", "3"]) == 0
    assert [row.part_id for row in run_batch(config)] == ["A 1", "ü/2", "3"]
    station = Station(load_config(config))
    try:
        station.trigger("top", "4")
        wait_for(lambda: len(rows(config, "outcome = 'good'")) == 4)
        with pytest.raises(SpecError, match="no camera of that name"):
            station.trigger("none", "5")
    finally:
        station.close()


def test_a_trigger_without_a_frame_is_a_fault(place: Path) -> None:
    camera = 'trigger = "software"\ndeadline_ms = 400\noptions = { rate = 0.001 }'  # one frame, and none for long
    config = write_config(place, camera, source="synthetic:64x64")
    assert main(["trigger", str(config), "top", "first", "a"]) == 0
    _, row = run_batch(config)
    assert row.outcome == "fault"
    assert row.reason.startswith(("no_frame: the source gave no frame", "late: "))


def test_every_tick_is_a_trigger(place: Path) -> None:
    config = write_config(place, 'trigger = "every"\nevery_ms = 20', source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        wait_for(lambda: len(rows(config, "outcome = 'good'")) >= 5)
    finally:
        station.close()
    found = rows(config)
    assert len({row.part_id for row in found}) == len(found)


def test_who_takes_no_triggers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(place)
    assert main(["trigger", str(config), "top", "a"]) == 2
    assert "takes no triggers" in capsys.readouterr().err
    station = Station(load_config(config))
    try:
        with pytest.raises(SourceError, match="takes no triggers"):
            station.trigger("top", "a")
    finally:
        station.close()


def test_a_camera_that_is_told_to_take_the_picture(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer names the part: a picture of another part is not taken for it, and an error ends this part alone."""
    monkeypatch.setitem(SOURCES, "told", SourceEntry("tests.station.told", "a test", "told:"))
    config = write_config(place, 'trigger = "software"\noptions = { trigger = "software" }', source="told:")
    assert main(["trigger", str(config), "top", "a", "never", "broken", "b"]) == 0
    found = {row.part_id: row for row in run_batch(config)}
    outcomes = {part: row.outcome for part, row in found.items()}
    assert outcomes == {"a": "good", "never": "fault", "broken": "fault", "b": "good"}
    assert found["never"].reason == "no_frame: the camera does not answer"
    assert found["broken"].reason == "no_frame: the picture did not come"
    with Journal(load_config(config).journal) as journal:
        assert ("top", "connected", "it is there") in [event[1:] for event in journal.events()]


def test_hostile_part_ids(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a scanner gives: each is one part, and every command finds it again."""
    parts = ["a\nb", "\"'; DROP TABLE triggers; --", "../../etc/passwd", "x" * 10_000, "\udcff", "\0", "=1+1", " "]
    sinks = '[[sink]]\nkind = "csv"\npath = "o.csv"\n[[sink]]\nkind = "pictures"\npath = "o"\n'
    rest = f"{sinks}[retention]\ngood_sample = 1"
    config = write_config(place, 'trigger = "software"', rest, source="synthetic:64x64")
    assert main(["trigger", str(config), "top", *parts]) == 0
    before = {path.name for path in place.parent.iterdir()}
    assert len(run_batch(config)) == len(parts)
    assert {path.name for path in place.parent.iterdir()} == before
    for part in parts:
        capsys.readouterr()
        assert main(["journal", str(config), "--part", part]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        assert main(["replay", str(config), part]) == 0
        assert main(["label", str(config), part, "good"]) == 0
    assert main(["trigger", str(config), "top", ""]) == 2
    station = Station(load_config(config))
    try:
        with pytest.raises(SpecError, match="a part id is empty"):
            station.trigger("top", "")
    finally:
        station.close()


def test_requests_that_cannot_be_read_now_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of another user: `edge-ad trigger` has said that they are safe."""
    first = write_requests(tmp_path, "top", ["a"])
    write_requests(tmp_path, "top", ["b"])
    requests, inner = Requests(tmp_path, "top", lambda part_id: False), Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == first:
            raise PermissionError(13, "Permission denied")
        return inner(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        found = requests.next(0)
        assert found is not None
        assert found.part_id == "b"
        found.accepted()
        assert requests.next(0.05) is None
    found = requests.next(1)
    assert found is not None
    assert found.part_id == "a"


def test_a_request_file_of_nonsense(tmp_path: Path) -> None:
    path = write_requests(tmp_path, "top", ["a"])
    path.write_bytes(b"\xff\n" + b"[" * 100_000 + b'\n{"a": 1\n"a"\n')
    requests = Requests(tmp_path, "top", lambda part_id: False)
    found = requests.next(0)
    assert found is not None
    assert found.part_id == "a"
