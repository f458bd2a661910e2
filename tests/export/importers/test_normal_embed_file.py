"""A normal_embed.json of a torchvision ResNet becomes a centroid bundle with its own scores and threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
torch = pytest.importorskip("torch", reason="the backbone is made by torch")
torchvision = pytest.importorskip("torchvision", reason="the backbone is torchvision's")

from edge_ad import BackboneError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from export.importers.base import Asked  # noqa: E402
from export.importers.command import main  # noqa: E402
from export.importers.normal_embed_file import read  # noqa: E402
from export.normal_embed import NormalEmbed, write_normal_embed  # noqa: E402
from tests.export.importers.nets import MEAN, STD, image_of, network  # noqa: E402
from tests.tiny import bad_frame, good_frame, write_category  # noqa: E402

pytestmark = pytest.mark.torch

SIDE, THRESHOLD = 64, 0.04


def embedding(frame: np.ndarray) -> np.ndarray:
    """What ResNet18 gives without its last layer."""
    net = network()
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        found = net(image_of(frame[None]))[0].double().numpy()
    return found / np.linalg.norm(found)


def centroid() -> np.ndarray:
    mean = np.mean([embedding(good_frame(seed, SIDE)) for seed in range(3)], axis=0)
    return mean / np.linalg.norm(mean)


def written(path: Path, **changes: Any) -> Path:
    values = {"backbone": "resnet18", "input_size": (SIDE, SIDE), "mean": MEAN, "std": STD, "threshold": THRESHOLD}
    values["centroid"] = tuple(centroid().tolist())
    write_normal_embed(path, NormalEmbed(**{**values, **changes}))
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=4, tests=1, size=SIDE)
    torch.save(network().state_dict(), folder / "resnet18.pth")
    to = () if "openvino" in installed_engines() else ("--to", "onnx")
    command = [written(folder / "normal_embed.json"), "--data", folder / "part", "--out", folder / "part.bundle"]
    command += ["--weights", folder / "resnet18.pth", "--threads", 1, *to]
    assert main([str(word) for word in command]) == 0
    return folder / "part.bundle"


@pytest.mark.parametrize("engine", installed_engines())
def test_scores_are_cosine_distances(engine: str, bundle: Path) -> None:
    runtime = Runtime(bundle, engine=engine, threads=1)
    for frame in (good_frame(50, SIDE), bad_frame(51, SIDE)):
        expected = 1 - embedding(frame) @ centroid()
        assert runtime.inspect(frame).score == pytest.approx(expected, abs=1e-6)


def test_the_threshold_is_that_of_the_file(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    assert manifest.calibration.threshold == THRESHOLD
    assert manifest.calibration.pixel_threshold is None
    assert not manifest.calibration.held_out
    assert manifest.head.method == "centroid"
    assert manifest.backbone.layers == ("layer4",)


def test_files_that_cannot_be(bundle: Path, tmp_path: Path) -> None:
    asked = Asked(bundle.parent / "resnet18.pth")
    with pytest.raises(BackboneError, match="is not known"):
        read(written(tmp_path / "a.json", backbone="mine"), asked)
    with pytest.raises(SpecError, match="last layer"):
        read(written(tmp_path / "a.json", centroid=(1.0, *[0.0] * 383)), asked)
    text = written(tmp_path / "a.json", threshold=0.25).read_text()
    for number, says in (("1e400", "out of range"), ("NaN", "out of range"), ("1" + "0" * 400, "too large")):
        (tmp_path / "a.json").write_text(text.replace("0.25", number))
        with pytest.raises(SpecError, match=says):
            read(tmp_path / "a.json", asked)
    (tmp_path / "a.json").write_text('{"backbone": "resnet18"}')
    with pytest.raises(SpecError, match="missing"):
        read(tmp_path / "a.json", asked)
