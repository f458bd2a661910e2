"""Metrics of pixels: against scikit-learn, cases worked by hand, and a PRO curve made threshold by threshold."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label  # type: ignore[import-untyped]
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from edge_ad.errors import SpecError
from edge_ad.metrics import PixelMetrics, PixelSample, binary_auroc, pixel, pixel_metrics


def sample(values: object, mask: object = None, name: str = "image") -> PixelSample:
    """A defect where there is a mask, and a good where there is none."""
    found = None if mask is None else np.array(mask, np.bool_)
    return PixelSample(name, np.array(values, np.float32), found, found is not None)


@st.composite
def sets(draw: st.DrawFn) -> list[PixelSample]:
    """One to four images of several sizes, with many ties or none."""
    values = draw(st.sampled_from([st.integers(0, 4).map(float), st.floats(-10, 10, width=32)]))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 7)))
        amap = draw(hnp.arrays(np.float32, shape, elements=values))
        found.append(sample(amap, draw(st.one_of(st.none(), hnp.arrays(np.bool_, shape)))))
    return found


def pixels(samples: list[PixelSample]) -> tuple[np.ndarray, np.ndarray]:
    """Values and labels of all pixels."""
    values = np.concatenate([s.anomaly_map.ravel() for s in samples])
    masks = [np.zeros(s.anomaly_map.shape, np.bool_) if s.mask is None else s.mask for s in samples]
    return values, np.concatenate([m.ravel() for m in masks])


def slow_au_pro(samples: list[PixelSample], limit: float) -> float:
    """The PRO curve, a point a threshold, and its integral with interpolation at the limit."""
    values, truth = pixels(samples)
    regions = []
    for s in samples:
        if s.mask is not None:
            labels, count = label(s.mask, np.ones((3, 3), int))
            regions += [s.anomaly_map[labels == k + 1] for k in range(count)]
    rates, overlaps = [0.0], [0.0]
    for at in np.unique(values)[::-1]:
        rates.append(float((values[~truth] >= at).mean()))
        overlaps.append(float(np.mean([(r >= at).mean() for r in regions])))
    area = 0.0
    for x0, x1, y0, y1 in zip(rates, rates[1:], overlaps, overlaps[1:], strict=False):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def both(samples: list[PixelSample]) -> bool:
    truth = pixels(samples)[1]
    return bool(truth.any() and not truth.all())


@given(sets().filter(both), st.sampled_from([1, 5, 1 << 22]))
def test_pixel_metrics_equal_scikit_learn_and_brute_force(samples: list[PixelSample], block: int) -> None:
    with patch.object(pixel, "_BLOCK", block):
        found = pixel_metrics(samples, 2.0)
    values, truth = pixels(samples)
    assert [found.good_pixels, found.defect_pixels] == np.bincount(truth).tolist()
    assert found.images == len(samples)
    assert found.regions == sum(label(s.mask, np.ones((3, 3), int))[1] for s in samples if s.mask is not None)
    assert found.auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert found.ap == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    assert found.seg_f1 == pytest.approx(f1_score(truth, values >= 2.0, zero_division=0), abs=1e-12)
    assert found.au_pro_30 == pytest.approx(slow_au_pro(samples, 0.30), abs=1e-9)
    assert found.au_pro_05 == pytest.approx(slow_au_pro(samples, 0.05), abs=1e-9)


@given(sets().filter(both))
def test_au_pro_up_to_1_is_the_mean_of_the_regions_aurocs(samples: list[PixelSample]) -> None:
    with patch.object(pixel, "PRO_LIMITS", (1.0, 0.5)):
        found = pixel_metrics(samples, 2.0)
    values, truth = pixels(samples)
    aurocs = []
    for s in samples:
        if s.mask is not None:
            labels, count = label(s.mask, np.ones((3, 3), int))
            aurocs += [binary_auroc(values[~truth], s.anomaly_map[labels == k + 1]) for k in range(count)]
    assert found.au_pro_30 == pytest.approx(np.mean(aurocs), abs=1e-9)
    assert found.au_pro_05 == pytest.approx(slow_au_pro(samples, 0.5), abs=1e-9)


def test_au_pro_by_hand() -> None:
    """10 good pixels, so the limits are 3 and 0.5 of them. Region A, the 9, lies above all goods. Region B has a 7,
    below one good, and a 0, below all: the means are (3 + (2 + 0) / 2) / 2 = 2 of 3, and 0.25 of 0.5."""
    amap = [[9, 8, 7, 6, 5, 4, 3], [2, 2, 0, 1, 1, 1, 1]]
    mask = [[1, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]]
    found = pixel_metrics([sample(amap, mask), sample([[1]])], 7)
    assert (found.regions, found.good_pixels, found.defect_pixels, found.images) == (2, 12, 3, 2)
    found = pixel_metrics([sample([row[:6] for row in amap], [row[:6] for row in mask]), sample([[1]])], 7)
    assert found.good_pixels == 10
    assert found.au_pro_30 == pytest.approx(2 / 3)
    assert found.au_pro_05 == pytest.approx(0.5)
    assert found.seg_f1 == 2 * 2 / (3 + 3)  # 9 and 7 are caught, 0 is not, and the 8 is a false one


def test_au_pro_of_a_tie_across_the_limit_by_hand() -> None:
    """The region scores as 4 of 10 goods do: a line from (0, 0) to (0.4, 1), cut at 0.3: 0.3 x 0.75 / 2 / 0.3."""
    found = pixel_metrics([sample([[5, 5, 5, 5, 5, 1, 1, 1, 1, 1, 1]], [[1] + 10 * [0]])], 5)
    assert found.au_pro_30 == pytest.approx(0.375)
    assert found.auroc == 0.8


def test_perfect_and_useless_maps() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[3:7, 4:9] = True
    perfect, useless, wrong = (pixel_metrics([sample(m, mask)], 0.5) for m in (mask, np.zeros(mask.shape), ~mask))
    assert (perfect.auroc, perfect.ap, perfect.au_pro_30, perfect.au_pro_05, perfect.seg_f1) == (1, 1, 1, 1, 1)
    assert useless.auroc == 0.5
    assert useless.au_pro_30 == pytest.approx(0.15)
    assert useless.ap == pytest.approx(mask.mean())
    assert (wrong.auroc, wrong.au_pro_30, wrong.au_pro_05, wrong.seg_f1) == (0, 0, 0, 0)


def test_diagonal_neighbours_are_one_region() -> None:
    assert pixel_metrics([sample(np.eye(4), np.eye(4))], 1).regions == 1


def test_regions_weigh_the_same_whatever_their_size_and_image() -> None:
    """A region of 99 pixels that is found and one of 1 that is missed: half, and not 99%."""
    large, small = np.zeros((10, 20), np.bool_), np.zeros((10, 20), np.bool_)
    large[:9, :11] = small[0, 0] = True
    found = pixel_metrics([sample(large, large), sample(~small, small), sample(np.full((90, 90), 0.5))], 1)
    assert found.regions == 2
    assert found.au_pro_05 == pytest.approx(
        slow_au_pro([sample(large, large), sample(~small, small), sample(np.full((90, 90), 0.5))], 0.05)
    )
    assert found.au_pro_30 is not None
    assert 0.48 < found.au_pro_30 < 0.5


def nothing_ranked(found: PixelMetrics) -> bool:
    return (found.auroc, found.ap, found.au_pro_30, found.au_pro_05) == (None, None, None, None)


def test_what_cannot_be_computed_is_none() -> None:
    goods = [sample([[1, 2], [3, 4]])]
    found = pixel_metrics(goods, 1)
    assert nothing_ranked(found)
    assert found.seg_f1 is None
    assert (found.images, found.good_pixels) == (1, 4)
    assert nothing_ranked(pixel_metrics([], 1))
    found = pixel_metrics([sample([[1, 2]], [[1, 1]])], 2)
    assert nothing_ranked(found)
    assert found.seg_f1 == pytest.approx(2 / 3)


def test_a_defect_without_a_mask_is_left_out_and_named() -> None:
    known = [sample([[1, 2, 3]], [[0, 0, 1]]), sample([[1, 5]])]
    unknown = PixelSample("scratch/007.png", np.full((3, 3), 9, np.float32), None, True)
    found = pixel_metrics([unknown, *known, unknown], 2)
    assert found.unmasked == ("scratch/007.png", "scratch/007.png")
    assert (found.images, found.good_pixels) == (2, 4)
    assert found.auroc == pixel_metrics(known, 2).auroc == 0.75
    alone = pixel_metrics([unknown, known[1]], 2)
    assert nothing_ranked(alone)
    assert alone.seg_f1 is None


def test_empty_masks_are_good_pixels() -> None:
    empty = np.zeros((1, 2), np.bool_)
    amap = np.array([[1, 2]], np.float32)
    for is_defect in (False, True):
        found = pixel_metrics([PixelSample("a", amap, empty, is_defect), sample([[3]], [[1]])], 2)
        assert (found.good_pixels, found.auroc) == (2, 1)


@given(st.floats(0.01, 100), st.integers(-2, 2))
def test_a_threshold_between_two_float32_is_not_rounded(threshold: float, steps: int) -> None:
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.inf if steps > 0 else 0))
    found = pixel_metrics([sample([[value]], [[1]])], threshold)
    assert found.seg_f1 == float(float(value) >= threshold)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_maps_that_are_no_numbers_fail_closed(bad: float) -> None:
    with pytest.raises(SpecError, match=r"anomaly map of hole/3\.png holds NaN or Inf"):
        sample([[1, bad]], name="hole/3.png")


@pytest.mark.parametrize(
    ("amap", "mask", "is_defect", "match"),
    [
        (np.zeros((4, 5), np.float32), np.zeros((5, 4), np.bool_), True, r"mask of a\.png.*\(4, 5\); got \(5, 4\)"),
        (np.zeros((4, 5), np.float32), np.zeros((4, 5, 1), np.bool_), True, r"mask of a\.png has another size"),
        (np.zeros((4, 5), np.float32), np.zeros((4, 5), np.uint8), True, r"mask of a\.png.*got uint8.*127"),
        (np.zeros((4, 5), np.float32), np.ones((4, 5), np.bool_), False, r"a\.png is labelled good.*20 pixels"),
        (np.zeros((4, 5), np.float64), None, False, r"map of a\.png.*got float64 \(4, 5\)"),
        (np.zeros((4, 5, 1), np.float32), None, False, r"map of a\.png.*\(4, 5, 1\)"),
        (np.zeros((0, 5), np.float32), None, False, r"map of a\.png.*\(0, 5\)"),
    ],
)
def test_samples_that_do_not_fit(amap: np.ndarray, mask: np.ndarray | None, is_defect: bool, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        PixelSample("a.png", amap, mask, is_defect)


def test_samples_are_gone_through_twice() -> None:
    samples = [sample([[1, 2]], [[0, 1]])]
    with pytest.raises(SpecError, match="twice; expected a list or the like; got an iterator"):
        pixel_metrics((s for s in samples), 1)

    class Spent:
        left = iter(samples)

        def __iter__(self) -> Iterator[PixelSample]:
            yield from self.left

    with pytest.raises(SpecError, match="the samples changed; expected 1 good pixels again; got 0"):
        pixel_metrics(Spent(), 1)


def test_memory_is_that_of_one_image() -> None:
    """40 images of 1 MB each, loaded anew each time."""

    class Loaded:
        def __iter__(self) -> Iterator[PixelSample]:
            for seed in range(40):
                amap = np.random.default_rng(seed).random((512, 512), np.float32)
                mask = np.zeros(amap.shape, np.bool_)
                mask[:20, :20] = True
                yield PixelSample(str(seed), amap, mask, True)

    with patch.object(pixel, "_BLOCK", 1 << 16):
        tracemalloc.start()
        found = pixel_metrics(Loaded(), 0.5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found.images == 40
    assert peak < 10 * 2**20
