"""Operating points of a bundle: which members, specs and thresholds each of them has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_ad import BundleError, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.spec import FidelitySpec
from tests.edited import edited, pointed


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("points") / "points.bundle"
    return pointed(golden, out, {"f32-small": "f32", "int8": "int8"}, scale=2.0)


def test_a_bundle_without_points_has_the_reference(golden: Path) -> None:
    with Bundle.open(golden) as opened:
        assert opened.manifest.point_names == ("f32",)
        assert opened.at("f32").manifest == opened.manifest
        with pytest.raises(SpecError, match="no such operating point"):
            opened.at("int8")


def test_each_point_has_its_own(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        assert opened.manifest.point_names == ("f32", "f32-small", "int8")
        reference, point = opened.at("f32"), opened.at("int8")
        assert point.manifest.points == reference.manifest.points == ()
        assert point.manifest.backbone.precision == "int8"
        assert point.manifest.calibration.threshold == 2 * reference.manifest.calibration.threshold
        np.testing.assert_array_equal(point.array("coreset"), reference.array("coreset"))
        assert point.array("coreset").ctypes.data != reference.array("coreset").ctypes.data
        assert "points/int8/coreset" in opened
        assert "points/int8/coreset" not in reference
        assert "points/int8/coreset" not in point


def test_models_are_shared_where_a_point_has_none(golden: Path, tmp_path: Path) -> None:
    with Bundle.open(pointed(golden, tmp_path / "b.bundle", {"bf16": "bf16"})) as opened:
        assert opened.at("bf16").blob("model.onnx") == opened.blob("model.onnx")
    path = pointed(golden, tmp_path / "own.bundle", {"int8": "int8"})
    path = edited(path, path, {"points/int8/model.xml": None, "points/int8/model.bin": None})
    with Bundle.open(path) as opened:
        assert "model.xml" not in opened.at("int8")  # one engine's own model: the other must not run the reference's


def test_a_closed_bundle_has_no_points(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    view = opened.at("int8")
    opened.close()
    assert view.array("coreset").size
    with pytest.raises(BundleError, match="closed"):
        opened.at("int8")


@pytest.mark.parametrize("name", ["", "f32", "Int8", "int8-", "a_b", "../x", "x" * 65])
def test_bad_names(bundle: Path, name: str) -> None:
    with Bundle.open(bundle) as opened, pytest.raises(SpecError, match=r"point\.name is not allowed"):
        dataclasses.replace(opened.manifest.points[0], name=name)


def test_points_share_no_name(bundle: Path) -> None:
    with Bundle.open(bundle) as opened, pytest.raises(SpecError, match="two operating points"):
        dataclasses.replace(opened.manifest, points=opened.manifest.points[:1] * 2)


def test_what_holds_for_the_reference_holds_for_a_point(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        point = dataclasses.replace(opened.manifest.points[0], index=None)
        with pytest.raises(SpecError, match="index does not fit"):
            dataclasses.replace(opened.manifest, points=(point,))


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 0},
        {"rank_correlation": 1.1},
        {"rank_correlation": float("nan")},
        {"score_error": -0.1},
        {"score_error": float("inf")},
        {"auroc": 0.9},
        {"labelled": 3},
        {"labelled": 3, "auroc": 0.9, "reference_auroc": 1.2},
        {"labelled": 3, "auroc": float("nan"), "reference_auroc": 1.0},
    ],
)
def test_fidelity_out_of_range(changes: dict[str, float]) -> None:
    values = {"frames": 3, "rank_correlation": 0.99, "score_error": 0.01, **changes}
    with pytest.raises(SpecError, match="fidelity"):
        FidelitySpec(**values)  # type: ignore[arg-type]
