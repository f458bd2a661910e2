"""Models of patchcore-inspection become bundles with its own scores."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
torch = pytest.importorskip("torch", reason="the backbone is made by torch")
torchvision = pytest.importorskip("torchvision", reason="the backbone is torchvision's")

from edge_ad import BackboneError, DatasetError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.cli.info import describe  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.frames.crop import Crop  # noqa: E402
from export.importers.base import Asked, View  # noqa: E402
from export.importers.command import main  # noqa: E402
from export.importers.patchcore_inspection import read  # noqa: E402
from export.importers.pooled import Pooling, means  # noqa: E402
from tests.export.importers.made import PARAMS, patchcore_inspection  # noqa: E402
from tests.export.importers.nets import image_of, layers_of, network  # noqa: E402
from tests.tiny import bad_frame, good_frame, write_category  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("converted_once")]

SIDE = 96  # of the frames


def original(features: list[torch.Tensor], params: dict[str, Any]) -> np.ndarray:
    """(h*w, D): the arithmetic of patchcore-inspection, by the operators of torch that it uses: windows by unfold, the
    windows of deeper layers moved to the grid of the first, two adaptive averages over the line of numbers."""
    side, step = params["patchsize"], params["patchstride"]
    windows, grids = [], []
    for layer in features:
        cut = torch.nn.functional.unfold(layer, side, padding=(side - 1) // 2, stride=step)
        grids.append([(length + 2 * ((side - 1) // 2) - side) // step + 1 for length in layer.shape[-2:]])
        windows.append(cut.reshape(cut.shape[1], 1, *grids[-1]))  # (C k k, 1, h, w)
    lines = []
    for window, grid in zip(windows, grids, strict=True):
        if grid != grids[0]:
            window = torch.nn.functional.interpolate(window, size=grids[0], mode="bilinear", align_corners=False)
        line = window.reshape(window.shape[0], -1).T[:, None]
        lines.append(torch.nn.functional.adaptive_avg_pool1d(line, params["pretrain_embed_dimension"])[:, 0])
    joined = torch.cat(lines, dim=1)[:, None]
    return torch.nn.functional.adaptive_avg_pool1d(joined, params["target_embed_dimension"])[:, 0].numpy()


def patches_of(pixels: np.ndarray, params: dict[str, Any] = PARAMS) -> np.ndarray:
    return original(layers_of(network(), image_of(pixels)), params)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good images, weights, and a model of rows from the first of them."""
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=6, tests=1, size=SIDE)
    torch.save(network().state_dict(), folder / "resnet18.pth")
    torch.save(network(4).state_dict(), folder / "others.pth")
    crops = [cv2.resize(good_frame(seed, SIDE), (73, 73), interpolation=cv2.INTER_AREA) for seed in (0, 1)]
    rows = np.concatenate([patches_of(crop[None, 4:68, 4:68]) for crop in crops])
    patchcore_inspection(folder / "model", rows[::2])
    return folder


def imported(given: Path, out: Path, *more: object, model: str = "model", weights: str = "resnet18.pth") -> Path:
    command = [given / model, "--data", given / "part", "--weights", given / weights, "--out", out, "--threads", 1]
    to = () if "openvino" in installed_engines() else ("--to", "onnx")
    assert main([str(word) for word in (*command, *to, *more)]) == 0
    return out


