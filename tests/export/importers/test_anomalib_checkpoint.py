"""Checkpoints of anomalib become bundles with its own scores. Nothing in them is run.

Over 400 lines: one checkpoint of each kind and version, and every way to spoil it.
"""

from __future__ import annotations

import enum
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
torch = pytest.importorskip("torch", reason="the backbone is made by torch")
torchvision = pytest.importorskip("torchvision", reason="the backbone is torchvision's")

from torchvision.transforms import v2  # noqa: E402

from edge_ad import BackboneError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.frames.crop import Crop  # noqa: E402
from export.importers.anomalib_checkpoint import read, transform_of  # noqa: E402
from export.importers.base import Asked, View  # noqa: E402
from export.importers.command import main  # noqa: E402
from export.importers.torch_file import TorchFile  # noqa: E402
from tests.export.importers.nets import MEAN, STD, image_of, layers_of, network  # noqa: E402
from tests.tiny import bad_frame, good_frame, write_category  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("converted_once")]

SIDE, THRESHOLD = 64, 1.25
PREFIX = "model.feature_extractor.feature_extractor."
CONFIG = {
    "transform": {
        "class_path": "torchvision.transforms.v2.Compose",
        "init_args": {
            "transforms": [
                {"class_path": "torchvision.transforms.v2.Resize", "init_args": {"size": [SIDE, SIDE]}},
                {"class_path": "torchvision.transforms.v2.Normalize", "init_args": {"mean": [*MEAN], "std": [*STD]}},
            ]
        },
    }
}


class Kind(enum.Enum):
    """Stands for the enumerations of anomalib that its checkpoints name."""

    FLOAT32 = "float32"


def embedding(net: torch.nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """(h*w, D): the embedding of anomalib's PatchCore."""
    fine, deep = (torch.nn.functional.avg_pool2d(layer, 3, 1, 1) for layer in layers_of(net, image_of(pixels)))
    deep = torch.nn.functional.interpolate(deep, size=fine.shape[-2:], mode="bilinear")
    joined = torch.cat((fine, deep), 1)
    return joined.permute(0, 2, 3, 1).reshape(-1, joined.shape[1])


def score(patches: torch.Tensor, bank: torch.Tensor, neighbours: int = 9) -> float:
    """anomalib's weighted score."""
    distances, rows = torch.cdist(patches.double(), bank.double()).min(1)
    worst = int(distances.argmax())
    if neighbours == 1:
        return float(distances[worst])
    nearest = bank[rows[worst]].double()
    support = torch.cdist(nearest[None], bank.double())[0].topk(min(neighbours, len(bank)), largest=False).indices
    around = torch.cdist(patches[worst][None].double(), bank[support].double())[0]
    return float((1 - torch.softmax(around, 0)[0]) * distances[worst])


def bank_of() -> torch.Tensor:
    frames = [good_frame(seed, SIDE)[None] for seed in (0, 1)]
    return torch.cat([embedding(network(), frame) for frame in frames])[::3].clone()


def content(**changes: Any) -> dict[str, Any]:
    """What a checkpoint of anomalib 2.x holds."""
    state = {PREFIX + key: value for key, value in network().state_dict().items() if not key.startswith("layer4")}
    state |= {"model.memory_bank": bank_of(), "post_processor._image_threshold": torch.tensor(THRESHOLD)}
    state |= {"post_processor.image_min": torch.tensor(0.5), "post_processor.image_max": torch.tensor(2.5)}
    return {
        "state_dict": state,
        "pytorch-lightning_version": "2.6.6",
        "hyper_parameters": {
            "backbone": "resnet18",
            "layers": ["layer2", "layer3"],
            "num_neighbors": 9,
            "precision": Kind.FLOAT32,
        },
        "anomalib_pre_processor_config": CONFIG,
        "anomalib_post_processor_config": {"image_sensitivity": 0.5},
        **changes,
    }


CHANNELS = torch.tensor([7, 300, 12, 64, 447, 0, 150, 33])  # of 448, in the order of anomalib's `randperm`
LAYERS = ["layer1", "layer2", "layer3"]


def features(net: torch.nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """(C, R): the embedding of anomalib's PaDiM."""
    image = image_of(pixels)
    with torch.no_grad():
        fine = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image)))))
    layers = [fine, *layers_of(net, image)]
    large = [torch.nn.functional.interpolate(layer, size=fine.shape[-2:], mode="nearest") for layer in layers]
    return torch.cat(large, 1)[0, CHANNELS].flatten(1)


