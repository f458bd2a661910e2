"""Processes that capture: what arrives, what is dropped, and that nothing stays when somebody is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.errors import ForkError, SourceError
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.worker import Worker
from tests.paths import ROOT
from tests.processes import child
from tests.sources.grabbers import made, opened
from tests.sources.partners import captures, health, wait_for, whole


def shown(frame: np.ndarray | None) -> int:
    """The number of a made frame."""
    assert frame is not None
    return int(frame[1, 1].flat[0])


def test_every_frame_arrives_as_it_was(tmp_path: Path) -> None:
    with made(tmp_path, last=60, fps=1000.0, live=False) as source:
        found = captures(source, whole, 60)
        wait_for(lambda: source.ended, "the end")
        assert source.read(0.0) is None
        state, kinds = source.state(), [event.kind for event in source.events()]
    assert [capture.sequence for capture in found] == list(range(60))
    assert [shown(capture.frame) for capture in found] == list(range(60))
    assert len({capture.part_id for capture in found}) == 60
    assert found[0].frame is not None
    assert (found[0].frame.shape, found[0].frame.dtype) == ((32, 40, 3), np.uint8)
    found[0].frame[:] = 1  # it is the reader's
    assert (state.frames, state.drops, state.connected) == (60, 0, False)
    assert kinds == ["connected", "live", "ended"]


def test_frames_of_16_bits(tmp_path: Path) -> None:
    with made(tmp_path, wide=True) as source:
        frame = captures(source, whole, 20)[-1].frame
        assert frame is not None
        assert (frame.shape, frame.dtype, int(frame[5, 5])) == ((32, 40), np.uint16, 19)


def test_frames_that_grow(tmp_path: Path) -> None:
    """The memory is made anew. What was not read before is read from the old one."""
    with made(tmp_path, grows=3, last=6, live=False, slots=8) as source:
        wait_for(lambda: source.state().frames == 6, "frames")
        found = captures(source, whole, 6)
    assert [shown(capture.frame) for capture in found] == list(range(6))
    assert [capture.frame.shape[0] for capture in found if capture.frame is not None] == [32] * 3 + [48] * 3


def test_the_newest_frame_for_a_slow_reader(tmp_path: Path) -> None:
    with made(tmp_path, policy="newest") as source:
        found = []
        while len(found) < 5:
            found += captures(source, whole)
            before = source.state().frames
            wait_for(lambda before=before: source.state().frames > before + 10, "frames")
        state = source.state()
    assert all(shown(capture.frame) == capture.sequence % 251 for capture in found)
    gaps = np.diff([capture.sequence for capture in found])
    assert gaps.min() > 5
    assert state.drops >= (gaps - 1).sum()
    assert state.drops + len(found) + 1 >= state.frames


def test_a_camera_waits_for_a_slow_reader(tmp_path: Path) -> None:
    """And is not called silent meanwhile."""
    with made(tmp_path, policy="every", silent_s=0.5) as source:
        found = captures(source, whole, 3)
        wait_for(lambda: source.state().frames == 3 + 4, "all slots full")
        time.sleep(1.5)
        assert source.state().health == "live"
        found += captures(source, whole, 20)
        assert set(np.diff([capture.sequence for capture in found])) == {1}
        assert source.state().drops == 0


def test_times_are_those_of_this_pc(tmp_path: Path) -> None:
    """time.monotonic_ns is one clock for all processes."""
    with made(tmp_path) as source:
        before = time.monotonic_ns(), time.time_ns()
        first, second = captures(source, whole, 2)
        assert before[0] < first.clock_ns < second.clock_ns <= time.monotonic_ns()
        assert before[1] < first.time_ns < second.time_ns <= time.time_ns()


# ---------------------------------------------------------------------------------------------------- lost


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    with made(tmp_path) as source:
        captures(source, whole, 3)
        pid = source.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        fault = captures(source, lambda capture: not whole(capture))[0]
        again = captures(source, whole)[0]
        state, events = source.state(), source.events()
    assert "killed by SIGKILL" in fault.fault
    assert again.sequence > fault.sequence
    assert (state.reconnects, state.health) == (1, "live")
    assert state.pid != pid
    assert [event.kind for event in events] == ["connected", "live", "lost", "silent", "connected", "live"]


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
def test_a_process_that_is_killed_by_a_signal_without_a_name(tmp_path: Path) -> None:
    with made(tmp_path) as source:
        captures(source, whole, 3)
        pid = source.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGRTMIN + 5)
        fault = captures(source, lambda capture: not whole(capture))[0]
        captures(source, whole)
    assert f"killed by signal {signal.SIGRTMIN + 5}" in fault.fault


def test_an_answer_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera comes back with a new process: a thread that ended silently would leave it gone for good."""
    take, times = ProcessSource._answer, []

    def once(source: ProcessSource, worker: Worker, answer: dict[str, Any]) -> None:
        times.append(answer)
        if len(times) == 5:
            raise KeyError("slot")
        take(source, worker, answer)

    monkeypatch.setattr(ProcessSource, "_answer", once)
    with made(tmp_path) as source:
        fault = captures(source, lambda capture: not whole(capture))[0]
        captures(source, whole)
    assert "an answer of its process cannot be used: KeyError: 'slot'" in fault.fault


