"""Synthetic defects for the detection power of an export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.frames.check import read_frame
from edge_ad.heads.index import Index
from edge_ad.heads.local import Local, Smoothing
from edge_ad.metrics.power import detection_power
from edge_ad.spec import FrameSpec
from export import power
from export.features import extract
from export.fit import open_method
from export.fit.base import Material, Searches
from export.folds import folds
from export.held_out import cross_fit
from export.network import open_networks
from export.options import Options
from export.power import (
    CONTRASTS,
    NO_DEFECTS,
    ONE,
    SIZES,
    Changed,
    Known,
    Nearby,
    SynthDefects,
    changed_by,
    draw_defects,
    frames_with,
)
from export.stages import open_stages
from export.synth.defect import KINDS
from tests.export.made import Export, goods, write

FRAME = FrameSpec(None)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = write(tmp_path_factory.mktemp("power") / "good", goods(6, size=96))
    return sorted(folder.iterdir())


def test_the_same_seed_gives_the_same_defects_and_another_gives_others(paths: list[Path]) -> None:
    images = np.arange(6)
    one, again, other = (draw_defects(paths, images, None, FRAME, seed) for seed in (0, 0, 1))
    assert [d.box for d in one.defects] == [d.box for d in again.defects]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one.defects, again.defects, strict=True))
    assert [d.box for d in one.defects] != [d.box for d in other.defects]


def test_they_are_of_every_kind_and_spread_over_the_images(paths: list[Path]) -> None:
    found = draw_defects(paths, np.arange(6), None, FRAME, 0).defects
    per_kind = len(SIZES) * len(CONTRASTS)
    assert {d.cell // per_kind for d in found} == set(range(len(KINDS)))
    assert {d.image for d in found} == set(range(6))
    assert [d.image for d in found] == sorted(d.image for d in found)  # an image with several is read once


def test_a_frame_differs_inside_the_box_alone(paths: list[Path]) -> None:
    found = draw_defects(paths, np.array([2, 4]), None, FRAME, 0)
    assert {d.image for d in found.defects} == {2, 4}
    for defect, frame in zip(found.defects, frames_with(found.defects, paths, FRAME), strict=True):
        y0, x0, y1, x1 = defect.box
        good = read_frame(paths[defect.image])
        changed = (frame != good).any(axis=2)
        assert changed[y0:y1, x0:x1].any()
        changed[y0:y1, x0:x1] = False
        assert not changed.any()


def test_they_stay_inside_a_region(paths: list[Path]) -> None:
    region = np.zeros((96, 96), np.bool_)
    region[20:70, 30:80] = True
    for defect in draw_defects(paths, np.arange(6), region, FRAME, 0).defects:
        y0, x0, y1, x1 = defect.box
        assert 20 <= y0 < y1 <= 70
        assert 30 <= x0 < x1 <= 80


def test_none_are_asked_for(paths: list[Path]) -> None:
    assert draw_defects(paths, np.arange(6), None, FRAME, 0, range(0)) is NO_DEFECTS
    assert NO_DEFECTS.spec([], []) is None


def test_grey_frames_of_16_bits(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(20_000, 30_000, (64, 64), dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "a.png"), noise)
    frame = FrameSpec(None, "bgr", 16, 65535)
    found = draw_defects([tmp_path / "a.png"], np.arange(1), None, frame, 0)
    assert found.defects
    assert all(part.dtype == np.uint16 for part in frames_with(found.defects, [tmp_path / "a.png"], frame))


def test_a_bundle_says_what_it_sees(export: Export) -> None:
    with Bundle.open(export(effort="usual")) as bundle:
        manifest = bundle.manifest
    assert manifest.power is not None
    assert len(manifest.power.scores) > 100
    assert manifest.power.images == 12
    low, high = (detection_power(manifest.power, manifest.calibration.threshold * f) for f in (0.5, 2))
    assert 0 <= high <= low <= 1


def test_a_quick_export_measures_none(export: Export) -> None:
    with Bundle.open(export(effort="quick")) as bundle:
        assert bundle.manifest.power is None


def test_turns_can_be_drawn_one_after_the_other(paths: list[Path]) -> None:
    images = np.arange(6)
    first, second, both = (draw_defects(paths, images, None, FRAME, 0, turns) for turns in (ONE, range(1, 2), range(2)))
    together = first.with_more(second)
    assert [d.image for d in together.defects] == [d.image for d in both.defects]
    assert _by_place(together) == _by_place(both)


def test_defects_are_moved_to_other_numbers_of_the_same_files(paths: list[Path]) -> None:
    drawn, others = draw_defects(paths, np.array([1, 4]), None, FRAME, 0), list(reversed(paths))
    moved = drawn.among(paths, others)
    assert moved is not None
    assert {others[d.image] for d in moved.defects} == {paths[1], paths[4]}
    assert [d.image for d in moved.defects] == sorted(d.image for d in moved.defects)
    assert drawn.among(paths, paths[:4]) is None
    assert NO_DEFECTS.among([], []) == NO_DEFECTS


def _by_place(drawn: SynthDefects) -> list[tuple[int, tuple[int, ...], bytes]]:
    return sorted((d.image, d.box, d.pixels.tobytes()) for d in drawn.defects)


@pytest.fixture(scope="module")
def material(paths: list[Path]) -> Material:
    options = Options("part", effort="quick", coreset=0.1, threads=2)
    stages = open_stages(options, open_networks(options)[0], FRAME, None, paths, (96, 96))
    patches = np.empty((len(paths), stages.masks.count, stages.backbone.dim), np.float32)
    extract(patches, paths, FRAME, stages.crop, stages.engine, None)
    return Material(patches, paths, stages, options, native.Pool(2), folds(len(paths)))


def test_what_a_defect_changes_gives_its_patches(material: Material, paths: list[Path]) -> None:
    drawn, known = draw_defects(paths, np.arange(6), None, FRAME, 0).defects[:20], Known(2**20)
    stages = material.stages
    for defect, frame, changed in zip(
        drawn,
        frames_with(drawn, paths, FRAME),
        changed_by(drawn, paths, material.patches, stages, known),
        strict=True,
    ):
        patches = stages.engine(stages.crop(frame, from_file=True))
        assert np.array_equal(changed.on(material.patches[defect.image]), patches)
    left = known.most
    assert 0 <= left < 2**20
    again = [*changed_by(drawn[:5], paths, material.patches, stages, known)]
    assert all(changed is known.get(defect) for changed, defect in zip(again, drawn, strict=False))
    full = Known(0)
    assert len([*changed_by(drawn[:3], paths, material.patches, stages, full)]) == 3
    assert full.get(drawn[0]) is None


def test_frames_that_are_not_kept_are_read_again(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = draw_defects(paths, np.arange(2), None, FRAME, 0).defects[::20]
    monkeypatch.setattr(power, "KEPT", 0)
    others = draw_defects(paths, np.arange(2), None, FRAME, 0).defects[::20]
    assert all(defect.good is not None for defect in kept)
    assert all(defect.good is None for defect in others)
    for one, other in zip(frames_with(kept, paths, FRAME), frames_with(others, paths, FRAME), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), scaled=st.booleans(), sigma=st.sampled_from([0.0, 0.7]), rows=st.integers(1, 60))
def test_a_score_is_exact_though_few_patches_are_searched(seed: int, scaled: bool, sigma: float, rows: int) -> None:
    """Of a picture whose patches moved, most by little: the largest value and its place are those of all patches."""
    generator, pool = np.random.default_rng(seed), native.Pool(1)
    normal = generator.standard_normal
    coreset = native.Coreset(normal((rows, 5), np.float32))
    old = normal((8 * 9, 5), np.float32)
    at = np.flatnonzero(generator.random(72) < 0.7)
    new = old[at] + normal((len(at), 5), np.float32) * np.float32(10) ** generator.uniform(
        -7, 0.5, (len(at), 1)
    ).astype(np.float32)
    both, places = native.knn_search(coreset, old, min(2, rows), pool)
    second = both[:, 1] if rows > 1 else np.full(72, np.inf, np.float32)
    nearby = Nearby(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(places[:, 0]), second)
    changed, searched = Changed(at, new), list[int]()

    def find(patches: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        searched.extend(numbers.tolist())
        return native.exact_search(coreset, patches, pool, numbers)

    scale = generator.uniform(0.7, 1.2, rows).astype(np.float32) if scaled else None
    local = Local(scale, Smoothing(sigma, (8, 9), None) if sigma else None)
    estimate = changed.estimate(nearby, old)
    Index.settle(estimate, changed.search(find), local)
    whole = changed.on(old)
    expected = local(*native.exact_search(coreset, whole, pool))
    found = local(estimate.distances, estimate.nearest)
    assert found.max() == expected.max()
    assert found.argmax() == expected.argmax()
    assert len(set(searched)) == len(searched) <= len(at)
    vector = changed.vector(old)
    assert all(np.array_equal(vector(number), patch) for number, patch in enumerate(whole))


def test_patches_that_hardly_moved_are_not_searched() -> None:
    generator, pool = np.random.default_rng(0), native.Pool(1)
    coreset = native.Coreset(generator.standard_normal((50, 16), np.float32))
    old = generator.standard_normal((100, 16), np.float32)
    both, places = native.knn_search(coreset, old, 2, pool)
    nearby = Nearby(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(places[:, 0]), both[:, 1])
    changed = Changed(np.arange(100), old + np.float32(1e-6))
    estimate = changed.estimate(nearby, old)
    assert estimate.sure is not None
    assert estimate.sure.mean() > 0.9
    Index.settle(estimate, changed.search(lambda p, n: native.exact_search(coreset, p, pool, n)), Local())
    assert estimate.open.mean() > 0.7


def anew(material: Material, options: Options) -> Material:
    """For another method: without what the one before chose and found."""
    return replace(material, options=options, chosen={}, searches=Searches())


@pytest.mark.parametrize(
    ("method", "own_options"),
    [
        ("patchcore", {"local_scale": 0.5, "smooth": 0.7, "reweight": 3, "coreset": 0.1}),
        ("knn", {"coreset": 0.1}),
        ("padim", {}),  # it judges a patch by its place, so it is asked for whole pictures
    ],
)
def test_scores_are_those_of_whole_pictures(
    material: Material, paths: list[Path], method: str, own_options: dict[str, Any]
) -> None:
    options = Options("part", effort="quick", threads=2, method=method, **own_options)
    own, drawn = anew(material, options), draw_defects(paths, np.arange(6), None, FRAME, 0)
    found = cross_fit(open_method(own), own, own.splits, drawn)
    fitted, expected = open_method(anew(own, options)), []
    for label, (train, held_out) in zip(own.splits.labels, own.splits.pairs, strict=True):
        head = fitted.fit(train, label)
        for frame in frames_with(drawn.on(held_out), paths, FRAME):
            patches = own.stages.engine(own.stages.crop(frame, from_file=True))
            expected.append(head(patches, exact=True).score)
    assert found.synthetic == expected