@pytest.fixture(scope="module")
def bundle(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(given, tmp_path_factory.mktemp("out") / "part.bundle")


@pytest.mark.parametrize("engine", installed_engines())
def test_scores_are_the_roots_of_the_original_ones(engine: str, given: Path, bundle: Path) -> None:
    rows = read(given / "model", Asked(given / "resnet18.pth")).rows
    runtime = Runtime(bundle, engine=engine, threads=1)
    manifest = runtime.manifest
    crop = Crop(manifest.frame, manifest.backbone, None, None)
    for frame in (good_frame(50, SIDE), bad_frame(51, SIDE)):
        pixels = crop(frame)
        assert pixels.shape == (1, 64, 64, 3)
        patches = patches_of(pixels).astype(np.float64)
        squares = ((patches[:, None] - rows[None]) ** 2).sum(axis=2).min(axis=1)
        verdict = runtime.inspect(frame)
        assert verdict.score**2 == pytest.approx(squares.max(), rel=2e-5)


def test_the_manifest_says_what_it_is(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    assert manifest.backbone.input_size == (73, 73)
    assert manifest.backbone.crop == (4, 4, 68, 68)
    assert manifest.roi is not None
    assert "centre crop" in manifest.roi.source
    assert manifest.roi.halo_px == 0
    assert manifest.producer["imported from"] == "patchcore-inspection"
    assert not manifest.calibration.held_out
    lines = describe(manifest)
    assert "promise" not in lines
    assert "6 good images, taken as they are" in lines["threshold"]


def test_the_summary_warns_of_images_that_the_model_knows(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(given, tmp_path / "a.bundle", "--resize", 80, "--no-graph")
    text = capsys.readouterr().out
    assert "give good images that it has not seen" in text
    assert "shorter side 80" in text
    with Bundle.open(tmp_path / "a.bundle") as opened:
        assert opened.manifest.backbone.crop == (8, 8, 72, 72)
        assert opened.manifest.index is not None
        assert opened.manifest.index.graph is None


def test_other_weights_are_noticed(given: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="far from the memory"):
        imported(given, tmp_path / "a.bundle", weights="others.pth")
    assert not (tmp_path / "a.bundle").exists()


def test_the_bundle_replaces_no_file_of_the_model(given: Path) -> None:
    with pytest.raises(SpecError, match="--out"):
        imported(given, given / "model" / "patchcore_params.pkl")


# --------------------------------------------------------------------------------------------------- the patches


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pretrain_embed_dimension": 1024, "target_embed_dimension": 1024},
        {"pretrain_embed_dimension": 128, "target_embed_dimension": 77},  # numbers of both layers in one
        {"pretrain_embed_dimension": 2000, "target_embed_dimension": 40},
        {"patchsize": 1},
        {"patchsize": 5, "patchstride": 2},
        {"patchsize": 4},
    ],
)
def test_pooling_in_numpy_is_the_original_one(changes: dict[str, Any]) -> None:
    params = {**PARAMS, **changes}
    generator = torch.Generator().manual_seed(0)
    features = [torch.rand(1, 24, 12, 10, generator=generator), torch.rand(1, 40, 6, 5, generator=generator)]
    names = ("patchsize", "patchstride", "pretrain_embed_dimension", "target_embed_dimension")
    found = Pooling(*(params[name] for name in names)).patches([layer[0].numpy() for layer in features])
    np.testing.assert_allclose(found, original(features, params), atol=1e-5)


@pytest.mark.parametrize(("length", "out"), [(10, 10), (10, 4), (4, 10), (1152, 1024), (7, 1), (1, 3)])
def test_means_are_adaptive_averages(length: int, out: int) -> None:
    line = torch.rand(1, 1, length, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.adaptive_avg_pool1d(line, out)[0, 0].numpy()
    np.testing.assert_allclose(means(length, out) @ line[0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("changes", [{"target_embed_dimension": 77}, {"patchsize": 5, "patchstride": 2}])
def test_graphs_of_other_windows(changes: dict[str, Any], given: Path, tmp_path: Path) -> None:
    from edge_ad.engines import Models, open_engine

    params = {**PARAMS, **changes}
    rows = np.zeros((3, params["target_embed_dimension"]), np.float32)
    model = read(patchcore_inspection(tmp_path / "m", rows, **changes), Asked(given / "resnet18.pth"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    graph = model.network.graph((64, 64))
    expected = original(layers_of(network(), image_of(pixels)), params)
    for engine in installed_engines():
        opened = open_engine(
            engine, Models(onnx=graph.model.SerializeToString()), device="CPU", threads=1, precision="f32"
        )
        np.testing.assert_allclose(opened(pixels), expected, atol=1e-4 * np.abs(expected).max(), err_msg=engine)
    assert graph.grid[0] * graph.grid[1] == len(expected)


# ----------------------------------------------------------------------------------------------------- the view


@pytest.mark.parametrize(
    ("frame", "size", "box"),
    [
        ((900, 900), (256, 256), (16, 16, 240, 240)),
        ((480, 640), (256, 341), (16, 58, 240, 282)),  # 58.5 is rounded to the even number
        ((641, 480), (341, 256), (58, 16, 282, 240)),
    ],
)
def test_the_view_is_that_of_torchvision(frame: tuple[int, int], size: tuple[int, int], box: tuple[int, ...]) -> None:
    assert View(shorter=256, crop=(224, 224)).at(frame) == (size, box)
    image = torch.arange(size[0] * size[1]).reshape(1, *size)
    cropped = torchvision.transforms.CenterCrop(224)(image)[0]
    np.testing.assert_array_equal(cropped, image[0, box[0] : box[2], box[1] : box[3]])
    resized = torchvision.transforms.Resize(256)(torch.zeros(1, *frame))
    assert tuple(resized.shape[1:]) == size


def test_frames_of_several_sizes_have_no_centre() -> None:
    with pytest.raises(DatasetError, match="one size"):
        View(shorter=256, crop=(224, 224)).at(None)
    with pytest.raises(SpecError, match="larger than the frame"):
        View(shorter=100, crop=(224, 224)).at((200, 200))
    assert View(size=(96, 128)).at(None) == ((96, 128), None)


# --------------------------------------------------------------------------------------------------- the files

ROWS = np.random.default_rng(1).random((9, 80)).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"backbone.name": "densenet201"}, BackboneError, "not one of torchvision"),
        ({"backbone.name": 7}, SpecError, "backbone.name"),
        ({"layers_to_extract_from": ()}, SpecError, "layers_to_extract_from"),
        ({"layers_to_extract_from": "layer2"}, SpecError, "layers_to_extract_from"),
        ({"layers_to_extract_from": ("layer9",)}, BackboneError, "layer9"),
        ({"input_shape": (1, 64, 64)}, SpecError, "input_shape"),
        ({"input_shape": (3, 64)}, SpecError, "input_shape"),
        ({"input_shape": (3, 64, 10**9)}, SpecError, "input_shape"),
        ({"patchsize": 0}, SpecError, "patchsize"),
        ({"patchsize": 10**9}, SpecError, "patchsize"),
        ({"patchstride": True}, SpecError, "patchstride"),
        ({"pretrain_embed_dimension": 2**20}, SpecError, "pretrain_embed_dimension"),
        ({"target_embed_dimension": 64}, SpecError, "vectors of 64 numbers"),
        ({"anomaly_scorer_num_nn": 0}, SpecError, "anomaly_scorer_num_nn"),
    ],
)
def test_params_that_cannot_be(
    changes: dict[str, Any], error: type[Exception], words: str, given: Path, tmp_path: Path
) -> None:
    folder = patchcore_inspection(tmp_path / "m", ROWS, **changes)
    with pytest.raises(error, match=words):
        read(folder, Asked(given / "resnet18.pth"))


def test_a_params_file_with_a_call_is_refused(given: Path, tmp_path: Path) -> None:
    import os

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    folder = patchcore_inspection(tmp_path / "m", ROWS)
    params = folder / "patchcore_params.pkl"
    params.write_bytes(pickle.dumps({**PARAMS, "more": Evil()}))
    with pytest.raises(SpecError, match=r"system.*Nothing of it was run"):
        read(folder, Asked(given / "resnet18.pth"))
    params.write_bytes(pickle.dumps([PARAMS]))
    with pytest.raises(SpecError, match="a dict"):
        read(folder, Asked(given / "resnet18.pth"))
    assert not (tmp_path / "ran").exists()


def test_members_of_an_ensemble_are_models_by_themselves(given: Path, tmp_path: Path) -> None:
    for member in ("Ensemble-1-2_", "Ensemble-2-2_"):
        patchcore_inspection(tmp_path / "m", ROWS, member)
    asked = Asked(given / "resnet18.pth")
    with pytest.raises(SpecError, match="ensemble of 2 models"):
        read(tmp_path / "m", asked)
    found = read(tmp_path / "m" / "Ensemble-2-2_patchcore_params.pkl", asked)
    np.testing.assert_array_equal(found.rows, ROWS)
    np.testing.assert_array_equal(read(tmp_path / "m" / "Ensemble-1-2_nnscorer_search_index.faiss", asked).rows, ROWS)


def test_neighbours_of_the_training_are_told(given: Path, tmp_path: Path) -> None:
    """patchcore-inspection writes them as one key and reads them back as another: it scores with 1 then."""
    folder = patchcore_inspection(tmp_path / "m", ROWS, anomaly_scorer_num_nn=5)
    notes = read(folder, Asked(given / "resnet18.pth")).notes
    assert any("trained with 5 neighbours" in text for _, text in notes)


@pytest.mark.parametrize("name", ["patchcore_params.pkl", "nnscorer_search_index.faiss"])
def test_a_missing_half_is_named(name: str, given: Path, tmp_path: Path) -> None:
    folder = patchcore_inspection(tmp_path / "m", ROWS)
    (folder / name).unlink()
    with pytest.raises(SpecError, match=f"{name} is missing"):
        read(folder, Asked(given / "resnet18.pth"))


def test_an_index_by_itself(given: Path, tmp_path: Path) -> None:
    folder = patchcore_inspection(tmp_path / "m", ROWS)
    (folder / "nnscorer_search_index.faiss").rename(folder / "mine.faiss")
    with pytest.raises(SpecError, match="by itself"):
        read(folder / "mine.faiss", Asked(given / "resnet18.pth"))


@pytest.mark.parametrize("content", [None, b"", b"hello", b"PK\x03\x04"])
def test_files_of_no_known_tool(content: bytes | None, given: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=r"there is no|of no known tool"):
        main([str(path), "--data", str(given / "part")])


def test_weights_that_are_missing_are_named(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("EDGE_AD_WEIGHTS_URL", (tmp_path / "nothing").as_uri())
    with pytest.raises(BackboneError, match="--weights FILE"):
        read(given / "model", Asked())
