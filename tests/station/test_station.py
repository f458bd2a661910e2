"""A whole station, as `edge-ad run` runs it: what comes in, what comes out, and what a stop or a kill leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.errors import EdgeADError, EngineError, SpecError
from edge_ad.runtime import Runtime
from edge_ad.sources.base import Capture
from edge_ad.sources.state import CameraEvent
from edge_ad.station import process as station_process
from edge_ad.station.config import load_config
from edge_ad.station.replay import replay
from edge_ad.station.station import Station
from tests.paths import DATA
from tests.processes import child
from tests.sources.partners import silent_server
from tests.station.making import QUICK, RUN, lines, rows, run_batch, wait_for, write_config, write_frames
from tests.station.told import Told
from tests.tiny import good_frame, picture

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
SINKS = """
[[sink]]
kind = "jsonl"
path = "out/all.jsonl"
[[sink]]
kind = "csv"
path = "out/rejects.csv"
what = ["reject"]
[[sink]]
kind = "pictures"
path = "out/pictures"
what = ["reject", "fault"]
[retention]
good_sample = 1
"""
SINKS_OF_FOLDER = '[[sink]]\nkind = "csv"\npath = "folder"\n'


def test_a_folder_of_frames(place: Path) -> None:
    """Outcomes, pictures, sinks, and files that are moved; nothing is done twice."""
    config = write_config(place, rest=SINKS)
    (place / "frames" / "broken.png").write_bytes((place / "frames/good_0.png").read_bytes()[:-20])
    os.utime(place / "frames" / "broken.png", ns=(10**18, 10**18))  # not written to just now
    found = {row.part_id.rpartition("-")[0]: row for row in run_batch(config)}
    outcomes = {name: row.outcome for name, row in found.items()}
    assert outcomes == {"good_0": "good", "good_1": "good", "bad_0": "reject", "bad_1": "reject", "broken": "fault"}
    assert found["broken"].reason.startswith("no_frame: ")
    assert "truncated" in found["broken"].reason
    assert found["bad_0"].score is not None
    assert sorted(os.listdir(place / "frames")) == ["done"]
    assert len(os.listdir(place / "frames/done")) == 5
    assert len(lines(place / "out/all.jsonl")) == 5
    assert len((place / "out/rejects.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(list((place / "out/pictures").rglob("*.png"))) == 2
    for name in ("good_0", "bad_1"):
        frame = cv2.imdecode(np.frombuffer((place / "var" / found[name].picture).read_bytes(), np.uint8), 1)
        moved = cv2.imdecode(np.frombuffer((place / f"frames/done/{name}.png").read_bytes(), np.uint8), 1)
        np.testing.assert_array_equal(frame, moved)
    assert len(run_batch(config)) == 5
    shutil.copy2(place / "frames/done/good_0.png", place / "frames/good_0.png")  # the very file again
    assert len(run_batch(config)) == 5
    write_frames(place / "frames", 1, 0)  # another one of the same name
    assert len(run_batch(config)) == 6
    assert len(lines(place / "out/all.jsonl")) == 6


def test_replay_to_the_bit_after_the_bundle_changed(place: Path, golden_roi: Path) -> None:
    config = write_config(place, rest=SINKS)
    parts = [row.part_id for row in run_batch(config)]
    shutil.copy(golden_roi, place / "part.bundle")
    for part in parts:
        found = replay(load_config(config), part)
        assert found.judged
        assert found.same
        assert found.decision.outcome == found.row.outcome
    with pytest.raises(SpecError, match="no such part"):
        replay(load_config(config), "none")


def test_a_mask_of_the_camera(place: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:16, :16] = 255  # where no scratch is
    picture(place / "mask.png", mask)
    config = write_config(place, 'roi = "mask.png"', SINKS)
    found = run_batch(config)
    assert {row.outcome for row in found} == {"good"}
    (place / "mask.png").unlink()
    assert all(replay(load_config(config, files=False), row.part_id).same for row in found)


def test_no_part_is_no_pass(place: Path) -> None:
    """The bundle looks for the part; a frame of noise has none."""
    shutil.copy(DATA / "format-3.bundle", place / "part.bundle")
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    shutil.rmtree(place / "frames")
    picture(place / "frames/noise.png", noise)
    (row,) = run_batch(write_config(place, "align = true"))
    assert row.outcome == "no_part"
    assert "not found" in row.reason


def test_a_bundle_must_look_for_the_part_where_align_says_so(place: Path) -> None:
    with pytest.raises(SpecError, match="does not look for the part"):
        run_batch(write_config(place, "align = true"))


@pytest.mark.parametrize(
    ("error", "word"),
    [(EngineError("gave NaN"), "engine: gave NaN"), (ValueError("x"), "engine: ValueError: x"), (MemoryError(), "")],
)
def test_whatever_an_engine_does_is_a_fault(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, word: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    (place / "frames").rename(place / "later")
    (place / "frames").mkdir()
    station = Station(load_config(write_config(place, rest=SINKS)), batch=True)
    monkeypatch.setattr(Runtime, "inspect", fail)
    for path in (place / "later").iterdir():
        path.rename(place / "frames" / path.name)
    try:
        wait_for(lambda: not station.turn())
    finally:
        station.close()
    found = rows(place / "station.toml")
    assert {row.outcome for row in found} == {"fault"}
    assert len(found) == 4
    assert all(word in row.reason and row.bundle for row in found)
    assert all(row.kept == 2 for row in found)  # the pictures of faults are kept too


def test_a_frame_that_the_bundle_refuses(place: Path) -> None:
    shutil.rmtree(place / "frames")
    picture(place / "frames/deep.png", np.zeros((64, 64), np.uint16))
    (row,) = run_batch(write_config(place))
    assert row.outcome == "fault"
    assert row.reason.startswith("frame: ")


def test_a_late_verdict_is_not_good(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Runtime.inspect
    late: list[object] = []

    def slowly(self: Runtime, *arguments: object, **options: object) -> object:
        wait_for(lambda: rows(place / "station.toml", "outcome IS NOT NULL"))
        late.append(inner(self, *arguments, **options))  # type: ignore[arg-type]
        return late[-1]

    config = load_config(write_config(place, "deadline_ms = 50", source="synthetic:64x64"))
    monkeypatch.setattr("edge_ad.station.swap.open_bundle", _open_quickly)
    monkeypatch.setattr(Runtime, "inspect", slowly)
    station = Station(config)
    try:
        wait_for(lambda: late)
    finally:
        station.close()
    found = rows(place / "station.toml", "outcome != 'good'")
    assert found[0].reason.startswith("late: ")


def test_what_can_wait_is_read_when_one_inspection_at_most_is_before_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Runtime.inspect
    accepted: list[int] = []

    def slowly(self: Runtime, *arguments: object, **options: object) -> object:
        if not accepted:
            until = time.monotonic() + 1.0
            while len(rows(place / "station.toml")) < 3 and time.monotonic() < until:
                time.sleep(0.01)
            accepted.append(len(rows(place / "station.toml")))
        return inner(self, *arguments, **options)  # type: ignore[arg-type]

    config = write_config(place)
    monkeypatch.setattr("edge_ad.station.swap.open_bundle", _open_quickly)
    monkeypatch.setattr(Runtime, "inspect", slowly)
    assert len(run_batch(config)) == 4
    assert accepted
    assert accepted[0] <= 2


class _Opening(Told):
    """A camera that takes longer to open than a station waits for a trigger."""

    def __init__(self, camera: str) -> None:
        super().__init__(camera)
        self._events.clear()
        self._there = time.monotonic() + 1.5

    def read(self, timeout_s: float) -> Capture | None:
        if self._there and time.monotonic() > self._there:
            self._there = 0.0
            self._events.append(CameraEvent("top", 0, "connected", "it is there"))
            self._make("a", frame=good_frame(1000))
        return super().read(timeout_s)


def test_a_camera_that_is_being_opened_is_not_idle(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(place, source="synthetic:64x64")
    monkeypatch.setattr("edge_ad.station.line.open_source", lambda *arguments: _Opening("top"))
    assert [row.part_id for row in run_batch(config)] == ["a"]


def _open_quickly(camera: object, path: Path, roi: object) -> object:
    from edge_ad.station.swap import InUse

    return InUse(Runtime(path, threads=1))


# ---------------------------------------------------------------------------------------------------- stops


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_finishes_the_part_in_hand(place: Path, number: signal.Signals, code: int) -> None:
    config = write_config(place, "options = { rate = 200 }", SINKS, source="synthetic:64x64")
    with child([*RUN, config], stderr=subprocess.PIPE) as process:
        wait_for(lambda: (place / "var/journal.sqlite").exists() and len(_rows(config)) > 20)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    found = rows(config)
    assert f"has stopped; {sum(row.outcome == 'good' for row in found)} good" in errors
    assert f"({len(found)} triggers)" in errors
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    assert {row.outcome for row in found} <= {"good", "reject"}
    assert len(lines(place / "out/all.jsonl")) == len(found)


@posix
def test_whoever_stops_it_again_does_not_wait(place: Path) -> None:
    """Its sink does not answer; no crash, and no exit code of one."""
    with silent_server() as address:
        config = write_config(place, rest=f'[[sink]]\nkind = "webhook"\nurl = "http://{address}"\nanswer_s = 100\n')
        with child([*RUN, config], stderr=subprocess.PIPE) as process:
            wait_for(lambda: len(_rows(config)) == 4)

            def has_ended() -> bool:
                process.send_signal(signal.SIGINT)
                return process.poll() is not None

            wait_for(has_ended)
            assert process.returncode == 130
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        assert len(rows(config, "outcome IS NOT NULL")) >= 1


def _rows(config: Path) -> list[object]:
    try:
        return [*rows(config)]
    except EdgeADError:  # it is being made
        return []


@posix
def test_sighup_reads_the_configuration_again(place: Path) -> None:
    config = write_config(place)
    command = [*RUN, config, "--log", "json"]
    with child(command, stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(_rows(config)) == 4)
        config.write_text("[station\n")
        process.send_signal(signal.SIGHUP)
        errors = process.stderr
        assert errors is not None
        wait_for(lambda: "is no TOML" in errors.readline())
        write_config(place, "deadline_ms = 50000", SINKS)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "was read again" in errors.readline())
        write_frames(place / "frames", 1, 1, first=10)
        wait_for(lambda: len(_rows(config)) == 6)
        wait_for(lambda: (place / "out/all.jsonl").exists() and len(lines(place / "out/all.jsonl")) == 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143


def _second(place: Path, sink: str = "out/all.jsonl", rest: str = "") -> str:
    (place / "more").mkdir(exist_ok=True)
    camera = '[[camera]]\nname = "side"\nsource = "folder:more"\nbundle = "part.bundle"\nthreads = 1\n'
    return f'{camera}{QUICK}\n[[sink]]\nkind = "jsonl"\npath = "{sink}"\n{rest}'


def test_a_reload_that_fails_changes_nothing(place: Path) -> None:
    """Neither cameras nor sinks, wherever it fails; and the next one finds all as it was."""
    (place / "folder").mkdir()
    station = Station(load_config(write_config(place, rest=_second(place))))
    try:
        before = station.config
        for rest in (
            _second(place).replace("threads = 1", "threads = 1\nalign = true"),
            _second(place, sink="folder"),
            _second(place, rest='what = ["reject"]\n') + SINKS_OF_FOLDER,
        ):
            write_config(place, "deadline_ms = 50000", rest)
            with pytest.raises(EdgeADError):
                station.reload()
            assert station.config is before
            assert {*station._lines} == {"top", "side"}
            assert len(station._outboxes) == 1
        write_frames(place / "frames", 1, 0, first=10)
        write_frames(place / "more", 1, 0, first=20)
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 6)
        wait_for(lambda: (place / "out/all.jsonl").exists() and len(lines(place / "out/all.jsonl")) == 6)
        write_config(place, "deadline_ms = 50000")  # a camera and a sink fewer
        station.reload()
        assert ({*station._lines}, station._outboxes) == ({"top"}, {})
        write_config(place, rest=_second(place))
        station.reload()
        write_frames(place / "more", 1, 0, first=30)
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 7)
        wait_for(lambda: len(lines(place / "out/all.jsonl")) == 7)
    finally:
        station.close()


def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """The short form of `python -m bench.station`."""
    from bench.station import soak

    books = soak(tmp_path, triggers=600, kill_every=200)
    assert books.kills >= 1
    assert (books.lost, books.twice, books.unequal) == ([], [], [])
    assert sum(books.outcomes.values()) == 600


@posix
def test_one_station_on_a_data_folder(place: Path) -> None:
    config = write_config(place)
    with child([*RUN, config], stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(_rows(config)) == 4)
        second = subprocess.run([*RUN, config], capture_output=True, text=True, timeout=120)
        assert second.returncode == 2
        assert f"another station works on {place / 'var'}" in second.stderr
        assert f"process {process.pid}" in second.stderr
        process.kill()  # the lock dies with its owner
        process.wait(120)
    assert len(run_batch(config)) == 4


def test_it_cannot_start(place: Path) -> None:
    (place / "var").write_text("a file")
    with pytest.raises(EdgeADError, match=r"data folder .* cannot be written"):
        Station(load_config(write_config(place)))
    (place / "var").unlink()
    (place / "part.bundle").rename(place / "right.bundle")
    (place / "part.bundle").write_bytes(b"no bundle")
    with pytest.raises(EdgeADError, match="no bundle, or its end"):
        run_batch(write_config(place))
    (place / "right.bundle").replace(place / "part.bundle")
    shutil.rmtree(place / "frames")
    with pytest.raises(EdgeADError, match="cannot be read"):
        run_batch(write_config(place))
    assert rows(place / "station.toml") == []


def test_an_empty_folder_ends_at_once(place: Path) -> None:
    shutil.rmtree(place / "frames")
    (place / "frames").mkdir()
    assert run_batch(write_config(place)) == []


def test_until_idle_waits_for_files_that_rest(place: Path) -> None:
    (place / "frames/empty.png").write_bytes(b"")  # a fault after two seconds
    found = run_batch(write_config(place, "options = { still_ms = 1500 }"))
    assert len(found) == 5
    assert sorted(os.listdir(place / "frames")) == ["done"]


def test_until_idle_does_not_wait_for_ever_for_a_sink(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.station.outbox._LONG_S", 0.3)
    rest = '[[sink]]\nkind = "webhook"\nurl = "http://127.0.0.1:9/none"\n'
    with pytest.raises(EdgeADError, match=r"sink webhook-\w+ takes nothing.*Nothing is lost"):
        run_batch(write_config(place, rest=rest))
    assert len(rows(place / "station.toml", "outcome IS NOT NULL")) == 4


def test_a_source_that_fails_as_nobody_foresaw_is_opened_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.sources.folder import Folder

    inner, failures = Folder.read, [ValueError("from a library"), OSError(5, "Input/output error")]

    def read(self: Folder, timeout_s: float) -> object:
        if failures:
            raise failures.pop()
        return inner(self, timeout_s)

    monkeypatch.setattr(Folder, "read", read)
    monkeypatch.setattr("edge_ad.station.line._AGAIN_S", (0.05, 0.1))
    station = Station(load_config(write_config(place)))
    try:
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 4)
        assert failures == []
    finally:
        station.close()


def test_a_folder_that_comes_later(place: Path) -> None:
    (place / "frames").rename(place / "elsewhere")
    station = Station(load_config(write_config(place)))
    try:
        assert station._lines["top"].error is not None
        (place / "elsewhere").rename(place / "frames")
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 4)
        assert station._lines["top"].error is None
    finally:
        station.close()


def test_ready_and_alive_are_told_to_systemd(place: Path) -> None:
    import socket

    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no Unix sockets here")
    path = str(place.parent / "n")  # an address may have 107 bytes
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(120)
        told = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"}
        with child([*RUN, write_config(place)], env=told, stderr=subprocess.DEVNULL) as process:
            assert receiver.recv(100) == b"READY=1"
            assert receiver.recv(100) == b"WATCHDOG=1"
            process.terminate()
            while receiver.recv(100) != b"STOPPING=1":
                pass
            assert process.wait(120) == (143 if sys.platform != "win32" else 1)


@posix
def test_a_slow_reload_is_no_reason_to_kill_the_station(monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens bundles: the service manager hears meanwhile that the cameras get on."""
    told: list[str] = []
    fed = threading.Event()

    def hear(state: str) -> None:
        told.append(state)
        if state == "WATCHDOG=1" and "RELOADING=1" in told:
            fed.set()

    turns = iter((True, False))
    station: Any = SimpleNamespace(turn=lambda: next(turns), stuck=lambda limit_s: "", reload=lambda: fed.wait(60))
    monkeypatch.setattr(station_process, "notify", hear)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    assert station_process._loop(station, [signal.SIGHUP], threading.Event()) == 0
    assert told[:2] == ["RELOADING=1", "WATCHDOG=1"]
    assert "READY=1" in told


@posix
def test_a_journal_that_is_removed_stops_the_station(place: Path) -> None:
    """What nobody finds is not journalled."""
    station = Station(load_config(write_config(place)))
    try:
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 4)
        assert station.turn()
        (place / "var").rename(place / "gone")  # at once: what is removed file by file is written anew meanwhile
        with pytest.raises(EdgeADError, match="moved or removed"):
            station.turn()
    finally:
        station.close()


def test_a_loop_that_hangs_is_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    station = Station(load_config(write_config(place)))
    try:
        wait_for(lambda: len(rows(place / "station.toml", "outcome IS NOT NULL")) == 4)
        assert station.stuck(60) == ""
        monkeypatch.setattr(Runtime, "inspect", lambda *_, **__: go.wait(120))
        write_frames(place / "frames", 1, 0, first=50)
        wait_for(lambda: station.stuck(0.5) == "top")
    finally:
        go.set()
        station.close()
