"""`inspect(frame, roi=mask)`: a mask of one frame, inside the bundle's region of interest."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import FrameError, Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.bundle.roi import open_roi
from edge_ad.evaluation.metrics_row import roi_of
from tests.joined import joined, zoomed
from tests.masks import WHOLE, cells_of, half
from tests.tiny import SIZE, bad_frame, good_frame


@pytest.mark.parametrize("search", ["exact", "graph"])
def test_the_score_is_the_largest_distance_inside(golden: Path, engine: str, search: str) -> None:
    runtime = Runtime(golden, engine=engine, search=search, threads=1)
    for seed in range(5):
        frame = bad_frame(2000 + seed)
        distances = runtime.probe(frame).distances.reshape(runtime.manifest.backbone.grid)
        for mask in (half(), half(right=True), WHOLE):
            verdict = runtime.inspect(frame, roi=mask)
            assert verdict.score == distances[cells_of(runtime, mask)].max()
            assert not verdict.anomaly_map[~mask].any()
        assert runtime.inspect(frame, roi=WHOLE).score == runtime.inspect(frame).score
        np.testing.assert_array_equal(
            runtime.inspect(frame, roi=WHOLE).anomaly_map > 0, runtime.inspect(frame).anomaly_map > 0
        )


def test_a_defect_outside_counts_for_nothing(runtime: Runtime) -> None:
    frame = good_frame(1000)
    frame[10:20, 44:56] = 255
    assert runtime.inspect(frame).is_anomalous
    assert runtime.inspect(frame, roi=half(right=True)).is_anomalous
    verdict = runtime.inspect(frame, roi=half())
    assert not verdict.is_anomalous
    assert not verdict.regions


def test_u8_and_a_view_are_masks_too(runtime: Runtime) -> None:
    frame, mask = bad_frame(2001), half()
    expected = runtime.inspect(frame, roi=mask)
    for same in (mask.astype(np.uint8), mask.astype(np.uint8) * 255, np.repeat(mask, 2, axis=1)[:, ::2]):
        before = same.copy()
        assert runtime.inspect(frame, roi=same).score == expected.score
        np.testing.assert_array_equal(same, before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(expected)).anomaly_map, expected.anomaly_map)


def test_it_is_cut_by_the_region_of_the_bundle(roi: Runtime, golden_roi: Path) -> None:
    """The masks inside the bundle's region judge part of it; a mask around it changes nothing."""
    with Bundle.open(golden_roi) as bundle:
        own, patches = roi_of(bundle)((SIZE, SIZE)), open_roi(bundle).patches
    assert own is not None
    assert patches is not None
    frame = bad_frame(2003)
    assert roi.inspect(frame, roi=WHOLE).score == roi.inspect(frame).score
    some = own & half()
    assert some.any()
    verdict = roi.inspect(frame, roi=half())
    assert verdict.score <= roi.inspect(frame).score
    assert not verdict.anomaly_map[~some].any()
    with pytest.raises(FrameError, match="leaves nothing to inspect"):
        roi.inspect(frame, roi=~own)


def test_a_mask_at_another_size_of_frame(runtime: Runtime) -> None:
    frame = np.repeat(np.repeat(bad_frame(2001), 3, axis=0), 2, axis=1)
    mask = np.repeat(np.repeat(half(), 3, axis=0), 2, axis=1)
    assert runtime.inspect(frame, roi=mask).anomaly_map.shape == mask.shape
    assert not runtime.inspect(frame, roi=mask).anomaly_map[~mask].any()


def test_both_input_sizes_are_masked(golden: Path, golden_roi: Path, tmp_path: Path) -> None:
    runtime = Runtime(joined(golden, zoomed(golden_roi, tmp_path / "z.bundle"), tmp_path / "two.bundle"), threads=1)
    frame = bad_frame(2001)
    assert runtime.inspect(frame, roi=WHOLE).score == runtime.inspect(frame).score
    verdict = runtime.inspect(frame, roi=half())
    assert verdict.score <= runtime.inspect(frame).score
    assert not verdict.anomaly_map[~half()].any()
    edge = np.zeros_like(WHOLE)
    edge[:3, :3] = True  # of the first size alone: what sees the middle has nothing to inspect
    with pytest.raises(FrameError, match="leaves nothing to inspect"):
        runtime.inspect(frame, roi=edge)


def broken_masks() -> Iterator[tuple[Any, str]]:
    yield np.zeros((SIZE, SIZE), np.bool_), "roi is empty"
    yield np.ones((SIZE, SIZE - 1), np.bool_), r"another size than the frame; expected \(64, 64\); got \(64, 63\)"
    yield np.ones((SIZE, SIZE, 1), np.bool_), "another size than the frame"
    yield np.ones((SIZE, SIZE), np.float32), "roi is no mask; expected a NumPy array of bool or uint8; got .*float32"
    yield np.full((SIZE, SIZE), np.nan), "roi is no mask"
    yield np.ones((SIZE, SIZE), np.int64), "roi is no mask"
    yield [[True] * SIZE] * SIZE, "roi is no mask.*list"
    yield "mask.png", "roi is no mask.*str"
    yield np.ma.MaskedArray(WHOLE, mask=half()), "roi has masked pixels"


@pytest.mark.parametrize(("mask", "says"), list(broken_masks()))
def test_broken_masks_are_refused(runtime: Runtime, mask: Any, says: str) -> None:
    with pytest.raises(FrameError, match=says):
        runtime.inspect(bad_frame(2001), roi=mask)


def test_a_mask_that_is_too_thin_for_the_input_size(golden: Path) -> None:
    """It is no good part: there is no verdict."""
    frame = np.repeat(np.repeat(good_frame(1), 8, axis=0), 8, axis=1)
    mask = np.zeros(frame.shape[:2], np.bool_)
    mask[100:104, 50:400] = True
    with pytest.raises(FrameError, match=r"leaves nothing to inspect.*no good part"):
        Runtime(golden, threads=1).inspect(frame, roi=mask)


# ------------------------------------------------------------------------------------------------------ many frames


def test_masks_of_many_frames(runtime: Runtime) -> None:
    frames, masks = [bad_frame(2000 + i) for i in range(4)], [half(), None, half(right=True), WHOLE]
    found = [verdict.score for verdict in runtime.inspect_many(iter(frames), rois=iter(masks))]
    assert found == [runtime.inspect(f, roi=m).score for f, m in zip(frames, masks, strict=True)]


def test_fewer_masks_than_frames(runtime: Runtime) -> None:
    verdicts = runtime.inspect_many([good_frame(1), good_frame(2)], rois=[WHOLE])
    next(verdicts)
    with pytest.raises(FrameError, match="fewer masks than frames"):
        next(verdicts)


def test_masks_that_are_none(runtime: Runtime) -> None:
    with pytest.raises(FrameError, match="rois are no masks"):
        runtime.inspect_many([good_frame(1)], rois=7)  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="roi is empty"):
        list(runtime.inspect_many([good_frame(1)], rois=[~WHOLE]))


def test_probes_know_no_mask(golden: Path) -> None:
    runtime = Runtime(golden, threads=1)
    with Bundle.open(golden) as bundle:
        frame = load_probes(bundle)[0].frame
    runtime.inspect(frame, roi=half())
    assert max(runtime.check().values()) < 1e-3
