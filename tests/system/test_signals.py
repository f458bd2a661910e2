"""SIGTERM and SIGHUP unwind a command as Ctrl-C does: what is finished is kept, and nothing is left lying about."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

import edge_ad
from edge_ad.system.entry import run_command
from tests.processes import child
from tests.tiny import good_frame

COMMAND = [sys.executable, "-m", "edge_ad.cli"]
SENT = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows kills, and sends no signals")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command with signals as a shell would have them; what it prints is in log.txt. It ends with the test."""
    with contextlib.ExitStack() as children:

        def begin(*command: object, ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
            def dispositions() -> None:
                for number in SENT:
                    signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

            with (tmp_path / "log.txt").open("wb") as log:
                process = child(
                    [str(part) for part in command],
                    cwd=tmp_path,
                    env={**os.environ, "PYTHONPATH": str(Path(edge_ad.__file__).parents[1])},
                    stdout=log,
                    stderr=log,
                    preexec_fn=dispositions,
                )
                return children.enter_context(process)

        yield begin


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of many images, each another."""
    folder = tmp_path / "many"
    folder.mkdir()
    frame = good_frame(0)
    for i in range(1500):
        frame[0, 0] = (i % 256, i // 256, 0)
        cv2.imwrite(str(folder / f"{i}.bmp"), frame)
    return folder


def wait_for(process: subprocess.Popen[str], log: Path, text: str, times: int = 1) -> None:
    while log.read_text().count(text) < times:
        assert process.poll() is None, log.read_text()
        time.sleep(0.005)


def code_of(sent: signal.Signals) -> int:
    return 128 + sent


@pytest.mark.parametrize("sent", SENT)
def test_inspect_keeps_its_rows(golden: Path, many: Path, tmp_path: Path, start: Start, sent: signal.Signals) -> None:
    process = start(*COMMAND, "inspect", golden, many, "--csv", "out.csv")
    wait_for(process, tmp_path / "log.txt", ".bmp ", 5)
    process.send_signal(sent)
    assert process.wait(timeout=60) == code_of(sent)
    log = (tmp_path / "log.txt").read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1] == "interrupted"
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert 5 <= len(rows) < 1500
    assert len(rows) - log.count(".bmp ") in (0, 1)  # a row is kept before its line is printed
    assert sorted(os.listdir(tmp_path)) == ["log.txt", "many", "out.csv"]


@pytest.mark.parametrize("sent", SENT)
def test_calibrate_leaves_nothing(golden: Path, many: Path, tmp_path: Path, start: Start, sent: signal.Signals) -> None:
    process = start(*COMMAND, "calibrate", golden, "--data", "./many", "--out", "new.bundle")
    wait_for(process, tmp_path / "log.txt", "scoring f32")
    process.send_signal(sent)
    assert process.wait(timeout=60) == code_of(sent), (tmp_path / "log.txt").read_text()
    assert sorted(os.listdir(tmp_path)) == ["log.txt", "many"]


@pytest.mark.parametrize("sent", [number for number in SENT if number != signal.SIGINT])
def test_a_sample_that_is_stopped_leaves_no_drafts(tmp_path: Path, start: Start, sent: signal.Signals) -> None:
    process = start(sys.executable, "-m", "export.sample", "cable", tmp_path / "data")
    wait_for(process, tmp_path / "log.txt", "rendering cable")
    process.send_signal(sent)
    assert process.wait(timeout=60) == code_of(sent)
    assert os.listdir(tmp_path) == ["log.txt"]


def test_what_is_ignored_stays_ignored(golden: Path, tmp_path: Path, start: Start) -> None:
    """nohup edge-ad inspect ..."""
    (tmp_path / "few").mkdir()
    for i in range(40):
        cv2.imwrite(str(tmp_path / "few" / f"{i}.bmp"), good_frame(i % 3))
    process = start(*COMMAND, "inspect", golden, "few", ignored=signal.SIGHUP)
    wait_for(process, tmp_path / "log.txt", ".bmp ")
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) in (0, 1)
    assert (tmp_path / "log.txt").read_text().count(".bmp ") == 40


_TWICE = """
import signal, sys
from edge_ad.system.entry import run_command
def work():
    try:
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.raise_signal(signal.SIGTERM)
        print("kept", flush=True)
sys.exit(run_command(work))
"""


def test_a_second_signal_does_not_spoil_what_the_first_makes_it_keep(tmp_path: Path, start: Start) -> None:
    """A terminal that closes sends SIGHUP, and a supervisor SIGTERM beside it."""
    process = start(sys.executable, "-c", _TWICE)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert (tmp_path / "log.txt").read_text() == "kept\ninterrupted\n"


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SENT]
    assert run_command(lambda: 0) == 0
    assert [signal.getsignal(number) for number in SENT] == before
