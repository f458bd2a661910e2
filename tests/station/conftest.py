"""A folder with a bundle, frames and a configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.station.making import write_frames


@pytest.fixture
def place(golden: Path, tmp_path: Path) -> Path:
    """A folder, with a blank and more in its name, with part.bundle and a folder of two good and two bad frames."""
    folder = tmp_path / "Prüfplatz 1"
    folder.mkdir()
    shutil.copy(golden, folder / "part.bundle")
    write_frames(folder / "frames")
    return folder
