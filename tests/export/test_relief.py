"""The backbone `relief`: what its filters answer to, its graph by both engines, and its way through the export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BundleCorruptError, Runtime
from edge_ad.engines import Models, installed_engines, open_engine
from edge_ad.errors import BackboneError, EdgeADError, SpecError
from edge_ad.heads.autoencoder import FACTORS, MEANS, AutoencoderSpec
from export.options import RELIEF, Options
from export.pipeline import export_bundle
from export.relief import DIRECTIONS, STRIDE, kernels, relief_graph, relief_network, relief_patches
from export.synth.relight import added
from tests.edited import edited, read
from tests.stacks import stack, stack_options, write_stacks
from tests.tiny import write_material

SIZE = (45, 60)  # neither is a multiple of the stride and both


def plate(height: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 normals z, y, x of a tilted plate of that height."""
    tilted = np.broadcast_to(np.array([0.2, -0.1, 0.974], np.float32), (*height.shape, 3))
    return np.ascontiguousarray(added(tilted, height.astype(np.float32))[..., ::-1])


def furrow(turn: float) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    x, y = x - 30, y - 22
    across, along = y * np.cos(turn) - x * np.sin(turn), x * np.cos(turn) + y * np.sin(turn)
    return -0.3 * np.exp(-((across / 1.0) ** 2 + (along / 6) ** 2) / 2)


def answers(normals: np.ndarray) -> np.ndarray:
    return relief_patches(normals).reshape(-(-SIZE[0] // STRIDE), -(-SIZE[1] // STRIDE), len(kernels()))


def test_a_plane_has_no_relief_wherever_it_faces() -> None:
    np.testing.assert_allclose(answers(plate(np.zeros(SIZE))), 0, atol=1e-3)


def test_kernels_have_length_1_and_no_sum() -> None:
    own = kernels().astype(np.float64)
    np.testing.assert_allclose(np.sqrt((own**2).sum(axis=(1, 2, 3))), np.degrees(1), rtol=1e-5)
    np.testing.assert_allclose(own.sum(axis=(2, 3)), 0, atol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        kernels()[0, 0, 0, 0] = 1


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_a_furrow_is_answered_by_the_line_of_its_direction(direction: int) -> None:
    found = np.abs(answers(plate(furrow(direction * np.pi / DIRECTIONS))))
    y, x, number = np.unravel_index(int(found.argmax()), found.shape)
    assert number == direction
    assert (abs(y * STRIDE - 22), abs(x * STRIDE - 30)) <= (3, 3)


def test_a_dent_is_answered_by_a_hollow_and_a_bump_with_the_other_sign() -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    bump = 0.5 * np.exp(-((x - 30) ** 2 + (y - 22) ** 2) / 2 / 2.2**2)
    for height, sign in ((bump, 1), (-bump, -1)):
        found = answers(plate(height))
        at = np.unravel_index(int(np.abs(found).argmax()), found.shape)
        assert at[2] >= DIRECTIONS
        assert np.sign(found[at]) == sign


def frame() -> np.ndarray:
    rough = np.random.default_rng(3).normal(0, 0.4, SIZE)
    normals = plate(rough)
    normals[:5, :7] = 0  # nothing was measured there
    return np.float32(127.5) * (normals[None] + 1)


def test_both_engines_give_what_opencv_gives(engine: str) -> None:
    graph = relief_graph(SIZE)
    data = graph.model.SerializeToString()
    if engine == "onnxruntime":
        given = Models(onnx=data)
    else:
        from export.openvino_ir import to_ir

        given = Models(ir=to_ir(data))
    found = open_engine(engine, given, device="CPU", threads=1, precision="f32")(frame())
    assert found.shape == (graph.grid[0] * graph.grid[1], graph.dim)
    wanted = relief_network(Options("x", backbone=RELIEF)).reference_patches(frame(), graph)
    assert wanted is not None
    np.testing.assert_allclose(found, wanted, atol=5e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": Path("w.pth")}, "no --weights"),
        ({"layers": ("a",)}, "no --layers"),
        ({"distance": "cosine"}, "--distance euclidean"),
    ],
)
def test_options_of_other_backbones_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BackboneError, match=says):
        relief_network(Options("x", backbone=RELIEF, **changes))


def test_pictures_are_refused(tmp_path: Path) -> None:
    folder = write_material(tmp_path)
    with pytest.raises(EdgeADError, match="expected normal maps"):
        export_bundle(Options(str(folder / "part"), backbone=RELIEF, out=tmp_path / "x.bundle"))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    write_stacks(folder / "part", goods=16)
    return folder


@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_from_stacks_to_verdicts(stacks: Path, tmp_path: Path, method: str) -> None:
    out, given = tmp_path / "part.bundle", {"backbone": RELIEF, "layers": None, "input_size": None}
    export_bundle(stack_options(stacks, out=out, method=method, **given))
    good, bad = stack(4000), stack(4001, dent=True)
    for engine in installed_engines():
        runtime = Runtime(out, self_check=True, engine=engine)
        own = runtime.manifest.backbone
        assert (own.name, own.input_size, own.grid, own.dim) == (RELIEF, (64, 64), (32, 32), 9)
        assert runtime.inspect(bad).score > runtime.inspect(good).score


@pytest.mark.torch
def test_an_autoencoder_of_normal_maps_is_judged_by_the_filters(stacks: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="its network is trained by torch")
    out = tmp_path / "own.bundle"
    given = {"backbone": None, "layers": None, "input_size": None, "steps": 40, "width": 4, "threads": 1}
    export_bundle(stack_options(stacks, out=out, method="autoencoder", **given))
    good, bad = stack(4000), stack(4001, dent=True)
    for engine in installed_engines():
        runtime = Runtime(out, self_check=True, engine=engine, threads=1)
        assert runtime.inspect(bad).score > runtime.inspect(good).score
    manifest, members = read(out)
    assert isinstance(manifest.head, AutoencoderSpec)
    assert manifest.head.answers == manifest.backbone.dim == 9
    places = manifest.backbone.grid[0] * manifest.backbone.grid[1]
    assert members[MEANS].shape == (places, 9)
    assert members[FACTORS].shape == (places, 45)
    hostile = [{MEANS: members[MEANS][:-1]}, {FACTORS: members[FACTORS][:, :-1]}, {MEANS: None}]
    for number, change in enumerate(hostile):
        with pytest.raises(BundleCorruptError, match=r"has another shape|has no member"):
            Runtime(edited(out, tmp_path / f"{number}.bundle", change))
    other = dataclasses.replace(manifest.head, answers=None)
    with pytest.raises(BundleCorruptError, match="gives other numbers; expected 2 errors; got 9"):
        Runtime(edited(out, tmp_path / "other.bundle", head=other))
    with pytest.raises(SpecError, match="out of range"):
        edited(out, tmp_path / "none.bundle", head=dataclasses.replace(manifest.head, answers=0))
