"""A second input size in the manifest: it comes back, it fits the first, and each wrong field is named."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from edge_ad.errors import SpecError
from edge_ad.heads.spade import SpadeSpec
from edge_ad.spec import FidelitySpec, IndexSpec, Manifest, PointSpec, SecondSpec
from edge_ad.spec import codec as manifest_json
from tests import bundle_maker as maker

LARGE = dataclasses.replace(
    maker.example_manifest().backbone, input_size=(336, 336), crop=(0, 0, 192, 240), grid=(24, 30)
)


def joined() -> Manifest:
    """The manifest of the tests with a second input size."""
    plain = maker.example_manifest()
    return dataclasses.replace(plain, second=SecondSpec(LARGE, plain.head, IndexSpec(70, 90, 0, None), 0.75))


def with_point() -> Manifest:
    """The same with a point that joins two sizes, and one that has a single size."""
    whole = joined()
    parts = [whole.backbone, whole.head, whole.index, whole.calibration, whole.probes, FidelitySpec(3, 1.0, 0.0)]
    points = (PointSpec("int8", "any", *parts, second=whole.second), PointSpec("f32-224x224", "any", *parts))  # type: ignore[arg-type]
    return dataclasses.replace(whole, points=points)


@pytest.mark.parametrize("manifest", [joined(), with_point()], ids=["reference", "points"])
def test_it_comes_back(manifest: Manifest) -> None:
    raw = manifest_json.manifest_to_json(manifest)
    assert manifest_json.manifest_from_json(raw) == manifest


def test_a_manifest_for_each_size() -> None:
    plain, whole = maker.example_manifest(), joined()
    assert plain.sights == (plain,)
    first, second = whole.sights
    assert first == plain
    assert (second.backbone, second.index, second.second) == (LARGE, IndexSpec(70, 90, 0, None), None)
    assert second.calibration == plain.calibration
    manifest = with_point()
    assert [len(manifest.at(name).sights) for name in manifest.point_names] == [2, 2, 1]


WRONG: dict[str, Any] = {
    "factor 0": ("factor", 0, "second.factor"),
    "factor below 0": ("factor", -1.0, "second.factor"),
    "factor NaN": ("factor", math.nan, "second.factor"),
    "factor Inf": ("factor", math.inf, "second.factor"),
    "factor text": ("factor", "1", "manifest.second.factor"),
    "no index": ("index", None, "second.index does not fit the method"),
    "another method": ("head", {"method": "centroid"}, "second.head.method is not that of the first size"),
    "no method": ("head", {}, "manifest.second.head.method is missing"),
    "grid": ("backbone", {"grid": [0, 3]}, "backbone.grid"),
    "crop": ("backbone", {"crop": [0, 0, 337, 240]}, "backbone.crop"),
    "precision": ("backbone", {"precision": "int8"}, "second.backbone.precision is not that of the first size"),
}


@pytest.mark.parametrize("inside", ["reference", "point"])
@pytest.mark.parametrize(("field", "value", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(field: str, value: Any, says: str, inside: str) -> None:
    document = manifest_json.encode(with_point() if inside == "point" else joined())
    second = document["points"][0]["second"] if inside == "point" else document["second"]
    second[field] = second[field] | value if field == "backbone" else value
    says = says.replace("manifest.", "manifest.points[0].") if inside == "point" else says
    with pytest.raises(SpecError) as caught:
        manifest_json.decode(Manifest, document)
    assert says in caught.value.what


@pytest.mark.parametrize("field", ["backbone", "head", "index", "factor"])
def test_a_missing_field_is_named(field: str) -> None:
    document = manifest_json.encode(joined())
    del document["second"][field]
    with pytest.raises(SpecError, match=rf"manifest\.second\.{field} is missing"):
        manifest_json.decode(Manifest, document)


def test_a_method_without_an_index_has_none_at_either_size() -> None:
    plain, head = joined(), SpadeSpec("spade", images=5, gallery=5, neighbors=2)
    assert plain.second is not None
    with pytest.raises(SpecError, match=r"second\.index does not fit the method"):
        dataclasses.replace(plain, head=head, index=None, second=dataclasses.replace(plain.second, head=head))
    second = dataclasses.replace(plain.second, head=head, index=None)
    assert dataclasses.replace(plain, head=head, index=None, second=second).sights[1].index is None
