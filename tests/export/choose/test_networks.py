"""``--weights FOLDER``: the networks of torchvision whose weights lie there are candidates beside the embedded one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BackboneError, Runtime
from edge_ad.bundle.file import Bundle
from export import power
from export.choose import choice, evidence
from export.network import open_networks
from export.options import EMBEDDED, Options
from export.pipeline import export_bundle
from tests.tiny import good_frame, picture, tiny_options

OTHER = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights of a small network, and files that are none."""
    torch = pytest.importorskip("torch", reason="a torchvision backbone needs torch")
    models = pytest.importorskip("torchvision", reason="a torchvision backbone needs torchvision").models
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(models.get_model(OTHER, weights=None).state_dict(), folder / f"{OTHER}_mine.pth")
    (folder / "README.md").write_text("weights")
    (folder / "unknown.pth").write_text("of no network of torchvision")
    return folder


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "part"
    for i in range(evidence.LEAST_FOR_TRIAL):
        picture(folder / f"{i:02}.png", good_frame(i))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "AREAS", (64**2,))
    monkeypatch.setattr(evidence, "ROWS", 60)
    monkeypatch.setattr(power, "SIZES", (0.05, 0.2))
    monkeypatch.setattr(power, "CONTRASTS", (0.15, 0.4))
    monkeypatch.setitem(power.POWER_DEFECTS, "usual", 1)


def options(part: Path, weights: Path, **changes: object) -> Options:
    free = {
        "category": str(part),
        "backbone": None,
        "layers": None,
        "weights": weights,
        "input_size": None,
        "to": "onnx",
    }
    return tiny_options(part.parent, **{**free, "effort": "usual", **changes})


@pytest.mark.torch
@pytest.mark.usefixtures("small", "converted_once")
@pytest.mark.parametrize(("taken", "budget"), [(EMBEDDED, 50.0), (OTHER, 0.001)])
def test_all_networks_are_tried(
    part: Path, weights: Path, tmp_path: Path, taken: str, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table names both. Here none is ahead by the margin; where the budget is too small for all, the cheapest is
    taken.
    """
    monkeypatch.setattr(choice, "SURE_NETWORK", 2.0)
    summary = export_bundle(options(part, weights, out=tmp_path / "a.bundle", budget_ms=budget))
    rows = [line.split() for line in str(summary).splitlines()]
    assert any(row[:2] == ["choice", f"{taken},"] for row in rows)
    assert {EMBEDDED, OTHER} <= {word for row in rows for word in row}
    assert any(row[0] == "*" and taken in row for row in rows if row)
    with Bundle.open(summary.bundle) as bundle:
        assert bundle.manifest.backbone.name == taken
    Runtime(summary.bundle, self_check=True)


@pytest.mark.torch
@pytest.mark.usefixtures("small", "converted_once")
def test_where_nothing_is_tried_the_embedded_one_is_taken(part: Path, weights: Path, tmp_path: Path) -> None:
    for changes in ({"effort": "quick"}, {"method": "padim"}):
        summary = export_bundle(options(part, weights, out=tmp_path / "a.bundle", **changes))
        with Bundle.open(summary.bundle) as bundle:
            assert bundle.manifest.backbone.name == EMBEDDED
    assert "networks are not compared for padim" in str(summary)


@pytest.mark.torch
def test_a_backbone_fixes_the_network(part: Path, weights: Path) -> None:
    (network,) = open_networks(Options("part", backbone=OTHER, weights=weights))
    assert (network.name, network.weights) == (OTHER, f"{OTHER}_mine.pth")
    assert network.layers == ("stage2", "stage3")
    with pytest.raises(BackboneError, match=rf"no weights of resnet18 in .*got {OTHER}_mine\.pth"):
        open_networks(Options("part", backbone="resnet18", weights=weights))


@pytest.mark.torch
def test_folders_that_cannot_be_used(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"no weights of a torchvision network.*no \.pth file"):
        open_networks(Options("part", weights=tmp_path))
    with pytest.raises(BackboneError, match="--layers names layers of one network"):
        open_networks(Options("part", weights=weights, layers=("a", "b")))
    (tmp_path / "resnet18.pth").write_bytes(b"no weights")
    with pytest.raises(BackboneError, match=r"resnet18\.pth is not a state dict"):
        open_networks(Options("part", weights=tmp_path))
    (tmp_path / "resnet18_again.pt").write_bytes(b"no weights")
    with pytest.raises(BackboneError, match=r"several files .* of resnet18.*resnet18\.pth and resnet18_again\.pt"):
        open_networks(Options("part", weights=tmp_path))


@pytest.mark.torch
def test_names_of_files(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="the names are torchvision's")
    from export.backbone import weights_in

    names = {
        "resnet18-f37072fd.pth": "resnet18",
        "wide_resnet50_2-95faca4d.pth": "wide_resnet50_2",
        "efficientnet_b0_rwightman-7f5810bc.pth": "efficientnet_b0",
        "shufflenetv2_x1-5666bf0f80.pth": "shufflenet_v2_x1_0",  # torchvision's own name for the file
        "vit_b_16-c867db91.pth": "vit_b_16",
        "mobilenet_v2_features.pth": "mobilenet_v2",
    }
    for name in (*names, "resnet180.pth", "notes.txt"):
        (tmp_path / name).touch()
    assert {file.name: name for name, file in weights_in(tmp_path).items()} == names


def test_a_folder_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "export.backbone", raising=False)
    with pytest.raises(BackboneError, match=r"pip install 'edge-ad\[export\]'"):
        open_networks(Options("part", weights=tmp_path))
