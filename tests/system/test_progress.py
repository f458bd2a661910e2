"""The progress bar, drawn on a small model of a terminal with a clock of its own."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.system import progress as module
from edge_ad.system.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Keeps every write, and what the screen shows: `rows`, the last of them where the cursor is."""

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.columns, self.writes, self.rows, self.at, self.widest = columns, list[str](), [""], 0, 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        for c in text:
            if c == "\r":
                self.at = 0
            elif c == "\n":
                self.rows.append("")
                self.at = 0
            else:
                row = self.rows[-1].ljust(self.at)
                self.rows[-1] = row[: self.at] + c + row[self.at + 1 :]
                self.at += 1
                self.widest = max(self.widest, self.at)
        return len(text)

    @property
    def shown(self) -> str:
        return self.rows[-1].rstrip()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def test_a_terminal_shows_count_rate_elapsed_and_eta() -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("reading", 200, stream=terminal, clock=clock) as bar:
        clock.now += 10
        bar.update(50)
        assert terminal.shown == "reading  [######..................]  50/200 images  5/s  0:10  ETA 0:30"
        clock.now += 30
        bar.update(150)
    assert terminal.rows == ["reading: 200 images in 0:40 (5/s)".ljust(len(terminal.rows[0])), ""]


def test_at_most_ten_drawings_a_second() -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("reading", 10_000, stream=terminal, clock=clock) as bar:
        before = len(terminal.writes)
        for _ in range(10_000):
            clock.now += 0.0005  # 5 s in all
            bar.update()
        assert 40 <= len(terminal.writes) - before <= 50


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_wipes_the_line_and_goes_on(error: type[BaseException]) -> None:
    clock, terminal = Clock(), Terminal()

    def work() -> None:
        with Progress("reading", 10, stream=terminal, clock=clock) as bar:
            clock.now += 1
            bar.update()
            assert terminal.shown
            raise error

    with pytest.raises(error):
        work()
    assert terminal.shown == ""
    assert terminal.at == 0
    assert len(terminal.rows) == 1


def test_a_shorter_line_leaves_nothing_of_the_longer() -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("reading", 10, stream=terminal, clock=clock) as bar:
        clock.now += 5
        bar.update(5)
        assert "ETA" in terminal.shown
        clock.now += 5
        bar.update(5)
        assert terminal.shown == "reading  [########################]  10/10 images  1/s  0:10"


