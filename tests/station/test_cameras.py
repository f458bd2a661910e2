"""Stations with videos and live cameras: an outcome a frame, faults while a camera sees nothing, and nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_ad.cli import main
from edge_ad.errors import EdgeADError
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal
from edge_ad.station.station import Station
from tests.processes import child, descendants
from tests.sources.partners import free_port, gige, web
from tests.station.making import RUN, rows, wait_for, write_config
from tests.tiny import bad_frame, good_frame

linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc and /dev/shm")
LIVE = "options = { backoff_s = 0.1, backoff_max_s = 0.2, silent_s = 1.0, dark_s = 0.5, frozen_s = 0 }"


@pytest.fixture
def film(place: Path) -> Path:
    """12 frames; the last one is bad."""
    path = place / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 64))
    for n in range(12):
        writer.write(bad_frame(2000) if n == 11 else good_frame(1000 + n))
    writer.release()
    return path


def kinds(config: Path) -> list[str]:
    try:
        with Journal(load_config(config, files=False).journal) as journal:
            return [kind for _, _, kind, _ in reversed(journal.events())]
    except EdgeADError:  # it is being made
        return []


def seen(config: Path, outcome: str, reason: str = "") -> int:
    try:
        return sum(row.outcome == outcome and reason in row.reason for row in rows(config))
    except EdgeADError:
        return 0


def test_a_video_until_idle(film: Path, place: Path) -> None:
    """By a path that starts from the configuration; it ends when the video does, however long its process takes."""
    config = write_config(place, source="video:film.avi")
    done = subprocess.run([*RUN, config, "--until-idle"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = rows(config)
    assert [row.sequence for row in found] == list(range(12))
    assert found[-1].outcome == "reject"
    assert {row.outcome for row in found} <= {"good", "reject"}
    assert [kind for kind in kinds(config) if kind != "reference"][-1] == "ended"


def test_every_tick_of_a_video_that_ends(film: Path, place: Path) -> None:
    config = write_config(place, 'trigger = "every"\nevery_ms = 20\noptions = { pace = true }', source="video:film.avi")
    station = Station(load_config(config), batch=True)
    try:
        wait_for(lambda: not station.turn())
    finally:
        station.close()
    assert rows(config)


def test_a_video_that_is_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "film.avi").write_bytes(b"no video" * 1000)
    config = write_config(place, source="video:film.avi")
    assert main(["run", str(config), "--until-idle"]) == 2
    assert "film.avi cannot be read" in capsys.readouterr().err
    assert main(["doctor", str(config)]) == 2
    assert "BAD  camera top, source" in capsys.readouterr().out


@linux
def test_a_live_camera_that_goes_dark_and_whose_process_is_killed(place: Path) -> None:
    """What the camera does not see is a fault, never good; a kill of the station leaves no process."""
    with web() as camera:
        config = write_config(place, LIVE, source=camera.address)
        memory = sorted(os.listdir("/dev/shm"))
        with child([*RUN, config], stderr=subprocess.DEVNULL) as process:
            wait_for(lambda: seen(config, "reject") > 2)
            (captor,) = descendants(process.pid)
            os.kill(captor, signal.SIGKILL)
            wait_for(lambda: seen(config, "fault", "its process was killed by SIGKILL"))
            wait_for(lambda: kinds(config).count("connected") == 2)
            camera.shows = "dark"
            wait_for(lambda: seen(config, "fault", "the camera is dark") > 2)
            camera.shows = "moving"
            wait_for(lambda: kinds(config)[kinds(config).index("dark") :].count("live"))
            assert [*dict.fromkeys(kind for kind in kinds(config) if kind in ("lost", "dark"))] == ["lost", "dark"]
            captors = descendants(process.pid)
            process.kill()
            process.wait(60)
            wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in captors))
        assert sorted(os.listdir("/dev/shm")) == memory
        assert seen(config, "good") == 0  # it shows no part of this bundle


@linux
def test_a_stop_ends_the_process_of_a_camera(place: Path) -> None:
    with web() as camera:
        config = write_config(place, f'trigger = "software"\n{LIVE}', source=camera.address)
        with child([*RUN, config], stderr=subprocess.PIPE) as process:
            wait_for(lambda: "live" in kinds(config))
            assert main(["trigger", str(config), "top", "one", "two"]) == 0
            wait_for(lambda: len(rows(config, "outcome IS NOT NULL")) == 2)
            captors = descendants(process.pid)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 143, errors
        assert "Traceback" not in errors
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in captors))
        assert [(row.part_id, row.outcome) for row in rows(config)] == [("one", "reject"), ("two", "reject")]
        assert "drops" not in kinds(config)  # a frame that nobody asked for is no part


def test_the_doctor_waits_for_a_camera(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with web() as camera:
        assert main(["doctor", str(write_config(place, LIVE, source=camera.address))]) == 0
        capsys.readouterr()
        config = write_config(place, LIVE, source=f"http://127.0.0.1:{free_port()}/live")
        assert main(["doctor", str(config)]) == 2
        assert "BAD  camera top, source" in capsys.readouterr().out
        station = Station(load_config(config))  # it starts, and waits for the camera
        try:
            wait_for(lambda: "lost" in kinds(config))
            assert main(["doctor", str(config)]) == 2
            assert "BAD  camera top, source" in capsys.readouterr().out
        finally:
            station.close()


def test_a_genicam_camera_that_is_told(place: Path) -> None:
    options = 'options = { trigger = "software", features = { Width = 64, Height = 64 }, pixel_format = "RGB8" }'
    with gige():
        config = write_config(place, f'trigger = "software"\n{options}', source="aravis:127.0.0.1")
        station = Station(load_config(config))
        try:
            wait_for(lambda: "live" in kinds(config))
            station.trigger("top", "a")
            station.trigger("top", "b")
            wait_for(lambda: len(rows(config, "outcome IS NOT NULL")) == 2)
        finally:
            station.close()
    assert [(row.part_id, row.outcome) for row in rows(config)] == [("a", "reject"), ("b", "reject")]


def test_triggers_that_do_not_go_with_the_source(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for camera, source, says in (
        ('trigger = "software"', "folder:frames", "each file of a hot folder is a trigger"),
        ('options = { trigger = "software" }', "aravis:x", "nothing tells it"),
    ):
        assert main(["run", "--check", str(write_config(place, camera, source=source))]) == 2
        assert says in capsys.readouterr().err
