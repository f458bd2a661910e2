"""A verdict: what is anomalous, where, and that it is the caller's own."""

from __future__ import annotations

import gc
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_ad import Runtime, SpecError
from edge_ad.frames.place import Place
from tests.paths import DATA
from tests.tiny import bad_frame
from tests.verdict.made import make_verdict


def test_is_anomalous_at_the_edges() -> None:
    amap = np.zeros((4, 4), np.float32)
    assert make_verdict(1.0, amap).is_anomalous
    assert not make_verdict(math.nextafter(1.0, 0), amap).is_anomalous
    assert make_verdict(math.nan, amap).is_anomalous
    assert make_verdict(math.inf, amap).is_anomalous


def test_regions() -> None:
    amap = np.zeros((20, 30), np.float32)
    amap[2:5, 3:7] = 1.5
    amap[3, 5] = 2.0
    amap[10:12, 20:30] = 1.0
    amap[12, 19] = 3.0  # touches by a corner: one region
    verdict = make_verdict(3.0, amap)
    assert verdict.mask.sum() == 12 + 20 + 1
    first, second = verdict.regions
    assert (first.box, first.area, first.peak, first.peak_at) == ((10, 19, 13, 30), 21, 3.0, (12, 19))
    assert (second.box, second.area, second.peak, second.peak_at) == ((2, 3, 5, 7), 12, 2.0, (3, 5))
    assert second.centroid == (3.0, 4.5)
    good = make_verdict(0.5, amap)
    assert good.regions == ()
    assert not good.mask.any()


def test_an_anomalous_frame_always_shows_where() -> None:
    amap = np.full((16, 16), 0.1, np.float32)
    amap[5, 6] = 0.5  # below the pixel threshold: the smoothing took the rest
    verdict = make_verdict(2.0, amap)
    assert [region.box for region in verdict.regions] == [(5, 6, 6, 7)]


def test_another_threshold() -> None:
    amap = np.zeros((8, 8), np.float32)
    amap[2, 2] = 3.0
    verdict = make_verdict(1.5, amap, threshold=1.0, pixel_threshold=2.0)
    higher = verdict.at_threshold(2.0)
    assert (verdict.is_anomalous, higher.is_anomalous) == (True, False)
    assert (higher.score, higher.threshold, higher.pixel_threshold) == (1.5, 2.0, 4.0)
    assert make_verdict(math.nan, amap).at_threshold(100.0).is_anomalous
    for wrong in (0, -1, math.nan, math.inf, True, "1", None):
        with pytest.raises(SpecError, match="threshold"):
            verdict.at_threshold(wrong)  # type: ignore[arg-type]


def test_a_part_that_is_not_found_is_anomalous_at_every_threshold() -> None:
    place = Place(False, 0.1, np.eye(2, 3), (8, 8))
    verdict = replace(make_verdict(1.0, np.zeros((8, 8), np.float32)), place=place)
    assert verdict.at_threshold(5.0).score == 5.0
    assert verdict.at_threshold(5.0).is_anomalous
    assert verdict.at_threshold(0.1).score == 1.0


def test_to_dict_is_json(runtime: Runtime) -> None:
    verdict = runtime.inspect(bad_frame(2001))
    again = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert again == verdict.to_dict()
    assert again["score"] == verdict.score
    assert again["is_anomalous"] is True
    assert again["regions"][0]["box"] == list(verdict.regions[0].box)
    assert set(again["timings_ms"]) == set(verdict.timings)
    assert again["bundle"] == runtime.bundle_id
    again["timings_ms"]["total"] = verdict.to_dict()["timings_ms"]["total"] = -1
    assert verdict.timings["total"] >= 0  # the dict is the caller's


def test_verdicts_are_independent(runtime: Runtime) -> None:
    """Arrays given to callers are theirs: writing into one changes no other verdict."""
    first = runtime.inspect(bad_frame(20))
    expected = first.anomaly_map.copy()
    first.anomaly_map[:] = -1
    np.testing.assert_array_equal(runtime.inspect(bad_frame(20)).anomaly_map, expected)
    late = runtime.inspect(bad_frame(21))
    probe = runtime.inspect(bad_frame(21)).anomaly_map.copy()
    for seed in range(5):
        runtime.inspect(bad_frame(400 + seed))
    np.testing.assert_array_equal(late.anomaly_map, probe)  # computed late, of its own frame


@pytest.mark.parametrize("bundle", ["format-1", "format-1-roi"])
def test_verdicts_can_be_pickled(bundle: str) -> None:
    runtime = Runtime(DATA / f"{bundle}.bundle")
    frame = bad_frame(2001)
    verdict = runtime.inspect(frame)
    data = pickle.dumps(verdict)
    assert len(data) < 50_000  # and the bundle is not in it
    again = pickle.loads(data)
    assert again.score == verdict.score
    np.testing.assert_array_equal(again.anomaly_map, verdict.anomaly_map)
    np.testing.assert_array_equal(again.overlay(frame), verdict.overlay(frame))


def test_a_verdict_outlives_its_runtime(golden_roi: Path) -> None:
    runtime = Runtime(golden_roi)
    verdict = runtime.inspect(bad_frame(2001))
    expected = runtime.inspect(bad_frame(2001)).anomaly_map
    del runtime
    gc.collect()
    np.testing.assert_array_equal(verdict.anomaly_map, expected)
