"""A frame in tiles: the answers are those of the whole frame, as far as no border of a tile is seen."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BudgetError, ParityError, Runtime, SpecError, Verdict, native
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from edge_ad.frames.roi import RoiMasks
from edge_ad.frames.tiles import tiles_of
from edge_ad.serving.clock import Stopwatch
from edge_ad.spec import IndexSpec, Manifest
from export.network import open_network
from export.openvino_ir import to_ir
from export.pipeline import export_bundle
from tests.edited import edited, read
from tests.tiny import bad_frame, good_frame, tiny_options, write_material

SIDE, TILE = 200, (120, 120)  # two tiles a side, which overlap by 2 * REACH exactly
REACH = 20  # pixels: beyond these the tiny network does not see, its poolings and enlargements included
ROI = "30,40,90,110"
Make = Callable[..., Path]

pytestmark = pytest.mark.skipif(len(installed_engines()) < 2, reason="needs both engines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("tiles"), goods=6, tests=1, size=SIDE)


@pytest.fixture(scope="module")
def make(folder: Path) -> Make:
    """Exports the category with changed options; the same bundle for the same options."""
    kept: dict[str, Path] = {}

    def run(**changes: Any) -> Path:
        key = repr(sorted(changes.items()))
        if key not in kept:
            given = {"input_size": None, "tiles": (*TILE, 2 * REACH), "out": folder / f"{len(kept)}.bundle", **changes}
            kept[key] = export_bundle(tiny_options(folder, **given)).bundle
        return kept[key]

    return run


def untiled(folder: Path, bundle: Path) -> Path:
    """The same bundle with a graph for the whole picture in place of tiles."""
    manifest, members = read(bundle)
    backbone = dataclasses.replace(manifest.backbone, tiles=None)
    graph = open_network(tiny_options(folder)).graph(backbone.tensor_size)
    assert graph.grid == backbone.grid
    data = graph.model.SerializeToString()
    xml, weights = to_ir(data)
    models = {"model.onnx": data, "model.xml": xml, "model.bin": weights}
    assert models.keys() == {name for name in members if name.startswith("model.")}
    return edited(bundle, bundle.with_suffix(".whole"), models, backbone={"tiles": None})


def frames() -> list[np.ndarray]:
    return [
        good_frame(50, SIDE),
        bad_frame(51, SIDE),
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8),
    ]


def far_from_seams(manifest: Manifest, pixels: int) -> np.ndarray:
    """(h, w) bool of the patches that lie so far from every seam."""
    owner = np.zeros(manifest.backbone.grid[0] * manifest.backbone.grid[1], np.int32)
    for number, tile in enumerate(tiles_of(manifest.backbone, RoiMasks(manifest.backbone.grid))):
        owner[tile.numbers] = number
    grid = owner.reshape(manifest.backbone.grid)
    low, high = (
        cv2.erode(grid.astype(np.float32), np.ones((3, 3))),
        cv2.dilate(grid.astype(np.float32), np.ones((3, 3))),
    )
    stride = manifest.backbone.tiles.stride  # type: ignore[union-attr]
    found: np.ndarray = cv2.distanceTransform((low == high).astype(np.uint8), cv2.DIST_C, 3) * stride >= pixels
    return found


# ------------------------------------------------------------------------------------------------------- seams


@pytest.mark.parametrize("changes", [{}, {"local_scale": 0.5, "smooth": 0.7}, {"reweight": 3}, {"method": "knn"}])
def test_with_the_overlap_of_the_network_there_is_no_seam(
    make: Make, folder: Path, engine: str, changes: dict[str, Any]
) -> None:
    """Every patch that is used lies as far from the border of its tile as the network sees."""
    path = make(**changes)
    tiled, whole = (Runtime(p, engine=engine, threads=2) for p in (path, untiled(folder, path)))
    for frame in frames():
        a, b = tiled.probe(frame), whole.probe(frame)
        scale = float(np.abs(b.patches).max())
        np.testing.assert_allclose(a.patches, b.patches, rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(a.distances, b.distances, rtol=1e-5, atol=1e-5 * float(b.distances.max()))
        np.testing.assert_allclose(a.anomaly_map, b.anomaly_map, rtol=1e-5, atol=1e-5 * float(b.anomaly_map.max()))
        assert a.score == pytest.approx(b.score, rel=1e-5)


@pytest.mark.parametrize("overlap", [0, 8, 16])
def test_with_less_a_seam_is_no_wider_than_the_network_sees(make: Make, folder: Path, overlap: int) -> None:
    path = make(tiles=(104, 104, overlap), input_size=(208 - overlap, 208 - overlap))
    tiled, whole = (Runtime(p, threads=2) for p in (path, untiled(folder, path)))
    far = far_from_seams(tiled.manifest, REACH - overlap // 2)
    assert 0.1 < far.mean() < 0.95
    for frame in frames():
        a, b = tiled.probe(frame), whole.probe(frame)
        apart = np.abs(a.patches - b.patches).max(axis=1).reshape(far.shape)
        assert apart[far].max() <= 1e-6 * np.abs(b.patches).max()
        assert apart[~far].max() > 1e-3 * np.abs(b.patches).max()  # or this test would show nothing


@pytest.mark.parametrize("size", [(203, 230), (197, 201)])
def test_a_picture_that_is_no_multiple_of_the_stride_is_mirrored(
    make: Make, folder: Path, size: tuple[int, int]
) -> None:
    """The mirrored picture as a whole has the same patches; the map ends where the frame ends."""
    path = make(input_size=size)
    tiled = Runtime(path, threads=2)
    backbone = tiled.manifest.backbone
    assert backbone.grid == (-(-size[0] // 8) * 2, -(-size[1] // 8) * 2)
    frame = cv2.resize(bad_frame(3, SIDE), size[::-1])
    graph = open_network(tiny_options(folder)).graph(backbone.covered)
    padded = np.pad(frame, ((0, backbone.covered[0] - size[0]), (0, backbone.covered[1] - size[1]), (0, 0)), "reflect")
    from edge_ad.engines import run_once

    (expected,) = run_once(graph.model.SerializeToString(), "frame", padded[None])  # type: ignore[arg-type]
    answer = tiled.probe(frame)
    np.testing.assert_allclose(answer.patches, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))
    assert answer.anomaly_map.shape == size


# ------------------------------------------------------------------------------------------------------ answers


def brute_force(path: Path, patches: np.ndarray) -> np.ndarray:
    """Distances of all patches at once, by the exact kernel without bounds."""
    with Bundle.open(path) as bundle:
        vectors = np.array(bundle.array("coreset"))
    found: np.ndarray = native.exact_search(native.Coreset(vectors), patches, native.Pool(1))[0]
    return found


def test_the_score_is_brute_forces_to_the_bit(make: Make, engine: str) -> None:
    runtime = Runtime(make(), engine=engine, threads=2)
    for frame in frames():
        answer, verdict = runtime.probe(frame), runtime.inspect(frame)
        distances = brute_force(make(), answer.patches)
        np.testing.assert_array_equal(answer.distances, distances)
        assert verdict.score == answer.score == float(distances.max())


@pytest.mark.parametrize(
    "changes", [{"local_scale": 0.5, "smooth": 0.7}, {"reweight": 3, "smooth": 1.0}, {"method": "knn"}, {"roi": ROI}]
)
def test_score_and_map_are_those_of_the_method_on_all_patches_at_once(make: Make, changes: dict[str, Any]) -> None:
    runtime = Runtime(make(tiles=(64, 64, 16), **changes), threads=2)
    (sight,) = runtime._point.sights
    for frame in frames():
        patches = runtime.probe(frame).patches
        once = sight.head(patches, exact=True)
        verdict = runtime.inspect(frame)
        assert verdict.score == once.score
        np.testing.assert_array_equal(verdict.anomaly_map, sight.renderer((SIDE, SIDE), once, sight.roi)())


@pytest.mark.parametrize("changes", [{"local_scale": 0.5, "smooth": 0.7}, {"method": "knn"}, {"roi": ROI}])
def test_a_mask_of_the_frame_judges_the_patches_inside_it(make: Make, changes: dict[str, Any]) -> None:
    """By all patches at once, as a frame that is not cut."""
    runtime = Runtime(make(tiles=(64, 64, 16), **changes), threads=2)
    (sight,) = runtime._point.sights
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[20:110, 30:95] = True
    region = sight.within(mask)
    for frame in frames():
        once = sight.head(runtime.probe(frame).patches, exact=True, rows=region.rows)  # type: ignore[call-arg]
        verdict = runtime.inspect(frame, roi=mask)
        assert verdict.score == once.score
        np.testing.assert_array_equal(verdict.anomaly_map, sight.renderer((SIDE, SIDE), once, region)())
        assert not verdict.anomaly_map[~mask].any()
        assert runtime.inspect(frame, roi=np.ones_like(mask)).score == runtime.inspect(frame).score


def test_tiles_outside_the_region_are_not_looked_at(make: Make) -> None:
    runtime = Runtime(make(tiles=(32, 32, 8), roi="20,20,60,180", halo=8), threads=1)
    (sight,) = runtime._point.sights
    count = runtime.manifest.backbone.tiles.count(runtime.manifest.backbone.tensor_size)  # type: ignore[union-attr]
    assert sight._tiled is not None
    assert len(sight._tiled.tiles) <= count
    verdict = runtime.inspect(bad_frame(4, SIDE))
    assert verdict.anomaly_map[:19].max() == 0


def test_tiles_with_the_same_pixels_are_not_looked_at_again(make: Make) -> None:
    runtime = Runtime(make(tiles=(64, 64, 16)), threads=1)
    (sight,) = runtime._point.sights
    tiled, head = sight._tiled, sight.head
    assert tiled is not None
    first = sight.crop(good_frame(8, SIDE))
    other = first.copy()
    other[0, 60:70, 100:110] = 255
    looked: list[int] = []

    def counted(tensor: np.ndarray) -> np.ndarray:
        looked.append(1)
        return tiled.patches(tensor)

    known = tiled.find(first, head)  # type: ignore[arg-type]
    again = dataclasses.replace(tiled, patches=counted).find(other, head, known=(first, known))  # type: ignore[arg-type]
    assert 1 <= len(looked) < len(tiled.tiles)
    for part, expected in zip(again, tiled.find(other, head), strict=True):  # type: ignore[arg-type]
        np.testing.assert_array_equal(part, expected)
    assert (again[0] != known[0]).any()


def test_a_frame_of_another_size_is_resized(make: Make) -> None:
    runtime = Runtime(make(), threads=1)
    half = cv2.resize(bad_frame(9, SIDE), (100, 100), interpolation=cv2.INTER_AREA)
    verdict = runtime.inspect(half)
    assert verdict.anomaly_map.shape == (100, 100)
    assert verdict.is_anomalous
    grey = cv2.cvtColor(good_frame(9, SIDE), cv2.COLOR_BGR2GRAY)
    assert runtime.inspect(grey).anomaly_map.shape == (SIDE, SIDE)


def test_a_verdict_is_the_same_in_any_thread_and_pickled(make: Make) -> None:
    runtime, frame = Runtime(make(smooth=0.7), threads=1), bad_frame(10, SIDE)
    first = runtime.inspect(frame)
    assert first.timings.keys() == {"read", "crop", "engine", "head", "total"}
    with ThreadPoolExecutor(4) as threads:
        for other in threads.map(runtime.inspect, [frame] * 8):
            assert other.score == first.score
            np.testing.assert_array_equal(other.anomaly_map, first.anomaly_map)
    copy: Verdict = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copy.anomaly_map, first.anomaly_map)


def test_a_budget_is_kept_or_refused_as_without_tiles(make: Make) -> None:
    verdict = Runtime(make(), threads=1, budget_ms=60_000).inspect(good_frame(1, SIDE))
    assert verdict.deadline_met
    with pytest.raises(BudgetError, match="no operating point keeps the latency budget"):
        Runtime(make(), threads=1, budget_ms=0.01)


def test_a_small_whole_view_may_join_the_tiles(make: Make) -> None:
    path = make(second_size=(64, 64), max_drop=1.0)
    runtime = Runtime(path, threads=1, self_check=True)
    first, second = runtime._point.sights
    assert first._tiled is not None
    assert second._tiled is None
    frame = bad_frame(11, SIDE)
    scores = [sight.look(sight.crop(frame), sight.roi, Stopwatch(), exact=True).score for sight in (first, second)]
    assert runtime.inspect(frame).score == max(scores[0], runtime.manifest.second.factor * scores[1])  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------- bundle


def test_the_probes_look_at_every_tile(make: Make, tmp_path: Path, engine: str) -> None:
    path = make()
    worst = Runtime(path, engine=engine).check()
    assert max(worst.values()) < 1e-3
    with Bundle.open(path) as bundle:
        distances = np.array(bundle.array("probes/distances"))
        tiles = tiles_of(bundle.manifest.backbone, RoiMasks(bundle.manifest.backbone.grid))
    for tile in tiles:
        wrong = distances.copy()
        wrong[:, tile.numbers] *= 1.5
        with pytest.raises(ParityError):
            Runtime(edited(path, tmp_path / "x.bundle", {"probes/distances": wrong}), engine=engine, self_check=True)


def test_the_commands_take_a_bundle_with_tiles(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(make())]) == 0
    assert main(["info", str(make())]) == 0
    assert f"in tiles of 120 x 120, overlap {2 * REACH}" in capsys.readouterr().out


def test_search_by_graph_is_refused(make: Make) -> None:
    with pytest.raises(SpecError, match="Export again without --no-graph and --tiles"):
        Runtime(make(), search="graph")
    assert Runtime(make(), search="auto").search == "exact"


def test_a_manifest_that_cannot_work_on_tiles_is_refused(make: Make, golden: Path) -> None:
    with Bundle.open(golden) as bundle:
        graph = bundle.manifest.index.graph  # type: ignore[union-attr]
    with Bundle.open(make()) as bundle:
        manifest = bundle.manifest
    index = manifest.index
    assert isinstance(index, IndexSpec)
    assert graph is not None
    with pytest.raises(SpecError, match="tiles are searched exactly"):
        dataclasses.replace(manifest, index=dataclasses.replace(index, graph=dataclasses.replace(graph, entry=0)))
    from edge_ad.heads.padim import PadimSpec

    with pytest.raises(SpecError, match="the method does not work on tiles; expected patchcore or knn; got 'padim'"):
        dataclasses.replace(manifest, head=PadimSpec("padim", 4, 0.01), index=None)
