"""The `edge-ad` command as its tests call it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

import pytest

from edge_ad.cli import main
from tests.paths import SCRIPT


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def lines(text: str) -> list[tuple[str, float, int]]:
    """(file, score, verdict) of the lines of `edge-ad inspect`; a file name may hold blanks."""
    found = []
    for line in text.splitlines():
        name, score, verdict = line.rsplit(" ", 2)
        found.append((name, float(score), int(verdict)))
    return found


def failing(arguments: Sequence[object], capsys: pytest.CaptureFixture[str], says: str) -> str:
    """The command ends with an error that says so (a regular expression), in one line and no traceback.

    Returns:
        The standard output.
    """
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert re.search(says, captured.err), captured.err
    assert "Traceback" not in captured.err
    return captured.out
