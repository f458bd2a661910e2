"""A region of interest saves work: a quarter of the frame against the whole of it, frame by frame in turn.

    pytest bench/test_roi.py --benchmark-only

Makes its bundles (the export extra is needed): the same backbone, images and coreset fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench import material
from edge_ad import Runtime
from edge_ad.engines import installed_engines
from edge_ad.system.percentiles import percentiles

GOOD_IMAGES = 24
QUARTERS = {"centre": (0.25, 0.25, 0.75, 0.75), "corner": (0.0, 0.0, 0.5, 0.5)}  # y0, x0, y1, x1 of the frame


@pytest.fixture(scope="module")
def make(category: material.Category, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Place of the ROI, or "whole" -> bundle, made once."""
    folder = tmp_path_factory.mktemp("roi")
    good_images = material.flat_category(category, folder / "good", GOOD_IMAGES)
    height, width = cv2.imread(str(next(good_images.iterdir()))).shape[:2]
    made: dict[str, Path] = {}

    def bundle(place: str) -> Path:
        if place not in made:
            roi = None
            if place in QUARTERS:
                y0, x0, y1, x1 = QUARTERS[place]
                box = (y0 * height, x0 * width, y1 * height, x1 * width)
                roi = ",".join(str(round(edge)) for edge in box)
            flat = material.Category(good_images, category.backbone, ())
            made[place] = material.export(flat, folder / f"{place}.bundle", roi=roi, graph=False)
        return made[place]

    return bundle


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("place", list(QUARTERS))
def test_quarter_of_the_frame(
    benchmark: Any,
    make: Callable[[str], Path],
    category: material.Category,
    threads: int,
    stopwatch: Callable[[Callable[[], Any]], float],
    say: Callable[[str], None],
    place: str,
    engine: str,
) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    whole = Runtime(make("whole"), engine=engine, threads=threads)  # type: ignore[arg-type]
    part = Runtime(make(place), engine=engine, threads=threads)  # type: ignore[arg-type]
    frame = category.frames()[0][0]
    seconds: list[float] = []
    benchmark.pedantic(
        lambda: part.inspect(frame),
        setup=lambda: seconds.append(stopwatch(lambda: whole.inspect(frame))),
        rounds=100,
        iterations=1,
        warmup_rounds=5,
    )
    ours, theirs = 1e3 * float(np.median(benchmark.stats.stats.data)), 1e3 * float(np.median(seconds[5:]))
    p99 = 1e3 * percentiles(benchmark.stats.stats.data, (99,))[0]
    benchmark.extra_info.update(roi_ms=ours, whole_ms=theirs, ratio=ours / theirs, p99_ms=p99)
    crop = part.manifest.backbone.tensor_size
    say(
        f"ROI of a quarter, {place} [{engine}]: {ours:.2f} ms (p99 {p99:.2f}), whole frame {theirs:.2f} ms: "
        f"ratio {ours / theirs:.2f} (wanted: <= 0.5); crop {crop[0]}x{crop[1]}"
    )
    _assert_blind_outside(part, frame, place)
    assert whole.inspect(frame).score > 0


def _assert_blind_outside(runtime: Runtime, frame: np.ndarray, place: str) -> None:
    """Whatever happens outside the region changes nothing; what happens inside does, and the map is 0 outside."""
    height, width = frame.shape[:2]
    y0, x0, y1, x1 = (round(f * s) for f, s in zip(QUARTERS[place], (height, width, height, width), strict=True))
    inside = np.zeros((height, width), np.bool_)
    inside[y0:y1, x0:x1] = True
    verdict = runtime.inspect(frame)
    assert runtime.inspect(np.where(inside[:, :, None], frame, np.uint8(255) - frame)).score == verdict.score
    assert runtime.inspect(np.where(inside[:, :, None], np.uint8(255) - frame, frame)).score != verdict.score
    margin = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0  # a tensor pixel is 4 frame pixels
    assert (verdict.anomaly_map[~margin] == 0).all()
    assert verdict.anomaly_map[inside].max() > 0
