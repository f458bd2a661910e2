"""Runs a command so that each exit code has one meaning.

    0    all good
    1    some anomalous: only `edge-ad inspect` gives it, and no error does
    2    an error: any exception
    130  stopped by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP (128 and the number of the signal)

A command that is stopped keeps its finished results: SIGTERM and SIGHUP end it in the same way as Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from edge_ad.errors import EdgeADError
from edge_ad.system.names import printable_lines
from edge_ad.system.variables import switched_on

OK, ANOMALOUS, ERROR, INTERRUPTED = 0, 1, 2, 130
DEBUG_VARIABLE = "EDGE_AD_DEBUG"
_INTERRUPTED = "interrupted"
_REPORT = (
    f"This is a fault of edge-ad: please report it with the output of `edge-ad info` and of the same command under "
    f"{DEBUG_VARIABLE}=1."
)


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. Like Ctrl-C, it ends the command and runs all clean-up."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def run_command(work: Callable[[], int], interrupted: str = _INTERRUPTED) -> int:
    """Runs `work` and returns the exit code of the command: what `work` returns, or that of what it raised.

    It catches all exceptions except the SystemExit of argparse, which has printed usage or help and has the right code.

    Args:
        work: the command. It imports what it needs itself, so that a missing package is an error like any other.
        interrupted: message after Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        _open_standard_streams()
        with _stops():
            code = work()
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
    except KeyboardInterrupt as error:
        say(interrupted)
        code = 128 + error.number if isinstance(error, Stopped) else INTERRUPTED
    except BrokenPipeError:  # such as `edge-ad inspect ... | head`
        code = ERROR
    except Exception as error:
        if switched_on(DEBUG_VARIABLE):
            say(traceback.format_exc().rstrip())
        say(f"error: {describe_error(error)}")
        code = ERROR
    _give_up_broken_stdout()
    return code


def end_command(error: ImportError | KeyboardInterrupt) -> None:
    """Ends the process as `run_command` would, where it is one of our commands that cannot even be imported, such as
    without the native core or NumPy, or that is stopped meanwhile.

    Python itself would end it with 1, which means "some anomalous", or with a traceback. Any other program goes on.
    """
    names = sys.orig_argv[1:]
    module = names[names.index("-m") + 1] if "-m" in names[:-1] else ""
    ours = module.partition(".")[0] in ("edge_ad", "export") or Path(sys.argv[0]).stem == "edge-ad"
    if not ours:
        return
    if isinstance(error, KeyboardInterrupt):
        say(_INTERRUPTED)
        raise SystemExit(INTERRUPTED)
    say(f"error: {describe_error(error)}")
    raise SystemExit(ERROR)


def say(text: str) -> None:
    """Prints a line on stderr; a stderr that is closed or full changes no exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(printable_lines(text), file=sys.stderr, flush=True)


def describe_error(error: Exception) -> str:
    """What a person is told of an error: the message of one of ours, and a report's text of one that nobody foresaw."""
    if isinstance(error, EdgeADError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory. Close other programs, or use fewer or smaller images."
    if isinstance(error, OSError) and error.strerror:
        return _describe_os_error(error)
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}{': ' if text else ''}{text}. {_REPORT}"


def _describe_os_error(error: OSError) -> str:
    if _working_folder_is_gone():
        return f"the working directory is not there any more; got {error.strerror}. Change to another with cd."
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF):  # every file that edge-ad writes is named
        return f"the standard output or a temporary file cannot be written; got {error.strerror}"
    return str(error.strerror)


def _working_folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _stdout_works() -> bool:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        return False
    return True


def _give_up_broken_stdout() -> None:
    """Python flushes the standard output once more at its end, and an error there would change the exit code."""
    if _stdout_works():
        return
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


def _open_standard_streams() -> None:
    """Makes the standard streams safe to write to.

    One that is closed (`>&-`) becomes the null device: its number would otherwise be that of the next file that is
    opened, and what a library prints would end in a bundle. A character that the terminal's encoding lacks is printed
    as a backslash escape.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
        if number and getattr(sys, name) is None:  # pythonw has none either
            # it lives as long as the process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        _take_any_character(stream)


def _take_any_character(stream: TextIO) -> None:
    reconfigure: Any = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        with contextlib.suppress(OSError, ValueError):
            reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _stops() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped` meanwhile; what is ignored (SIGHUP under nohup) stays ignored.

    Only the first of them does: a terminal that closes sends several, and the second must not interrupt what the first
    made the command write.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows: no SIGHUP
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