@pytest.mark.parametrize("columns", [*range(1, 40), 60, 79, 200])
def test_a_narrow_terminal_is_never_wrapped(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, terminal = Clock(), Terminal(columns)
    with Progress("reading good images", 12_000, stream=terminal, clock=clock) as bar:
        clock.now += 61
        bar.update(6_000)
        if columns >= 20:
            assert "6000/12000" in terminal.shown, "the count is the last to go"
        if columns == 200:
            assert terminal.shown.endswith("ETA 1:01")
    assert terminal.widest <= max(1, columns - 1)


def test_wide_characters_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    terminal = Terminal()
    with Progress("\u96fb\u7e9c" * 3, 99, stream=terminal, clock=Clock()):
        assert terminal.shown == "0/99 images", "12 columns of label, and 13 more, are too many for 23"


def test_the_size_of_the_real_terminal_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Real(Terminal):
        def fileno(self) -> int:
            return 7

    sizes = {7: os.terminal_size((30, 24))}
    monkeypatch.setattr(module.os, "get_terminal_size", lambda fd: sizes[fd])
    terminal = Real()
    with Progress("reading", 200, stream=terminal, clock=Clock()):
        assert terminal.shown == "reading  0/200 images  0:00"


def test_a_log_file_gets_plain_lines() -> None:
    clock, log = Clock(), io.StringIO()
    with Progress("reading", 100, stream=log, clock=clock) as bar:
        assert log.getvalue() == "reading: 100 images\n"
        for _ in range(100):
            clock.now += 0.7
            bar.update()
    assert log.getvalue().splitlines() == [
        "reading: 100 images",
        "reading: 43/100 images, 1.43/s, 0:30, ETA 0:40",
        "reading: 86/100 images, 1.43/s, 1:00, ETA 0:10",
        "reading: 100 images in 1:10 (1.43/s)",
    ]
    assert "\r" not in log.getvalue()


def test_a_log_file_says_where_it_stopped() -> None:
    clock, log = Clock(), io.StringIO()

    def work() -> None:
        with Progress("reading", 100, stream=log, clock=clock) as bar:
            bar.update(3)
            clock.now += 90
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert log.getvalue().splitlines()[-1] == "reading: stopped at 3/100 images after 1:30"


def test_what_is_slow_is_said_in_seconds() -> None:
    clock, log = Clock(), io.StringIO()
    with Progress("export", 3, unit="bundles", stream=log, clock=clock) as bar:
        clock.now += 90
        bar.update(2)
    assert log.getvalue().splitlines() == [
        "export: 3 bundles",
        "export: 2/3 bundles, 45 s each, 1:30, ETA 0:45",
        "export: 2 bundles in 1:30 (45 s each)",
    ]


def test_unknown_total() -> None:
    clock, terminal, log = Clock(), Terminal(), io.StringIO()
    with (
        Progress("frames", stream=terminal, clock=clock, unit="frames") as bar,
        Progress("frames", stream=log, clock=clock, unit="frames"),
    ):
        clock.now += 2
        bar.update(7)
        assert terminal.shown == "frames  7 frames  3.5/s  0:02"
        assert log.getvalue() == "frames: frames\n"


def test_none_at_all_and_more_than_promised() -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("reading", 0, stream=terminal, clock=clock):
        clock.now += 1
    assert terminal.rows[0].rstrip() == "reading: 0 images in 0:01"
    with Progress("reading", 2, stream=terminal, clock=clock) as bar:
        clock.now += 1
        bar.update(3)
        assert terminal.shown == "reading  [########################]  3/2 images  3/s  0:01"


def test_a_dumb_terminal_is_treated_as_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with Progress("reading", 2, stream=terminal, clock=Clock()):
        pass
    assert "\r" not in "".join(terminal.writes)


def test_stderr_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", 2) as bar:
        bar.update(2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("reading: 2 images\nreading: 2 images in 0:00")


def test_control_characters_of_a_label_are_left_out() -> None:
    log = io.StringIO()
    with Progress("a\nb\x1b[2J\rc", 2, stream=log, clock=Clock()):
        pass
    assert log.getvalue().startswith("ab[2Jc: 2 images\n")


class _Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [_Broken(), _closed()])
def test_a_broken_stream_does_not_stop_the_work(stream: io.StringIO) -> None:
    with Progress("reading", 2, stream=stream, clock=Clock()) as bar:
        bar.update(2)
    assert bar.count == 2


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with Progress("reading", 2) as bar:
        bar.update(2)
    assert bar.count == 2


@given(
    total=st.one_of(st.none(), st.integers(0, 10**6)),
    steps=st.lists(st.tuples(st.integers(0, 10**5), st.floats(0, 1e5)), max_size=20),
)
def test_whatever_happens_one_line_is_left(total: int | None, steps: list[tuple[int, float]]) -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("reading", total, stream=terminal, clock=clock) as bar:
        for n, seconds in steps:
            clock.now += seconds
            bar.update(n)
    assert terminal.widest < 80
    assert len(terminal.rows) == 2
    assert terminal.rows[0].startswith(f"reading: {sum(n for n, _ in steps)} images in ")


def test_a_line_printed_beside_the_bar_stands_alone() -> None:
    clock, terminal = Clock(), Terminal()
    with Progress("inspect", 3, stream=terminal, clock=clock) as bar:
        bar.wipe()
        terminal.write("000.png 1.5 0\n")
        bar.update()
        assert terminal.shown.startswith("inspect  [")
        bar.wipe()
        assert terminal.shown == ""
    assert [row.rstrip() for row in terminal.rows[:1]] == ["000.png 1.5 0"]
