"""An export with a region of interest: what is outside it counts for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import EdgeADError, Runtime, SpecError
from tests.export.made import Export, goods, write
from tests.tiny import SIZE, bad_frame, good_frame


def region_options(tmp_path: Path, kind: str) -> tuple[str, np.ndarray]:
    """--roi, and the region as a mask of the frames."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if kind == "box":
        mask[20:46, 18:44] = 255
        return "20,18,46,44", mask
    if kind == "mask":
        cv2.circle(mask, (32, 31), 15, 255, -1)
        cv2.imwrite(str(tmp_path / "roi.png"), mask)
        return str(tmp_path / "roi.png"), mask
    points = [[14, 30], [48, 12], [44, 52]]  # (y, x)
    (tmp_path / "roi.json").write_text(json.dumps({"points": points}))
    cv2.fillPoly(mask, [np.array(points)[:, ::-1].astype(np.int32)], 255)
    return str(tmp_path / "roi.json"), mask


@pytest.mark.parametrize("kind", ["box", "mask", "polygon"])
def test_what_is_outside_the_region_changes_nothing(export: Export, tmp_path: Path, kind: str) -> None:
    text, mask = region_options(tmp_path, kind)
    path = export(roi=text, halo=2)
    exact, graph = Runtime(path, search="exact"), Runtime(path, search="graph")
    assert exact.manifest.roi is not None
    assert exact.manifest.roi.source.startswith(kind)

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def check(seed: int, bad: bool) -> None:
        frame = (bad_frame if bad else good_frame)(seed % 1000)
        noise = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
        other = np.where(mask[:, :, None] > 0, frame, noise)
        for runtime in (exact, graph):
            a, b = runtime.inspect(frame), runtime.inspect(other)
            assert a.score == b.score
            assert a.is_anomalous == b.is_anomalous
            np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
            assert not a.anomaly_map[mask == 0].any()

    check()


@pytest.mark.parametrize("size", [100, 150, 200])
@pytest.mark.parametrize("kind", ["box", "mask", "polygon"])
def test_the_region_holds_at_other_scales(export: Export, tiny: Path, tmp_path: Path, kind: str, size: int) -> None:
    """The good images are larger than the input, by no whole factor: still nothing leaks in."""
    text, mask = region_options(tmp_path, kind)
    scale = size / SIZE
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    if kind == "box":
        y0, x0, y1, x1 = (round(scale * int(side)) for side in text.split(","))
        text, mask = f"{y0},{x0},{y1},{x1}", np.zeros((size, size), np.uint8)
        mask[y0:y1, x0:x1] = 255
    elif kind == "mask":
        cv2.imwrite(text, mask)
    else:
        points = (scale * np.array(json.loads(Path(text).read_text())["points"])).tolist()
        Path(text).write_text(json.dumps(points))
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.rint(np.array(points)[:, ::-1]).astype(np.int32)], 255)
    folder = write(tmp_path / "large", goods(6, size=size))
    runtime = Runtime(export(category=str(folder), roi=text, halo=2))
    frame = bad_frame(1, size)
    expected = runtime.inspect(frame)
    assert expected.score > 0
    assert not expected.anomaly_map[mask == 0].any()
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
        verdict = runtime.inspect(np.where(mask[:, :, None] > 0, frame, noise))
        assert verdict.score == expected.score
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)


def test_what_is_inside_the_region_still_counts(export: Export, tmp_path: Path) -> None:
    runtime = Runtime(export(roi="20,18,46,44", halo=2))
    assert not runtime.inspect(good_frame(5000)).is_anomalous
    frame = good_frame(5000)
    frame[30:36, 28:34] = 255
    verdict = runtime.inspect(frame)
    assert verdict.is_anomalous
    assert 26 <= verdict.regions[0].peak_at[0] <= 40
    outside = good_frame(5000)
    outside[50:60, 50:60] = 255
    assert not runtime.inspect(outside).is_anomalous


def test_the_region_makes_everything_smaller(export: Export, tmp_path: Path) -> None:
    whole = Runtime(export(out=tmp_path / "whole.bundle")).manifest
    part = Runtime(export(roi="20,18,46,44", halo=2)).manifest
    assert part.backbone.tensor_size == (32, 32)
    assert part.backbone.crop == (16, 16, 48, 48)
    assert part.index.patches < whole.index.patches / 3
    assert part.members["coreset"].size < whole.members["coreset"].size / 3
    assert part.roi is not None
    assert all(60 <= c <= 190 for c in part.roi.fill)


@pytest.mark.parametrize(
    ("roi", "says"),
    [
        ("10,10,10,40", "empty or outside"),
        ("40,10,20,40", "empty or outside"),
        ("0,0,65,64", "empty or outside"),
        ("-1,0,10,10", "empty or outside"),
        ("1,2,3", "not understood"),
        ("a,b,c,d", "not understood"),
        ("box", "not understood"),
        ("30,30,31,40", "too thin"),
        ("missing.png", "cannot read missing.png"),
        ("missing.json", "cannot read the polygon"),
    ],
)
def test_regions_that_are_refused(export: Export, tmp_path: Path, roi: str, says: str) -> None:
    with pytest.raises(EdgeADError, match=says):
        export(roi=roi)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_size_or_empty(export: Export, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((32, 32), 255, np.uint8))
    with pytest.raises(SpecError, match="another size"):
        export(roi=str(tmp_path / "small.png"))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(SpecError, match="empty"):
        export(roi=str(tmp_path / "black.png"))
