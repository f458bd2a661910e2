"""A part without symmetry on a plain ground, in frames where it moves."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_ad.frames.align import Aligner, pose_of, small_copy
from edge_ad.frames.place import Place
from edge_ad.spec import AlignSpec
from tests.tiny import picture

SIDE = 96
SPOT = (44, 40, 50, 46)  # of a bad frame that has not moved, which is on the part: y0, x0, y1, x1


def part_frame(seed: int = 0, side: int = SIDE, place: Place | None = None, spot: bool = False) -> np.ndarray:
    """(side, side, 3) u8 BGR: an L with a hole, noisy, where `place` says; with a bright spot on it if wanted."""
    fine = np.full((4 * SIDE, 4 * SIDE, 3), (200, 205, 210), np.uint8)
    cv2.rectangle(fine, (110, 90), (190, 290), (60, 90, 160), -1)
    cv2.rectangle(fine, (110, 220), (280, 290), (60, 90, 160), -1)
    cv2.circle(fine, (150, 130), 22, (30, 30, 40), -1)
    cv2.line(fine, (200, 255), (265, 255), (150, 160, 60), 10)
    if spot:
        y0, x0, y1, x1 = (4 * value for value in SPOT)
        cv2.rectangle(fine, (x0, y0), (x1 - 1, y1 - 1), (250, 250, 250), -1)
    frame = cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)
    if place is not None:
        frame = cv2.warpAffine(frame, place.matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    noisy = frame + np.random.default_rng(seed).normal(0, 2, frame.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def aligner(motion: str = "similarity", frame: np.ndarray | None = None, **changes: object) -> Aligner:
    """One whose reference is that frame, or the part where it lies without moving."""
    frame = part_frame() if frame is None else frame
    turns = motion != "shift"
    size = (frame.shape[0], frame.shape[1]) if max(frame.shape[:2]) <= 128 else (96, 96)
    values: dict[str, object] = {"motion": motion, "size": size, "picture": size, "most_shift": 0.2}
    values |= {"most_turn": 20.0 * turns, "most_scale": 0.1 * turns, "least_seen": 0.5, "least": 0.5}
    spec = AlignSpec(**{**values, "good": 0.9, "images": 1, **changes})  # type: ignore[arg-type]
    small, shown = small_copy(frame, size, 65535), cv2.resize(frame, size[::-1])
    shown = shown if shown.ndim == 3 else cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)
    return Aligner(spec, small, np.full(size, 255, np.uint8), shown.astype(np.uint8), 65535)


def write_moving_category(folder: Path, goods: int = 10, tests: int = 3) -> Path:
    """A category whose parts lie a little elsewhere in each image."""
    for part, count, first, spot in (
        ("train/good", goods, 0, False),
        ("test/good", tests, 100, False),
        ("test/spot", tests, 200, True),
    ):
        for number in range(count):
            place = small_place(first + number)
            picture(folder / part / f"{number:03d}.png", part_frame(first + number, place=place, spot=spot))
    return folder


def small_place(seed: int, by: float = 0.3) -> Place:
    """A place within that share of the limits."""
    dy, dx, turn, scale = np.random.default_rng([seed, 9]).uniform(-by, by, 4)
    return pose_of(20 * turn, 1 + 0.1 * scale, 0.2 * dy, 0.2 * dx, (SIDE, SIDE))
