"""Images to inspect."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.tiny import bad_frame, good_frame


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with four good and two bad images, one of them in a subfolder."""
    folder = tmp_path / "parts"
    (folder / "line 2").mkdir(parents=True)
    for i in range(4):
        cv2.imwrite(str(folder / f"good_{i}.png"), good_frame(1000 + i))
    cv2.imwrite(str(folder / "img10.bmp"), bad_frame(2001))
    cv2.imwrite(str(folder / "line 2" / "bad.png"), bad_frame(2002))
    (folder / "notes.txt").write_text("not an image")
    return folder
