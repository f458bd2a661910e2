"""The factors of the local scale, and bundles that have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad import Runtime, SpecError, native
from edge_ad.bundle.file import Bundle
from edge_ad.calibration.recalibrate import Images, score_images
from export.local_scale import NEIGHBOURS, factor_reach, level_of, local_scale, row_neighbours, row_statistics
from tests.export.made import Export, goods, write
from tests.tiny import bad_frame, good_frame

POOL = native.Pool(2)
LOCAL = {"local_scale": 0.75, "smooth": 0.7}


def material(rows: int = 60, images: int = 5, patches: int = 49) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    vectors = generator.normal(0, 1, (rows, 4)).astype(np.float32)
    shown = generator.normal(0, 1, (images, patches, 4)).astype(np.float32)
    return vectors, shown, generator.exponential(1, (images, patches)).astype(np.float32)


def test_sums_and_counts_of_rows() -> None:
    vectors, patches, distances = material()
    images = np.array([0, 2, 3])
    distances[[1, 4]] = np.nan  # not held out
    sums, counts = row_statistics(native.Coreset(vectors), patches, distances, images, POOL)
    apart = np.linalg.norm(patches[images][:, :, None] - vectors, axis=3).argmin(axis=2)
    relative = distances[images].astype(np.float64) / np.quantile(distances[images], 0.99)
    for row in range(len(vectors)):
        assert counts[row] == (apart == row).sum()
        assert sums[row] == pytest.approx((relative[apart == row] ** 16).sum())
    assert counts.sum() == 3 * 49


def test_an_odd_image_does_not_move_the_level() -> None:
    distances = np.random.default_rng(0).uniform(1, 2, (40, 200)).astype(np.float32)
    usual = level_of(distances)
    distances[3, :50] = 40.0
    assert level_of(distances) == pytest.approx(usual, rel=0.01)


def test_a_share_of_many_patches_has_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.local_scale.MOST_PATCHES", 130)
    patches = np.tile(np.arange(49, dtype=np.float32)[None, :, None], (8, 1, 1))  # a patch is its place
    coreset = native.Coreset(np.arange(49, dtype=np.float32)[:, None])
    ones = np.ones((8, 49), np.float32)
    sums, counts = row_statistics(coreset, patches, ones, np.arange(8), POOL)
    assert 90 <= counts.sum() <= 130 + 8
    assert counts.min() >= 1
    np.testing.assert_array_equal(sums, counts)


@pytest.mark.parametrize("rows", [1, 5, 60])
def test_each_row_is_among_its_neighbours(rows: int) -> None:
    apart, neighbours = row_neighbours(native.Coreset(material(rows)[0]), POOL)
    assert not apart[:, 0].any()
    assert neighbours.shape == (rows, min(NEIGHBOURS, rows))
    assert (neighbours[:, 0] == np.arange(rows)).all()


def test_guesses_change_no_sum() -> None:
    vectors, patches, distances = material()
    coreset, images = native.Coreset(vectors), np.arange(4)
    plain = row_statistics(coreset, patches, distances, images, POOL)
    guesses = np.random.default_rng(1).integers(-1, len(vectors), patches.shape[:2]).astype(np.int32)
    guessed = row_statistics(coreset, patches, distances, images, POOL, guesses, row_neighbours(coreset, POOL))
    for one, other in zip(plain, guessed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_factors() -> None:
    sums, counts = np.array([10.0, 0.0, 2.0]), np.array([5, 0, 4])
    neighbours = np.array([[0, 1], [1, 0], [2, 1]], np.int32)
    found = local_scale(sums, counts, neighbours, 0.5)
    local = np.array([(10 + 5) / 10, (10 + 5) / 10, (2 + 5) / 9]) ** (1 / 16)
    np.testing.assert_allclose(found, (1 / local) ** 0.5, rtol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(local_scale(sums, counts, neighbours, 0), 1)


def test_a_factor_follows_the_farthest_patches_of_its_row_and_not_the_usual_ones() -> None:
    """Two rows with the same mean distance: where some patches lie far apart, a distance counts less."""
    coreset = native.Coreset(np.array([[0.0], [100.0]], np.float32))
    patches = np.tile(np.array([0.0] * 100 + [100.0] * 100, np.float32)[None, :, None], (10, 1, 1))
    distances = np.ones((10, 200), np.float32)
    distances[:, :100] = np.tile(np.array([0.7] * 80 + [2.2] * 20, np.float32), (10, 1))
    found = row_statistics(coreset, patches, distances, np.arange(10), POOL)
    spread, even = local_scale(*found, np.array([[0], [1]], np.int32), 1.0)
    assert spread == pytest.approx((205 / 1005) ** (-1 / 16), rel=1e-3)  # 200 of 1,000 as far as the level, and 5
    assert even == pytest.approx((5 / 1005) ** (-1 / 16), rel=1e-3)  # as good as nothing beside the 5


def test_rows_that_nothing_matches_have_the_factor_1() -> None:
    sums, counts = np.array([0.0, 3.0]), np.array([0, 3])
    found = local_scale(sums, counts, np.array([[0], [1]], np.int32), 4)
    assert found[0] == 1
    assert found[1] == 1  # as far as the level


def test_a_small_part_on_a_ground_that_never_varies_still_counts() -> None:
    """The level is that of the ground, and the part lies a hundred times as far: it counts half, not a hundredth."""
    sums, counts = np.array([0.0, 50 * 100.0**16]), np.array([10**5, 50])
    ground, part = local_scale(sums, counts, np.array([[0], [1]], np.int32), 1)
    assert part == 0.5
    assert ground < 2


def test_distances_of_0() -> None:
    vectors, patches, distances = material()
    alone = np.arange(len(vectors), dtype=np.int32)[:, None]
    for odd in (0, 1):  # the level is 0 with one that is not, too
        distances[:] = 0
        distances[0, :odd] = 3
        sums, counts = row_statistics(native.Coreset(vectors), patches, distances, np.arange(5), POOL)
        assert counts.max() > 1
        np.testing.assert_array_equal(local_scale(sums, counts, alone, 4), 1)
    # all but a few are 0: the level is next to nothing, and nothing overflows
    distances[:] = 1e-38
    distances[0, 0] = 3e38
    sums, counts = row_statistics(native.Coreset(vectors), patches, distances, np.arange(5), POOL)
    for exponent in (0.5, 1, 4):
        found = local_scale(sums, counts, alone, exponent)
        assert np.isfinite(found).all()
        assert (found > 0).all()


def test_how_far_it_is_to_a_larger_factor() -> None:
    vectors = material(200)[0]
    factors = np.exp(np.random.default_rng(1).normal(0, 1, 200)).astype(np.float32)
    levels, reach = factor_reach(vectors, factors, None, POOL)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    for level, column in zip(levels, reach.T, strict=True):
        np.testing.assert_allclose(column, apart[:, factors > level].min(axis=1), rtol=1e-5, atol=1e-6)
    assert (np.diff(levels) >= 0).all()
    assert (np.diff(reach, axis=1) >= 0).all()
    equal = factor_reach(vectors, np.ones(200, np.float32), None, POOL)[1]
    assert (equal == np.finfo(np.float32).max).all()


# ---------------------------------------------------------------------------------------------------- bundles


@pytest.mark.parametrize("changes", [{}, {"roi": "20,18,46,44", "halo": 2, "reweight": 3}, {"calibration": "split"}])
def test_a_bundle_with_both(export: Export, tiny: Path, changes: dict[str, object], engine: str) -> None:
    path = export(**LOCAL, **changes)
    runtimes = {search: Runtime(path, engine=engine, search=search, self_check=True) for search in ("exact", "graph")}
    spec = runtimes["exact"].manifest
    assert (spec.head.local_scale, spec.head.smooth) == (0.75, 0.7)
    for frame in (good_frame(7000), bad_frame(7001), bad_frame(7002)):
        exact, graph = (runtime.inspect(frame) for runtime in runtimes.values())
        assert graph.score == exact.score
    assert runtimes["graph"].inspect(bad_frame(7001)).is_anomalous
    assert runtimes["exact"].check()
    with Bundle.open(path) as bundle:
        scale = bundle.array("coreset/scale")
        assert scale.shape == (spec.index.size,)
        assert 0 < scale.min() < scale.max()
        images = tuple(sorted((tiny / "part" / "test" / "good").iterdir()))
        scores = score_images(bundle, runtimes["graph"], Images("", Path(), "", images, ())).goods
    assert scores == tuple(runtimes["exact"].inspect(image).score for image in images)


def test_the_same_images_give_the_same_bundle(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, two = (export(out=tmp_path / f"{n}.bundle", threads=n, **LOCAL).read_bytes() for n in (1, 2))
    assert one == two


def test_held_out_scores_are_scaled_as_the_runtime_scales(export: Export, tiny: Path) -> None:
    """With one split, the coreset and the factors of calibration are those of the bundle."""
    path = export(calibration="split", coreset=1.0, **LOCAL)
    runtime = Runtime(path, search="exact")
    kept = runtime.manifest.calibration
    found = {runtime.inspect(image).score for image in (tiny / "part" / "train" / "good").iterdir()}
    for score in kept.good_scores:
        assert min(abs(score - other) for other in found) < 1e-5 * score


def test_each_alone(export: Export, tmp_path: Path) -> None:
    smooth = Runtime(export(out=tmp_path / "a.bundle", smooth=0.7))
    scaled = Runtime(export(out=tmp_path / "b.bundle", local_scale=0.75))
    plain = Runtime(export(out=tmp_path / "c.bundle"))
    assert "coreset/scale" not in smooth.manifest.members
    assert not {"coreset/scale", "coreset/reach"} & set(plain.manifest.members)
    assert "coreset/scale" in scaled.manifest.members
    frame = bad_frame(7000)
    assert smooth.inspect(frame).score < plain.inspect(frame).score != scaled.inspect(frame).score
    without = export(out=tmp_path / "d.bundle", graph=False, **LOCAL)
    with Bundle.open(without) as bundle:
        assert "coreset/scale" in bundle
        assert "coreset/reach" not in bundle


def test_points_have_their_own_factors(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 shares the rows of the coreset, and not the distances; another size shares nothing."""
    pytest.importorskip("onnxruntime", reason="the int8 point is for it")
    monkeypatch.setattr("export.pipeline.shortfall", lambda *_: None)  # keeps every point
    many = write(tmp_path / "many", goods(40))
    path = export(category=str(many), to="onnx", points=("f32", "int8"), more_sizes=((48, 48),), **LOCAL)
    with Bundle.open(path) as bundle:
        assert {"int8-onnxruntime", "f32-48x48"} <= {point.name for point in bundle.manifest.points}
        assert {name for name in bundle.manifest.members if name.endswith("coreset/scale")} == {
            "coreset/scale",
            *(f"points/{point.name}/coreset/scale" for point in bundle.manifest.points),
        }
    for name in Runtime(path).manifest.point_names:
        assert Runtime(path, point=name, self_check=True).inspect(bad_frame(7003)).score > 0


