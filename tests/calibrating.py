"""`edge-ad calibrate`, as its tests call it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.spec import CalibrationSpec
from tests.cli import calling


def calibrated(bundle: Path, *arguments: object, out: Path | None = None) -> Path:
    """The new bundle, `new.bundle` beside the old one by default."""
    out = out or bundle.with_name("new.bundle")
    assert main(["calibrate", str(bundle), "--out", str(out), *map(str, arguments)]) == 0
    return out


def failing(arguments: Sequence[object], capsys: pytest.CaptureFixture[str], says: str) -> None:
    """The command ends with an error that says so (a regular expression), in one line and no traceback."""
    calling.failing(["calibrate", *arguments], capsys, says)


def calibration(path: Path) -> CalibrationSpec:
    with Bundle.open(path) as opened:
        return opened.manifest.calibration


def scores_of(runtime: Runtime, folder: Path) -> list[float]:
    """Of the images in a folder, by name."""
    return [runtime.inspect(path).score for path in sorted(folder.iterdir())]
