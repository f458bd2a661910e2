"""Kept pictures, as a browser gets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.station.journal import KEPT, REMOVED
from edge_ad.station.page import images
from edge_ad.station.page.images import FULL, THUMB, Images
from edge_ad.station.pictures import overlay_of, to_png
from tests.station.page.test_chart import row
from tests.tiny import bad_frame, good_frame


def decoded(data: bytes | None) -> np.ndarray:
    assert data is not None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def kept(data: Path, frame: np.ndarray, name: str = "größe 1.png") -> Path:
    path = data / "pictures" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(to_png(frame))
    return path


def test_small_and_whole(tmp_path: Path) -> None:
    found = Images(tmp_path)
    path = kept(tmp_path, good_frame(1, 400))
    part = replace(row(1, 1.0), picture="pictures/größe 1.png", kept=KEPT)
    assert found.path(part) == path.resolve()
    assert found.overlay(part) is None
    assert decoded(found.thumb(part)).shape == (THUMB, THUMB, 3)
    overlay_of(path).write_bytes(to_png(255 - good_frame(1, 400)))
    assert decoded(found.thumb(part)).mean() > 130  # the overlay is what people look at
    assert decoded(found.jpeg(path)).shape == (400, 400, 3)


@pytest.mark.parametrize(
    ("shape", "kind", "expected"),
    [
        ((4, 3000), np.uint8, (2, FULL)),
        ((64, 64), np.uint16, (64, 64)),
        ((6, 40, 50, 3), np.uint8, (240, 50, 3)),
        ((1, 1, 3), np.uint8, (1, 1, 3)),
    ],
)
def test_any_frame(tmp_path: Path, shape: tuple[int, ...], kind: type, expected: tuple[int, ...]) -> None:
    path = kept(tmp_path, np.full(shape, np.iinfo(kind).max // 2, kind))
    made = decoded(Images(tmp_path).jpeg(path))
    assert made.shape == expected
    assert abs(float(made.mean()) - 127) < 3


def test_what_is_not_there(tmp_path: Path) -> None:
    found = Images(tmp_path / "data")
    (tmp_path / "data").mkdir()
    outside = kept(tmp_path, good_frame(1))
    part = replace(row(1, 1.0), picture="pictures/x.png", kept=KEPT)
    leaving = f"../pictures/{outside.name}"
    for each in (part, replace(part, kept=REMOVED), replace(part, picture=""), replace(part, picture=leaving)):
        assert found.path(each) is None
        assert found.thumb(each) is None
    assert found.path(replace(part, picture=str(outside))) is None
    broken = kept(tmp_path / "data", good_frame(1), "x.png")
    broken.write_bytes(b"no picture")
    assert found.path(part) is not None
    assert found.thumb(part) is None
    broken.write_bytes(b"")
    assert found.jpeg(broken) is None
    assert found.jpeg(tmp_path / "gone.png") is None


def test_small_ones_are_kept_in_memory_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_MOST", 2)
    made: list[Path] = []
    found = Images(tmp_path)
    original = found.jpeg
    monkeypatch.setattr(found, "jpeg", lambda path, longest: made.append(path) or original(path, longest))
    parts = []
    for at in range(3):
        kept(tmp_path, bad_frame(at), f"{at}.png")
        parts.append(replace(row(at + 1, 1.0), picture=f"pictures/{at}.png", kept=KEPT))
    for part in (parts[0], parts[0], parts[1], parts[0], parts[2], parts[0], parts[1]):
        assert found.thumb(part)
    assert [path.stem for path in made] == ["0", "1", "2", "1"]