@pytest.mark.parametrize("name", ["local_scale", "smooth"])
@pytest.mark.parametrize("value", [-0.1, 8.5, float("nan"), float("inf")])
def test_numbers_out_of_range(export: Export, name: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"--{name.replace('_', '-')}"):
        export(**{name: value})


def test_calibrate_keeps_them(export: Export, tiny: Path, tmp_path: Path) -> None:
    path, out = export(**LOCAL), tmp_path / "again.bundle"
    from edge_ad.cli import main

    given = ["calibrate", str(path), "--data", str(tiny / "part"), "--out", str(out)]
    assert main(given) == 0
    with Bundle.open(path) as old, Bundle.open(out) as new:
        assert new.manifest.head == old.manifest.head
        np.testing.assert_array_equal(new.array("coreset/scale"), old.array("coreset/scale"))
    assert Runtime(out).inspect(bad_frame(1)).score == Runtime(path).inspect(bad_frame(1)).score


@pytest.mark.parametrize("search", ["exact", "graph"])
def test_the_export_scores_test_images_as_exact_search(
    export: Export, tiny: Path, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.fit.patchcore.choose_search", lambda wanted, coreset, has_graph: search)
    path = export(rule="f1", **LOCAL)
    runtime = Runtime(path, search="exact")
    files = sorted(file for file in (tiny / "part" / "test").rglob("*.png") if file.parent.name != "good")
    assert runtime.manifest.calibration.defect_scores == tuple(runtime.inspect(file).score for file in files)