def blur_kernel(sigma: int = 4) -> torch.Tensor:
    """The kernel (1, 1, 33, 33) of anomalib's GaussianBlur2d."""
    line = torch.exp(-0.5 * (torch.arange(-4.0 * sigma, 4 * sigma + 1) / sigma) ** 2)
    line = line / line.sum()
    return torch.outer(line, line)[None, None]


def padim_of(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a checkpoint of PaDiM has beside its weights."""
    found = torch.stack([features(net, good_frame(seed, SIDE)[None]) for seed in range(12)]).double()
    apart = (found - found.mean(0)).permute(2, 1, 0)
    covariance = apart @ apart.transpose(1, 2) / (len(found) - 1) + 0.01 * torch.eye(len(CHANNELS))
    return {
        "model.idx": CHANNELS,
        "model.gaussian.mean": found.mean(0).float(),
        "model.gaussian.inv_covariance": torch.linalg.inv(covariance).float(),
        "model.anomaly_map_generator.blur.kernel": blur_kernel(),
    }


def padim_map(net: torch.nn.Module, parts: dict[str, torch.Tensor], pixels: np.ndarray) -> torch.Tensor:
    """anomalib's anomaly map (64, 64), written by its equations."""
    delta = (features(net, pixels) - parts["model.gaussian.mean"]).T[:, None]
    squares = (delta @ parts["model.gaussian.inv_covariance"] @ delta.transpose(1, 2)).flatten()
    side = int(len(squares) ** 0.5)
    plane = squares.clamp(0).sqrt().reshape(1, 1, side, side)
    large = torch.nn.functional.interpolate(plane, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    padded = torch.nn.functional.pad(large, (16, 16, 16, 16), mode="reflect")
    return torch.nn.functional.conv2d(padded, parts["model.anomaly_map_generator.blur.kernel"])[0, 0]


def padim_content(**changes: Any) -> dict[str, Any]:
    """What a checkpoint of PaDiM holds; `changes` are of its state."""
    found = content()
    del found["state_dict"]["model.memory_bank"]
    found["state_dict"] |= {**padim_of(network()), **changes}
    found["hyper_parameters"] = {"backbone": "resnet18", "layers": LAYERS, "n_features": len(CHANNELS)}
    return found


def saved(path: Path, found: Any) -> Path:
    torch.save(found, path)
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=5, tests=1, size=SIDE)
    saved(folder / "model.ckpt", content())
    return folder


def imported(given: Path, model: Path, out: Path, *more: object) -> Path:
    to = () if "openvino" in installed_engines() else ("--to", "onnx")
    command = [model, "--data", given / "part", "--out", out, "--threads", 1, "--no-graph", *to, *more]
    assert main([str(word) for word in command]) == 0
    return out


@pytest.fixture(scope="module")
def bundle(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(given, given / "model.ckpt", tmp_path_factory.mktemp("out") / "part.bundle")


@pytest.mark.parametrize("engine", installed_engines())
def test_padim_s_scores_are_those_of_anomalib(engine: str, given: Path, tmp_path: Path) -> None:
    out = imported(given, saved(tmp_path / "padim.ckpt", padim_content()), tmp_path / "a.bundle")
    runtime, parts = Runtime(out, engine=engine, threads=1), padim_of(network())
    for frame in (good_frame(50, SIDE), bad_frame(51, SIDE)):
        expected = padim_map(network(), parts, frame[None]).numpy()
        verdict = runtime.inspect(frame)
        assert verdict.score == pytest.approx(float(expected.max()), rel=1e-4)
        np.testing.assert_allclose(verdict.anomaly_map, expected, rtol=1e-3, atol=1e-4 * expected.max())
        assert float(verdict.anomaly_map.max()) == pytest.approx(verdict.score, rel=1e-6)
    assert runtime.threshold == pytest.approx(THRESHOLD, rel=1e-6)


def test_padim_s_frames_may_be_cropped_in_the_centre(given: Path, tmp_path: Path) -> None:
    """The crop is a region of interest whose patches all count: its score is that of the crop by itself."""
    transforms = [{"class_path": "torchvision.transforms.v2.Resize", "init_args": {"size": [80, 80]}}]
    transforms += [{"class_path": "torchvision.transforms.v2.CenterCrop", "init_args": {"size": [SIDE, SIDE]}}]
    found = padim_content()
    found["anomalib_pre_processor_config"] = {"transform": {"init_args": {"transforms": transforms}}}
    write_category(tmp_path / "part", goods=3, tests=1, size=80)
    out = imported(tmp_path, saved(tmp_path / "padim.ckpt", found), tmp_path / "a.bundle")
    frame = good_frame(50, 80)
    expected = padim_map(network(), padim_of(network()), frame[None, 8:72, 8:72]).max()
    verdict = Runtime(out, threads=1).inspect(frame)
    assert verdict.score == pytest.approx(float(expected), rel=1e-4)
    assert float(verdict.anomaly_map.max()) == pytest.approx(verdict.score, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model.idx": torch.tensor([0, 1])}, SpecError, "8 numbers of channels"),
        ({"model.idx": torch.tensor([0.5] * 8)}, SpecError, "8 numbers of channels"),
        ({"model.idx": torch.tensor([-1] * 8)}, SpecError, "8 numbers of channels"),
        ({"model.idx": torch.tensor([448] * 8)}, BackboneError, "chooses channels"),
        ({"model.idx": None}, SpecError, "has no model.idx"),
        ({"model.gaussian.mean": torch.zeros(0)}, SpecError, "not trained"),
        ({"model.gaussian.mean": torch.zeros(8, 9)}, SpecError, "do not fit one another"),
        ({"model.gaussian.inv_covariance": torch.zeros(0)}, SpecError, "not trained"),
        ({"model.gaussian.inv_covariance": torch.zeros(256, 8, 8)}, SpecError, "positive definite"),
        ({"model.gaussian.inv_covariance": torch.full((256, 8, 8), torch.inf)}, SpecError, "NaN or Inf"),
        ({"model.anomaly_map_generator.blur.kernel": torch.ones(1, 1, 33, 33)}, SpecError, "not smoothed"),
    ],
)
def test_gaussians_that_cannot_be(
    change: dict[str, Any], error: type[Exception], words: str, given: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        imported(given, saved(tmp_path / "a.ckpt", padim_content(**change)), tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()


def test_other_methods_of_anomalib_are_refused(tmp_path: Path) -> None:
    for name in ("model.fast_flow_blocks.0.w", "model.teacher.conv1.weight"):  # Fastflow, EfficientAd
        found = content(state_dict={name: torch.zeros(3)})
        with pytest.raises(SpecError, match=r"of a method that is not imported.*PaDiM"):
            read(saved(tmp_path / "a.ckpt", found), Asked())


def test_torchscript_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02c__torch__.indad.models\nPatchCore\n)\x81.")
        file.writestr("a/code/__torch__/indad/models.py", b"class PatchCore(Module):\n  pass\n")
    with pytest.raises(SpecError, match=r"TorchScript.*--method patchcore"):
        read(tmp_path / "a.pt", Asked())


def test_a_bundle_of_padim_cannot_be_taught(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_ad.cli import main as edge_ad_main

    out = imported(given, saved(tmp_path / "padim.ckpt", padim_content()), tmp_path / "a.bundle")
    words = ["teach", out, given / "part/train/good", "--out", tmp_path / "b.bundle"]
    assert edge_ad_main([str(word) for word in words]) == 2
    assert "cannot learn from more images" in capsys.readouterr().err


@pytest.mark.parametrize("engine", installed_engines())
def test_scores_are_those_of_anomalib(engine: str, bundle: Path) -> None:
    runtime, bank = Runtime(bundle, engine=engine, threads=1), bank_of()
    crop = Crop(runtime.manifest.frame, runtime.manifest.backbone, None, None)
    for frame in (good_frame(50, SIDE), bad_frame(51, SIDE)):
        expected = score(embedding(network(), crop(frame)), bank)
        assert runtime.inspect(frame).score == pytest.approx(expected, rel=1e-4)


def test_the_threshold_is_that_of_the_checkpoint(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        calibration = opened.manifest.calibration
    assert np.float32(THRESHOLD) < calibration.threshold < THRESHOLD * (1 + 1e-6)
    assert calibration.rule == "f1"
    assert not calibration.held_out
    assert "anomalib" in calibration.split
    assert len(calibration.good_scores) == 5


def test_a_rate_asks_for_a_threshold_of_the_images(given: Path, tmp_path: Path) -> None:
    out = imported(given, given / "model.ckpt", tmp_path / "a.bundle", "--false-reject", 0.1)
    with Bundle.open(out) as opened:
        assert opened.manifest.calibration.rule == "tail"


def test_a_sensitivity_moves_the_threshold(tmp_path: Path) -> None:
    changed = content(anomalib_post_processor_config={"image_sensitivity": 0.75})
    given = read(saved(tmp_path / "a.ckpt", changed), Asked()).given
    assert given is not None
    assert given.score == pytest.approx(THRESHOLD - 0.25 * 2)


def test_one_neighbour_is_no_reweighting(tmp_path: Path) -> None:
    found = content()
    found["hyper_parameters"]["num_neighbors"] = 1
    assert read(saved(tmp_path / "a.ckpt", found), Asked()).own["reweight"] == 0


def test_transforms_of_version_1_are_pickled_objects(tmp_path: Path) -> None:
    transform = v2.Compose([v2.Resize((80, 96), antialias=True), v2.CenterCrop(64), v2.Normalize([0.1, 0.2, 0.3], STD)])
    old = content(transform=transform)
    del old["anomalib_pre_processor_config"]
    state = old["state_dict"]
    state["image_threshold.value"] = state.pop("post_processor._image_threshold")
    model = read(saved(tmp_path / "a.ckpt", old), Asked())
    assert model.view == View(size=(80, 96), crop=(64, 64))
    assert model.network.mean == (0.1, 0.2, 0.3)
    assert model.given is not None


def test_without_a_transform_the_size_is_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", content(anomalib_pre_processor_config=None))
    with pytest.raises(SpecError, match="--input-size"):
        read(path, Asked())
    assert read(path, Asked(view=View(size=(64, 64)))).view == View(size=(64, 64))
    assert transform_of({"a": [{"class_path": 3}, (1, [2])]}).view is None


def test_numbers_of_other_types(tmp_path: Path) -> None:
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        found = content()
        found["state_dict"]["model.memory_bank"] = bank_of().to(kind)
        rows = read(saved(tmp_path / "a.ckpt", found), Asked()).rows
        assert rows is not None
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, bank_of().to(kind).float().numpy())


def test_views_of_storages(tmp_path: Path) -> None:
    tensor = torch.arange(24.0).reshape(4, 6)
    views = {"turned": tensor.T, "part": tensor[1:3, ::2], "one": tensor[2, 3], "none": tensor[:0], "alike": tensor}
    file = TorchFile(saved(tmp_path / "a.pt", views))
    for name, expected in views.items():
        np.testing.assert_array_equal(file.array(file.content[name]), expected.numpy(), err_msg=name)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda c: c["state_dict"].pop("model.memory_bank"), SpecError, "not imported"),
        (lambda c: c["state_dict"].update({"model.memory_bank": torch.zeros(0)}), SpecError, "not trained"),
        (lambda c: c["state_dict"].update({"model.memory_bank": torch.full((3, 384), torch.nan)}), SpecError, "NaN"),
        (lambda c: c["state_dict"].update({"model.memory_bank": [1]}), SpecError, "no tensor"),
        (lambda c: c["hyper_parameters"].pop("backbone"), SpecError, "which network"),
        (lambda c: c["hyper_parameters"].update(backbone="resnet999"), BackboneError, "no backbone named"),
        (lambda c: c["hyper_parameters"].update(backbone="resnet34"), BackboneError, "do not cover"),
        (lambda c: c["hyper_parameters"].update(layers=["layer7"]), BackboneError, "layer7"),
        (lambda c: c.pop("state_dict"), SpecError, "no checkpoint"),
    ],
)
def test_checkpoints_that_cannot_be(change: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    found = content()
    change(found)
    with pytest.raises(error, match=words):
        read(saved(tmp_path / "a.ckpt", found), Asked())


def test_a_bank_of_other_layers_does_not_fit(given: Path, tmp_path: Path) -> None:
    found = content()
    found["hyper_parameters"]["layers"] = ["layer2"]
    with pytest.raises(BackboneError, match="does not fit its network"):
        imported(given, saved(tmp_path / "a.ckpt", found), tmp_path / "a.bundle")


class Evil:
    """Pickles as a call."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.ran}",)


def test_what_a_checkpoint_names_is_never_called(tmp_path: Path) -> None:
    found = content(callbacks={"evil": Evil(tmp_path / "ran")}, transform=Evil(tmp_path / "ran"))
    assert read(saved(tmp_path / "a.ckpt", found), Asked()).rows is not None
    assert not (tmp_path / "ran").exists()


def test_a_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"model": network()})
    with pytest.raises(SpecError, match=r"only its own code can open.*model\.ckpt"):
        read(path, Asked())


def test_cut_and_compressed_files_are_refused(given: Path, tmp_path: Path) -> None:
    data = (given / "model.ckpt").read_bytes()
    path = tmp_path / "a.ckpt"
    for length in (0, 10, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(SpecError):
            read(path, Asked())
    with zipfile.ZipFile(given / "model.ckpt") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name))
    with pytest.raises(SpecError, match="stored"):
        read(path, Asked())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\x14\x00\x00\x00\x00\x00", b"\x14\x00\x01\x00\x00\x00"),  # encrypted
        lambda data: _in_directory(_in_directory(data, 20, 5000), 24, 5000),  # a member beyond the end
        lambda data: _in_directory(data, 24, 100),  # two lengths of a stored member
        lambda data: _in_directory(data, 42, 2**31),  # a member that begins beyond the end
    ],
)
def test_zips_that_lie_are_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"N.")
    data = path.read_bytes()
    assert TorchFile(path).content is None
    assert change(data) != data
    path.write_bytes(change(data))
    with pytest.raises(SpecError, match="Nothing of it was run"):
        TorchFile(path)


def _in_directory(data: bytes, at: int, value: int) -> bytes:
    """The file with another number in the first entry of the directory at its end."""
    at += data.index(b"PK\x01\x02")
    return data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


def test_tensors_that_share_a_storage_are_bounded(tmp_path: Path) -> None:
    whole = torch.zeros(1000)
    file = TorchFile(saved(tmp_path / "a.ckpt", [whole[:1000] for _ in range(100)]))
    assert len([file.array(tensor) for tensor in file.content[:2]]) == 2
    with pytest.raises(SpecError, match="at most in all"):
        [file.array(tensor) for tensor in file.content]


def test_a_transform_is_looked_for_in_time() -> None:
    nothing = [None] * 2_000_000
    assert transform_of({"a": nothing, "b": [{"c": [nothing]}]}).view is None


@pytest.mark.parametrize(
    "tensor",
    [
        b"(K\x00(K\x05t(K\x01t\x89)t",  # more than the storage has
        b"(J\xff\xff\xff\xff(K\x01t(K\x01t\x89)t",  # before its begin
        b"(K\x00(J\xff\xff\xff\x7ft(K\x00t\x89)t",  # one number, very often
        b"(K\x00(K\x02t(J\xff\xff\xff\xfft\x89)t",  # backwards
        b"(K\x00(" + b"K\x01" * 65 + b"t(" + b"K\x01" * 65 + b"t\x89)t",  # of more sides than any has
    ],
)
def test_tensors_beyond_their_storage_are_refused(tensor: bytes, tmp_path: Path) -> None:
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x03tQ"
    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + tensor[1:] + b"R."
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", np.arange(3, dtype="<f4").tobytes())
    with pytest.raises(SpecError, match=r"beyond its storage|of something else"):
        TorchFile(tmp_path / "a.pt")


def test_the_pixels_of_a_frame_are_resized_as_anomalib_does(tmp_path: Path) -> None:
    """Within a grey level, as edge-ad's tensor is of bytes."""
    frame = cv2.resize(good_frame(3, SIDE), (150, 130))
    from edge_ad.frames.crop import resize

    ours = resize(frame, (SIDE, SIDE), None, "bilinear").astype(np.float64)
    theirs = v2.Resize((SIDE, SIDE), antialias=True)(torch.from_numpy(frame).permute(2, 0, 1).float())
    assert np.abs(ours - theirs.permute(1, 2, 0).numpy()).max() <= 1
