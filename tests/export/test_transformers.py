"""Tokens of vision transformers, and networks with their channels last, from torch to the verdict by both engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
torch = pytest.importorskip("torch", reason="the networks are made by torch")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")
torchvision = pytest.importorskip("torchvision", reason="the networks of torchvision are tried too")

import export.backbone  # noqa: E402
from edge_ad import BackboneError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.cli.__main__ import main  # noqa: E402
from edge_ad.engines import Models, installed_engines, open_engine  # noqa: E402
from export.graph import build_graph  # noqa: E402
from export.layout import Asked  # noqa: E402
from export.network import open_network, patches_of  # noqa: E402
from export.options import Options  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.tiny import SIZE, tiny_options  # noqa: E402
from tests.vit import PATCH, WIDTH, LastVit, TinyVit, last_onnx, to_onnx, vit_onnx  # noqa: E402

pytestmark = pytest.mark.torch

MEAN, STD = (0.485, 0.4, 0.3), (0.229, 0.31, 0.4)
WIDE = (48, 80)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


def image_of(tensor: np.ndarray) -> torch.Tensor:
    image = (tensor[..., ::-1].astype(np.float64) / 255 - MEAN) / STD
    return torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32))


def assert_patches(graph: object, tensor: np.ndarray, expected: np.ndarray) -> None:
    given = Models(onnx=graph.model.SerializeToString())  # type: ignore[attr-defined]
    for engine in installed_engines():
        found = open_engine(engine, given, device="CPU", threads=1, precision="f32")(tensor)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), err_msg=engine)


# ------------------------------------------------------------------------------------------------ the graph


@pytest.mark.parametrize("registers", [-1, 0, 4])
@pytest.mark.parametrize("layers", [("first",), ("first", "second")])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_tokens_are_maps_of_the_grid(registers: int, layers: tuple[str, ...], distance: str) -> None:
    """Against torch and NumPy: a place of the grid has the token of its patch, whatever stands before them."""
    network = TinyVit(WIDE, registers).eval()
    graph = build_graph(vit_onnx(WIDE, registers), layers, WIDE, MEAN, STD, distance=distance)
    assert graph.grid == (WIDE[0] // PATCH, WIDE[1] // PATCH)
    assert graph.dim == WIDTH * len(layers)
    assert {form.prefix for form in graph.forms} == {1 + registers}
    tensor = np.random.default_rng(0).integers(0, 256, (1, *WIDE, 3), np.uint8)
    with torch.no_grad():
        tokens = [found.numpy()[:, 1 + registers :] for found in network(image_of(tensor))[: len(layers)]]
    maps = [np.moveaxis(found.reshape(1, *graph.grid, WIDTH), 3, 1) for found in tokens]
    assert_patches(graph, tensor, patches_of(maps, graph.grid, distance))


def test_channels_last_by_its_operators() -> None:
    """The first map is 16 x 16 and has 16 channels: its strides cannot tell."""
    network, size = LastVit().eval(), (64, 64)
    graph = build_graph(last_onnx(size), ("fine", "deep"), size, MEAN, STD)
    assert [(form.axis, form.grid) for form in graph.forms] == [(3, (16, 16)), (3, (8, 8))]
    tensor = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    with torch.no_grad():
        maps = [np.moveaxis(found.numpy(), 3, 1) for found in network(image_of(tensor))]
    assert_patches(graph, tensor, patches_of(maps, graph.grid))


# ------------------------------------------------------------------------------------------- from images to verdicts


@pytest.mark.parametrize(
    ("make", "layers", "distance", "says"),
    [
        (vit_onnx, ("first", "second"), "cosine", "tokens of a grid of 8 x 8 after 5 others"),
        (last_onnx, ("fine", "deep"), "euclidean", "16 x 16, channels last"),
    ],
    ids=["tokens", "channels last"],
)
def test_whole(
    parts: Path,
    tmp_path: Path,
    make: Callable[..., onnx.ModelProto],
    layers: tuple[str, ...],
    distance: str,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Export, verdicts by both engines, check, eval, and int8 where its packages are."""
    backbone = saved(make((SIZE, SIZE)), tmp_path / "own.onnx")
    both = len(installed_engines()) > 1
    changes = {"points": ("f32", "int8"), "max_drop": 1.0} if "onnxruntime" in installed_engines() else {}
    options = tiny_options(
        parts,
        backbone=str(backbone),
        layers=layers,
        distance=distance,
        to="both" if both else "onnx",
        out=tmp_path / "a.bundle",
        **(changes if not both or has("nncf") else {}),
    )
    summary = export_bundle(options)
    assert says in str(summary)
    with Bundle.open(summary.bundle) as bundle:
        assert bundle.manifest.backbone.distance == distance
        names = bundle.manifest.point_names
    frames = [cv2.imread(str(path)) for path in sorted((parts / "part" / "test").rglob("*.png"))]
    scores = {
        name: [Runtime(summary.bundle, engine=name).inspect(frame).score for frame in frames]
        for name in installed_engines()
    }
    for found in scores.values():
        np.testing.assert_allclose(found, next(iter(scores.values())), rtol=1e-3)
    good, bad = np.split(np.array(next(iter(scores.values()))), [len(frames) // 2])
    assert np.median(bad) > np.median(good)
    for name in names:
        Runtime(summary.bundle, point=name, self_check=True)
    assert main(["check", str(summary.bundle)]) == 0
    assert main(["eval", str(summary.bundle), "--data", str(parts / "part"), "--out", str(tmp_path / "report")]) == 0
    capsys.readouterr()
    assert main(["info", str(summary.bundle)]) == 0
    assert ("of length 1: cosine distance" in capsys.readouterr().out) == (distance == "cosine")
    if "points" in changes:
        assert any(name.startswith("int8") for name in names)


def has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_an_input_size_that_the_file_fixes_is_taken_without_asking(parts: Path, tmp_path: Path) -> None:
    backbone = saved(vit_onnx(WIDE), tmp_path / "vit.onnx")
    free = {"input_size": None, "out": tmp_path / "a.bundle", "to": "onnx"}
    summary = export_bundle(tiny_options(parts, backbone=str(backbone), layers=("first",), **free))
    with Bundle.open(summary.bundle) as bundle:
        assert bundle.manifest.backbone.input_size == WIDE
        assert bundle.manifest.second is None
    with pytest.raises(BackboneError, match="--input-size 48,80"):
        export_bundle(tiny_options(parts, backbone=str(backbone), layers=("first",), out=tmp_path / "b.bundle"))


# --------------------------------------------------------------------------------------------------- torchvision


@pytest.fixture
def tiny_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """torchvision's vit_b_16, as small as a test; the file of its weights."""
    torch.manual_seed(5)
    network = torchvision.models.VisionTransformer(64, 16, num_layers=4, num_heads=2, hidden_dim=24, mlp_dim=48)
    torch.nn.init.normal_(network.encoder.pos_embedding)
    torch.save(network.state_dict(), tmp_path / "vit_b_16-0123abcd.pth")

    def make(name: str, weights: None) -> torch.nn.Module:
        return torchvision.models.VisionTransformer(32, 16, num_layers=4, num_heads=2, hidden_dim=24, mlp_dim=48)

    monkeypatch.setattr(export.backbone, "torchvision", SimpleNamespace(models=Torchvision(make)))
    monkeypatch.setattr(export.backbone, "VisionTransformer", torchvision.models.VisionTransformer)
    return tmp_path / "vit_b_16-0123abcd.pth"


class Torchvision:
    """torchvision.models with another `get_model`."""

    def __init__(self, make: Callable[..., torch.nn.Module]) -> None:
        self.get_model = make

    def __getattr__(self, name: str) -> object:
        return getattr(torchvision.models, name)


def test_a_transformer_of_torchvision_at_its_own_size(tiny_torchvision: Path) -> None:
    """The positions come from the file, which was trained with another grid than the class has by default."""
    network = open_network(Options("x", backbone="vit_b_16", weights=tiny_torchvision, mean=MEAN, std=STD))
    assert network.layers == ("encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_2")
    plain = torchvision.models.VisionTransformer(64, 16, num_layers=4, num_heads=2, hidden_dim=24, mlp_dim=48).eval()
    plain.load_state_dict(torch.load(tiny_torchvision, weights_only=True))
    caught: list[np.ndarray] = []
    for number in (1, 2):
        plain.encoder.layers[number].register_forward_hook(lambda _, __, out: caught.append(out.numpy()))
    tensor = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with torch.no_grad():
        plain(image_of(tensor))
    graph = network.graph((64, 64))
    maps = [np.moveaxis(found[:, 1:].reshape(1, 4, 4, 24), 3, 1) for found in caught]
    assert_patches(graph, tensor, patches_of(maps, (4, 4)))


def test_positions_are_interpolated_for_another_size(tiny_torchvision: Path) -> None:
    network = open_network(Options("x", backbone="vit_b_16", weights=tiny_torchvision))
    backbone = export.backbone.torchvision_backbone("vit_b_16", None, tiny_torchvision)
    own = backbone.extractor.get_parameter("encoder.pos_embedding").detach()
    moved = backbone.at((32, 128)).get_parameter("encoder.pos_embedding").detach()
    assert moved.shape == (1, 1 + 2 * 8, 24)
    assert torch.equal(moved[:, 0], own[:, 0])  # the class token has no place
    places = own[0, 1:].reshape(4, 4, 24)
    expected = cv2.resize(places.numpy(), (8, 2), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(moved[0, 1:].reshape(2, 8, 24).numpy(), expected, atol=1e-4)
    graph = network.graph((32, 128))
    assert graph.grid == (2, 8)
    tensor = np.random.default_rng(0).integers(0, 256, (1, 32, 128, 3), np.uint8)
    patches = network.reference_patches(tensor, graph)
    assert patches is not None
    assert_patches(graph, tensor, patches)


def test_a_transformer_of_torchvision_whole(tiny_torchvision: Path, parts: Path, tmp_path: Path) -> None:
    changes = {"backbone": "vit_b_16", "layers": None, "weights": tiny_torchvision.parent, "out": tmp_path / "a.bundle"}
    summary = export_bundle(tiny_options(parts, **changes, to="onnx"))
    assert "tokens of a grid of 4 x 4 after 1 others" in str(summary)
    Runtime(summary.bundle, self_check=True)


# ------------------------------------------------------------------------------------------------ what is refused


def test_what_is_no_grid() -> None:
    model = vit_onnx(WIDE)
    for asked, says in (
        (Asked(prefix=1), r"fit no grid.*65 tokens.*Give another --prefix-tokens"),
        (Asked(prefix=60), "fit no grid"),
    ):
        with pytest.raises(BackboneError, match=says):
            build_graph(model, ("first",), WIDE, MEAN, STD, asked)
    assert build_graph(model, ("first",), WIDE, MEAN, STD, Asked(prefix=5)).forms[0].prefix == 5
    with pytest.raises(BackboneError, match=r"\(1, 24\), which is one vector of the whole image"):
        build_graph(model, ("pooled",), WIDE, MEAN, STD)


def test_patches_that_leave_a_strip_out() -> None:
    """A strip of pixels at the edge would never be inspected."""
    size = (50, 84)
    model = vit_onnx(size, 0)
    with pytest.raises(BackboneError, match=r"do not cover the image.*multiples of 8.*--input-size such as 48,80"):
        build_graph(model, ("first",), size, MEAN, STD)


def test_sizes_that_are_tried_are_multiples_of_the_patches(tmp_path: Path) -> None:
    from export.choose.sizes import candidate_sizes

    network = open_network(Options("x", backbone=str(fourteen(tmp_path / "14.onnx")), layers=("map",)))
    assert network.stride == 14
    for height, width in candidate_sizes([(512, 700)], stride=network.stride):
        assert height % 14 == width % 14 == 0


def fourteen(path: Path) -> Path:
    return saved(to_onnx(torch.nn.Conv2d(3, 8, 14, 14), (28, 28), "map"), path)


def test_cosine_is_refused_where_it_means_nothing() -> None:
    for method in ("padim", "spade", "centroid"):
        with pytest.raises(SpecError, match="--distance cosine is for --method patchcore or knn"):
            Options("part", method=method, distance="cosine")