def test_a_driver_that_ends_the_process(tmp_path: Path) -> None:
    """Its last words are told."""
    with made(tmp_path, dies=3) as source:
        assert "exit code 7 (the driver fell over)" in captures(source, lambda capture: not whole(capture))[0].fault
        captures(source, whole, 5)


def test_a_driver_that_raises_what_it_likes(tmp_path: Path) -> None:
    with made(tmp_path, raises=3) as source:
        fault = captures(source, lambda capture: not whole(capture))[0].fault
        assert "RuntimeError: rtsp://me:***@host is broken" in fault
        pid = source.state().pid
        captures(source, whole, 5)
        assert source.state().pid == pid


def test_a_driver_that_hangs(tmp_path: Path) -> None:
    """It is reported as silent at once, and its process is killed when it gives no sign of life."""
    with made(tmp_path, hangs=3, silent_s=0.5, open_s=0.5) as source:
        fault = captures(source, lambda capture: not whole(capture))[0]
        assert "no frame for" in fault.fault
        assert source.state().health == "silent"
        captures(source, whole, 5)
        events = source.events()
    assert any("no sign of life" in event.text for event in events if event.kind == "lost")
    assert source.state().reconnects == 1


def test_pauses_grow_until_the_camera_is_back(tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    with made(tmp_path, backoff_s=0.1, backoff_max_s=0.4) as source:
        tries = tmp_path / "tries"
        wait_for(lambda: tries.exists() and len(tries.read_text().split()) >= 6, "attempts")
        pauses = np.diff([float(text) for text in tries.read_text().split()])[:5]
        assert (pauses > [0.09, 0.19, 0.39, 0.39, 0.39]).all()
        events = source.events()
        assert sorted(event.kind for event in events) == ["lost", "silent"]  # failing again and again is no news
        assert "the camera is switched off" in next(event.text for event in events if event.kind == "lost")
        state = source.state()
        assert (state.connected, state.health, state.age_s, state.reconnects) == (False, "silent", None, 0)
        (tmp_path / "closed").unlink()
        captures(source, whole, 3)
        assert source.state().reconnects == 0
        assert [event.kind for event in source.events()][-2:] == ["connected", "live"]


def test_a_video_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    with made(tmp_path, live=False) as source, pytest.raises(SourceError, match="switched off"):
        source.read(60.0)


# ---------------------------------------------------------------------------------------------------- triggers


def test_each_trigger_gets_its_picture(tmp_path: Path) -> None:
    with made(tmp_path, trigger="software", fps=0.0) as source:
        health(source, "live")
        for n in range(5):
            before = time.monotonic_ns()
            source.trigger(f"part {n}")
            capture = captures(source, lambda _: True)[0]
            assert (capture.part_id, shown(capture.frame), capture.fault) == (f"part {n}", n, "")
            assert before <= capture.clock_ns
        for n in range(5, 8):
            source.trigger(f"part {n}")
        found = captures(source, whole, 3)
        assert [(capture.part_id, shown(capture.frame)) for capture in found] == [(f"part {n}", n) for n in (5, 6, 7)]


@pytest.mark.parametrize("how", ["deaf", "late"])
def test_a_picture_that_does_not_come(tmp_path: Path, how: str) -> None:
    """The part has its fault, and the next one never gets its picture."""
    with made(tmp_path, trigger="software", backoff_s=0.1, **{how: 1}) as source:
        health(source, "live")
        for n in range(2):
            source.trigger(f"part {n}")
        good, fault = captures(source, lambda capture: capture.part_id.startswith("part"), 2)
        assert (good.part_id, good.fault) == ("part 0", "")
        assert (fault.part_id, fault.frame) == ("part 1", None)
        assert "no frame within 0.3 s of a trigger" in fault.fault
        wait_for(lambda: source.state().health == "live", "it is opened again")
        source.trigger("part 2")
        last = captures(source, lambda capture: capture.part_id.startswith("part"))[0]
        assert (last.part_id, shown(last.frame)) == ("part 2", 2)


def test_waiting_for_a_picture_is_no_silence(tmp_path: Path) -> None:
    with made(tmp_path, trigger="software", late=0, trigger_s=20.0, silent_s=0.4) as source:
        health(source, "live")
        source.events()
        source.trigger("part 0")
        assert captures(source, lambda capture: capture.part_id == "part 0")[0].fault == ""
        assert "lost" not in [event.kind for event in source.events()]


def test_two_pictures_for_one_trigger(tmp_path: Path) -> None:
    """The second one belongs to nobody."""
    with made(tmp_path, trigger="software", twice=0) as source:
        health(source, "live")
        for n in range(3):
            source.trigger(f"part {n}")
        found = captures(source, whole, 3)
        assert [(capture.part_id, shown(capture.frame)) for capture in found] == [(f"part {n}", n) for n in range(3)]
        assert source.state().drops == 1


def test_a_trigger_without_a_camera(tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    with made(tmp_path, trigger="software") as source:
        source.trigger("part 1")
        fault = captures(source, lambda capture: capture.part_id == "part 1")[0]
        assert fault.fault == "the camera is not connected, or does not answer"


def test_a_dark_camera_with_a_trigger(tmp_path: Path) -> None:
    """Each part gets a fault, also when the reader is slow; nobody calls the camera live because it answers."""
    with made(tmp_path, trigger="Line1", fps=20.0, dark=True, dark_s=0.5) as source:
        health(source, "dark")
        source.events()
        wait_for(lambda: source.state().withheld >= 3, "frames in the dark")
        time.sleep(0.5)
        found = captures(source, lambda _: True, 10)
        assert {capture.fault for capture in found} == {"the camera is dark"}
        assert set(np.diff([capture.sequence for capture in found])) == {1}
        assert source.events() == []


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_a_process_that_stands_still_for_a_while(tmp_path: Path) -> None:
    with made(tmp_path, trigger="software", silent_s=0.5, backoff_s=0.1) as source:
        health(source, "live")
        pid = source.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        source.trigger("part 1")
        assert captures(source, lambda capture: capture.part_id == "part 1")[0].fault
        assert source.state().health == "silent"
        os.kill(pid, signal.SIGCONT)
        health(source, "live")
        source.trigger("part 2")
        assert captures(source, lambda capture: capture.part_id == "part 2")[0].fault == ""


def test_a_hardware_trigger_comes_when_it_likes(tmp_path: Path) -> None:
    """Pauses between parts are no silence; parts are numbered."""
    with made(tmp_path, trigger="Line1", fps=2.0, silent_s=0.3) as source:
        health(source, "live")
        source.events()
        found = captures(source, whole, 3)
        assert len({capture.part_id for capture in found}) == 3
        assert source.events() == []


def test_triggers_that_cannot_be(tmp_path: Path) -> None:
    with made(tmp_path, trigger="software", deaf=0, trigger_s=30.0) as source:
        health(source, "live")
        source.trigger("a")
        with pytest.raises(SourceError, match="asked twice"):
            source.trigger("a")
        pid = source.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "lost" in captures(source, lambda capture: capture.part_id == "a")[0].fault
    with made(tmp_path) as source, pytest.raises(SourceError, match="takes no software trigger"):
        source.trigger("a")


# ---------------------------------------------------------------------------------------------------- the end

_PROGRAM = """
import os, sys, time
from pathlib import Path
from tests.sources.grabbers import opened
source = opened(Path(sys.argv[1]), {"policy": "every", "hangs": int(sys.argv[2])})
while source.state().frames < 3:
    time.sleep(0.01)
if sys.argv[3] == "fork" and os.fork() == 0:
    os.close(1)
    time.sleep(1000)
print(source.state().pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
@pytest.mark.parametrize(("hangs", "forks"), [(-1, "no"), (3, "no"), (-1, "fork")])
def test_nothing_is_left_of_a_program_that_is_killed(tmp_path: Path, hangs: int, forks: str) -> None:
    """Neither the process that captures nor its memory, also where a fork of the program lives on."""
    segments = set(os.listdir("/dev/shm"))
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), str(hangs), forks]
    with child(command, stdout=subprocess.PIPE, cwd=ROOT) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert running(pid)
        orphans = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and parent(int(entry)) == program.pid]
        program.kill()
        program.wait()
        try:
            wait_for(lambda: not running(pid), "the process that captures")
        finally:
            for orphan in set(orphans) - {pid}:
                os.kill(orphan, signal.SIGKILL)
    mine = {name for name in set(os.listdir("/dev/shm")) - segments if "edge" in name or "psm_" in name}
    assert mine == set()


def running(pid: int) -> bool:
    """Whether a process runs: what waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent(pid: int) -> int:
    """The parent of a process; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_close(tmp_path: Path) -> None:
    source = opened(tmp_path, {})
    captures(source, whole, 2)
    pid = source.state().pid
    source.close()
    source.close()
    with pytest.raises(SourceError, match="is closed"):
        source.read(1.0)
    if Path("/proc/self").exists():
        assert pid is not None
        assert not running(pid)


def test_a_camera_that_is_closed_while_it_hangs(tmp_path: Path) -> None:
    source = opened(tmp_path, {"hangs": 0})
    wait_for(lambda: source.state().connected, "a connection")
    source.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_of_the_reader_says_so(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.sources.grabbers import opened\n"
        "from edge_ad.errors import ForkError\n"
        "source = opened(Path(sys.argv[1]), {})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: source.read(1)\n"
        "    except ForkError: source.close(); os._exit(3)\n"
        "    os._exit(4)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])); source.close()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "3\n", done.stderr
    assert issubclass(ForkError, Exception)


def test_a_driver_that_prints_without_end(tmp_path: Path) -> None:
    """What is kept of it is bounded."""
    with made(tmp_path, prints=2000, fps=1000.0) as source:
        captures(source, whole, 300)
        pid = source.state().pid
        if Path(f"/proc/{pid}/fd/2").exists():
            assert Path(f"/proc/{pid}/fd/2").stat().st_size < 100_000
