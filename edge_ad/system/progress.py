"""A progress bar on stderr: how many are done, how fast, for how long, and how long it will still take."""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO

__all__ = ["Counts", "Progress"]

REDRAW_S = 0.1  # between two drawings on a terminal
REPORT_S = 30.0  # between two lines in a log file
BAR_COLUMNS = 24


class Counts(Protocol):
    """What a long work tells how far it is: a progress bar, or what a test puts in its place."""

    def update(self, n: int = 1, /) -> object:
        """Counts `n` more as done."""


class Progress:
    """Context manager: ``with Progress("reading", 209) as bar: ...; bar.update()``.

    On a terminal one line is redrawn in place, at most ten times a second, and made to fit; it stays when the
    work is done, and is wiped when an exception (Ctrl-C among them) leaves the block, so that the message
    starts on a clean line. Where stderr is a file or a pipe there is a plain line at the start, one every 30
    s, and one at the end. A stream that is closed or broken never disturbs the work. Not thread-safe: update
    from one thread.

    Args:
        label: what is being done; control characters are left out.
        total: how many there will be, or None when nobody knows.
        unit: what is counted, in the plural.
        stream: where to write; stderr as it is on entry by default.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "images",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = "".join(c for c in label if c.isprintable())
        self.total, self.unit = total, unit
        self.count = 0
        self._stream, self._clock = stream, clock
        self._began = self._drawn_at = 0.0
        self._drawn_columns = 0
        self._terminal = False

    def __enter__(self) -> Progress:
        self._stream = sys.stderr if self._stream is None else self._stream  # None under pythonw
        self._terminal = _is_terminal(self._stream)
        self._began = self._drawn_at = self._clock()
        if self._terminal:
            self._draw(self._line())
        else:
            self._write(f"{self.label}: {'' if self.total is None else f'{self.total} '}{self.unit}\n")
        return self

    def update(self, n: int = 1) -> None:
        """Counts `n` more as done."""
        self.count += n
        now = self._clock()
        if now - self._drawn_at < (REDRAW_S if self._terminal else REPORT_S):
            return
        self._drawn_at = now
        if self._terminal:
            self._draw(self._line())
        else:
            self._write(f"{self.label}: {', '.join(self._facts())}\n")

    def wipe(self) -> None:
        """Takes the line off the terminal, so that something else may be printed; the next update draws it again."""
        if self._terminal and self._drawn_columns:
            self._draw("")
            self._write("\r")
            self._drawn_columns = 0
            self._drawn_at = -REDRAW_S  # drawn again at once

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = _duration(self._elapsed())
        if kind is not None:
            if self._terminal:
                self.wipe()
            else:
                self._write(f"{self.label}: stopped at {self._count()} after {elapsed}\n")
            return
        rate = self._rate()
        done = f"{self.label}: {self.count} {self.unit} in {elapsed}" + (f" ({rate})" if rate else "")
        if self._terminal:
            self._draw(_fit(done, self._columns()))
        self._write("\n" if self._terminal else f"{done}\n")

    def _elapsed(self) -> float:
        return max(0.0, self._clock() - self._began)

    def _count(self) -> str:
        return f"{self.count}{'' if self.total is None else f'/{self.total}'} {self.unit}"

    def _rate(self) -> str:
        elapsed = self._elapsed()
        if elapsed <= 0 or self.count == 0:
            return ""
        rate = self.count / elapsed
        if rate < 0.1:
            return f"{1 / rate:.0f} s each"
        return f"{rate:.0f}/s" if rate >= 100 else f"{rate:.3g}/s"

    def _remaining(self) -> str:
        if self.total is None or not 0 < self.count < self.total:
            return ""
        return f"ETA {_duration(self._elapsed() / self.count * (self.total - self.count))}"

    def _facts(self) -> list[str]:
        """Count, rate, elapsed, ETA: those there are."""
        return [f for f in (self._count(), self._rate(), _duration(self._elapsed()), self._remaining()) if f]

    def _line(self) -> str:
        """The line for a terminal: what does not fit goes, the bar first, then the facts from the last."""
        columns, facts = self._columns(), self._facts()
        parts = [self.label, self._bar(), *facts] if self.total else [self.label, *facts]
        line = "  ".join(parts)
        if _columns(line) > columns and self.total:
            del parts[1]
        while _columns(line := "  ".join(parts)) > columns and len(parts) > 2:
            parts.pop()
        if _columns(line) > columns:
            line = self._count()
        return _fit(line, columns)

    def _bar(self) -> str:
        full = BAR_COLUMNS * min(self.count, self.total or 0) // max(1, self.total or 0)
        return f"[{'#' * full}{'.' * (BAR_COLUMNS - full)}]"

    def _columns(self) -> int:
        """Columns that may be used: the last one stays free, as writing there wraps on some terminals."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        except (OSError, ValueError, AttributeError):
            columns = 0
        return max(1, (columns or shutil.get_terminal_size().columns) - 1)

    def _draw(self, line: str) -> None:
        columns = _columns(line)
        self._write(f"\r{line}{' ' * min(self._columns() - columns, self._drawn_columns - columns)}")
        self._drawn_columns = columns

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # reader gone, file closed, no such character
            self._stream = None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def _duration(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    whole = int(seconds + 0.5)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def _columns(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two, combining ones none."""
    return sum(_width(c) for c in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fit(text: str, columns: int) -> str:
    while _columns(text) > columns:
        text = text[:-1]
    return text
