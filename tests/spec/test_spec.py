"""The manifest: what it holds comes back, and each wrong type, range or missing field is named.

Over 400 lines: one manifest, and every way to spoil it.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad import spec
from edge_ad.errors import BundleVersionError, SpecError
from edge_ad.heads.padim import PadimSpec
from edge_ad.heads.patchcore import PatchcoreSpec
from edge_ad.spec import codec as manifest_json
from tests import bundle_maker as maker

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, max_value=1e300)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int64 = st.integers(-(10**18) + 1, 10**18 - 1)
sources = st.builds(
    spec.CalibrationSourceSpec,
    bundle=st.just("0123456789abcdef"),
    exported=st.just("f" * 16),
    data=text,
    goods=st.integers(2, 10**9),
    defects=st.integers(0, 10**9),
    images_sha256=st.none() | st.just("0" * 64),
    engine=text,
    precision=text,
    edge_ad=text,
    created=text,
)
ordered = st.tuples(finite, finite).map(lambda pair: (min(pair), max(pair)))


def boxes(height: int, width: int) -> st.SearchStrategy[spec.Box]:
    sides = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    return sides.flatmap(
        lambda corner: st.tuples(
            *map(st.just, corner), st.integers(corner[0] + 1, height), st.integers(corner[1] + 1, width)
        )
    )


@st.composite
def manifests(draw: st.DrawFn) -> spec.Manifest:
    size = draw(st.tuples(st.integers(16, 5000), st.integers(16, 5000)))
    input_size = draw(st.tuples(st.integers(16, 4096), st.integers(16, 4096)))
    rows = draw(st.integers(1, 10**6))
    graph = st.builds(
        spec.GraphSpec,
        entry=st.integers(0, rows - 1),
        m=st.integers(1, 1024),
        ef_construction=st.integers(1, 2**16),
        ef=st.integers(1, 4096),
        recall=st.floats(0, 1),
    )
    colors = st.integers(0, 255)
    roi = st.builds(
        spec.RoiSpec,
        source=text,
        box=boxes(*size),
        halo_px=st.integers(0, 4096),
        fill=st.tuples(colors, colors, colors),
    )
    return (
        spec.Manifest(
            name=draw(text),
            created=draw(text),
            producer=draw(st.dictionaries(text, text, max_size=3)),
            frame=spec.FrameSpec(
                size=draw(st.none() | st.just(size)),
                color_order=draw(st.sampled_from(["bgr", "rgb"])),
                bit_depth=draw(st.sampled_from([8, 16])),
                white_level=draw(st.integers(255, 65535)),
            ),
            roi=draw(st.none() | roi),
            backbone=spec.BackboneSpec(
                name=draw(text),
                layers=tuple(draw(st.lists(text, min_size=1, max_size=3))),
                mean=draw(st.tuples(finite, finite, finite)),
                std=draw(st.tuples(positive, positive, positive)),
                weights=draw(text),
                weights_sha256=draw(text),
                input_size=input_size,
                crop=draw(boxes(*input_size)),
                grid=draw(st.tuples(st.integers(1, 4096), st.integers(1, 4096))),
                dim=draw(st.integers(1, 2**16)),
                resize=draw(st.sampled_from(spec.RESIZES)),
            ),
            head=PatchcoreSpec(
                "patchcore", draw(st.integers(0, 1000)), draw(st.floats(0, 4)), smooth=draw(st.floats(0, 8))
            ),
            index=spec.IndexSpec(rows, rows + draw(st.integers(0, 100)), draw(int64), draw(st.none() | graph)),
            calibration=spec.CalibrationSpec(
                rule=draw(st.sampled_from(["percentile", "sigma", "tail", "false-reject", "f1", "youden"])),
                value=draw(finite),
                threshold=draw(positive),
                pixel_threshold=draw(positive),
                interval=draw(ordered),
                split=draw(text),
                good_scores=tuple(draw(st.lists(finite, max_size=5))),
                good_peaks=tuple(draw(st.lists(finite, max_size=5))),
                defect_scores=tuple(draw(st.lists(finite, max_size=5))),
                source=draw(st.none() | sources),
            ),
            probes=spec.ProbesSpec(draw(st.integers(1, 64)), size, draw(st.integers(0, 100)), 0.5),
            members={
                "coreset": spec.MemberSpec(24, "0" * 64, "float32", (2, 3)),
                "a": spec.MemberSpec(0, "f" * 64),
            },
        )
        if max(size) <= 4096
        else draw(st.nothing() | manifests())
    )


@given(manifest=manifests())
def test_a_manifest_comes_back(manifest: spec.Manifest) -> None:
    assert manifest_json.decode(spec.Manifest, manifest_json.encode(manifest)) == manifest
    raw = manifest_json.manifest_to_json(manifest)
    assert manifest_json.manifest_from_json(raw) == manifest
    assert manifest_json.manifest_to_json(manifest_json.manifest_from_json(raw)) == raw


def good() -> dict[str, Any]:
    """A parsed manifest in which every optional part is there."""
    return maker.document({"coreset": maker.member_entry(bytes(24), "float32", [2, 3])})


def decode(document: Any) -> spec.Manifest:
    return manifest_json.decode(spec.Manifest, document)


def replaced(path: str, value: Any) -> dict[str, Any]:
    """`good()` with one value replaced; `path` is ``index.graph.entry``."""
    document = good()
    *parents, last = path.split(".")
    at = document
    for parent in parents:
        at = at[parent]
    assert last in at
    at[last] = value
    return document


RANGES = [
    ("frame.size", [15, 480]),
    ("frame.size", [480, 2**20 + 1]),
    ("frame.size", [2**15, 2**14]),
    ("frame.white_level", 254),
    ("frame.white_level", 65536),
    ("roi.box", [-1, 0, 5, 5]),
    ("roi.box", [5, 0, 5, 5]),
    ("roi.box", [0, 9, 5, 5]),
    ("roi.box", [0, 0, 481, 5]),
    ("roi.box", [0, 0, 5, 641]),
    ("roi.fill", [0, 0, 256]),
    ("roi.fill", [-1, 0, 0]),
    ("roi.halo_px", -1),
    ("roi.halo_px", 4097),
    ("backbone.input_size", [15, 224]),
    ("backbone.input_size", [224, 4097]),
    ("backbone.crop", [0, 0, 225, 160]),
    ("backbone.crop", [0, 0, 0, 160]),
    ("backbone.crop", [0, -1, 128, 160]),
    ("backbone.grid", [0, 20]),
    ("backbone.grid", [16, 4097]),
    ("backbone.dim", 0),
    ("backbone.dim", 65537),
    ("backbone.resize", "lanczos"),
    ("backbone.resize", None),
    ("backbone.mean", [0.0, math.nan, 0.0]),
    ("backbone.std", [1.0, 0.0, 1.0]),
    ("backbone.std", [1.0, math.inf, 1.0]),
    ("head.reweight_neighbors", -1),
    ("head.reweight_neighbors", 1001),
    ("head.local_scale", -0.1),
    ("head.local_scale", 4.1),
    ("head.local_scale", math.nan),
    ("head.smooth", -0.1),
    ("head.smooth", 8.1),
    ("head.smooth", math.inf),
    ("index.size", 0),
    ("index.size", 1001),
    ("index.graph.entry", -1),
    ("index.graph.entry", 100),
    ("index.graph.m", 0),
    ("index.graph.m", 1025),
    ("index.graph.ef_construction", 0),
    ("index.graph.ef", 0),
    ("index.graph.ef", 4097),
    ("index.graph.recall", 1.5),
    ("index.graph.recall", math.nan),
    ("calibration.value", math.nan),
    ("calibration.threshold", 0.0),
    ("calibration.threshold", math.inf),
    ("calibration.pixel_threshold", -1.0),
    ("calibration.interval", [2.0, 1.0]),
    ("calibration.interval", [1.0, math.nan]),
    ("calibration.good_scores", [1.0, math.nan]),
    ("calibration.good_peaks", [math.inf]),
    ("calibration.defect_scores", [math.nan]),
    ("calibration.source.bundle", "0" * 15),
    ("calibration.source.bundle", "0" * 15 + "A"),
    ("calibration.source.exported", ""),
    ("calibration.source.images_sha256", "g" * 64),
    ("calibration.source.goods", 1),
    ("calibration.source.defects", -1),
    ("probes.count", 0),
    ("probes.count", 65),
    ("probes.size", [15, 64]),
    ("probes.size", [64, 4097]),
    ("probes.tolerance", 0.0),
    ("probes.tolerance", 1.0),
    ("members.coreset.size", -1),
    ("members.coreset.size", 23),
    ("members.coreset.sha256", "F" * 64),
    ("members.coreset.sha256", "0" * 63),
    ("members.coreset.shape", [2, 4]),
    ("members.coreset.shape", [-2, -3]),
    ("members.coreset.shape", [1, 1, 1, 1, 1, 1, 1, 2, 3]),
    ("members.coreset.shape", None),
    ("members.coreset.dtype", None),
]


@pytest.mark.parametrize(("path", "value"), RANGES, ids=[f"{path}={value}" for path, value in RANGES])
def test_ranges(path: str, value: Any) -> None:
    assert decode(good())
    part = "member" if path.startswith("members") else path.split(".")[0]
    with pytest.raises(SpecError, match=part) as caught:
        decode(replaced(path, value))
    assert caught.value.expected is not None
    assert caught.value.got is not None


EDGES = [
    ("frame.size", None),
    ("frame.size", [2**14, 2**14]),
    ("frame.white_level", 255),
    ("roi", None),
    ("roi.box", [0, 0, 480, 640]),
    ("backbone.crop", [0, 0, 224, 224]),
    ("index.graph", None),
    ("index.graph.entry", 99),
    ("index.size", 1000),
    ("calibration.threshold", 3),  # JSON has one kind of number: 3 is 3.0
    ("calibration.interval", [2.0, 2.0]),
    ("calibration.good_scores", []),
    ("calibration.source", None),
    ("calibration.source.images_sha256", None),
    ("calibration.source.goods", 2),
    ("calibration.source.defects", 0),
]


@pytest.mark.parametrize(("path", "value"), EDGES, ids=[f"{path}={value}" for path, value in EDGES])
def test_the_edges_of_the_ranges_are_inside(path: str, value: Any) -> None:
    assert decode(replaced(path, value))


def leaves(value: Any, path: str = "") -> Iterator[str]:
    for key, inner in value.items():
        at = f"{path}.{key}" if path else key
        if isinstance(inner, dict):
            yield from leaves(inner, at)
        yield at


FIELDS = [path for path in leaves(good()) if not path.startswith("format")]


def shown(path: str) -> str:
    return "manifest." + path.replace("members.coreset", "members['coreset']").replace(
        "producer.edge_ad", "producer['edge_ad']"
    )


@pytest.mark.parametrize("path", [path for path in FIELDS if path not in ("members.coreset", "producer.edge_ad")])
def test_wrong_types_are_named(path: str) -> None:
    class Other:
        pass

    wrongs: list[Any] = [True, Other(), b"", [[]], {"x": 1}, 2**60 + 0.5j]
    for wrong in wrongs:
        if path in ("producer", "members") and isinstance(wrong, dict):
            continue  # then it is x in it that is named
        with pytest.raises(SpecError) as caught:
            decode(replaced(path, wrong))
        assert shown(path) in caught.value.what


@pytest.mark.parametrize("path", FIELDS)
def test_missing_fields_are_named_or_have_a_default(path: str) -> None:
    document = good()
    *parents, last = path.split(".")
    at = document
    for parent in parents:
        at = at[parent]
    del at[last]
    optional = {
        *("frame.color_order", "frame.bit_depth", "frame.white_level", "backbone.precision", "backbone.resize"),
        "backbone.tiles",
        "frame.stack",
        "backbone.distance",
        *("head.reweight_neighbors", "head.local_scale", "head.smooth"),
        *("calibration.defect_scores", "calibration.source", "calibration.left_out", "producer.edge_ad"),
        *("members.coreset", "points", "index.projection", "second", "power", "taught", "drift"),
    }
    if path in optional:
        assert decode(document)
        return
    with pytest.raises(SpecError) as caught:
        decode(document)
    both = path in ("members.coreset.dtype", "members.coreset.shape")  # one without the other
    assert ("only one of" if both else f"{shown(path)} is missing") in caught.value.what


def test_a_manifest_without_a_resize_filter_means_area_averages() -> None:
    document = good()
    del document["backbone"]["resize"]
    assert decode(document).backbone.resize == "area"


def test_unknown_fields_are_passed_over() -> None:
    document = good()
    for inner in (document, document["frame"], document["index"]["graph"], document["members"]["coreset"]):
        inner["later"] = {"a": [1]}
    assert decode(document) == decode(good())


def test_wrong_lengths_and_words_are_named() -> None:
    for path, value in (("roi.box", [1, 2, 3]), ("backbone.mean", []), ("frame.size", [480, 640, 3])):
        with pytest.raises(SpecError, match=rf"manifest\.{path} has the wrong length"):
            decode(replaced(path, value))
    for path, word in (("head.method", "magic"), ("frame.bit_depth", 12), ("backbone.precision", "F32")):
        with pytest.raises(SpecError, match=rf"manifest\.{path} is unknown"):
            decode(replaced(path, word))
    with pytest.raises(SpecError, match=r"manifest\.calibration\.good_scores\[1\] has the wrong type"):
        decode(replaced("calibration.good_scores", [1.0, "2"]))
    with pytest.raises(SpecError, match="manifest has the wrong type"):
        decode([])


def test_messages_stay_short() -> None:
    for path in ("name", "created", "frame.size", "head.method"):
        with pytest.raises(SpecError) as caught:
            decode(replaced(path, ["x" * 10**6] * 100))
        assert len(str(caught.value)) < 500
    with pytest.raises(SpecError) as caught:
        decode(replaced("members", {"x" * 10**6: maker.member_entry(b"")}))
    assert len(str(caught.value)) < 500


def test_specs_cannot_be_changed() -> None:
    manifest = maker.example_manifest()
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest.index.size = 5  # type: ignore[misc]


def test_the_tensor_has_the_size_of_the_crop() -> None:
    backbone = dataclasses.replace(maker.example_manifest().backbone, crop=(32, 0, 96, 160))
    assert backbone.tensor_size == (64, 160)


def test_the_version_is_looked_at_before_the_fields() -> None:
    with pytest.raises(BundleVersionError, match="format 5"):
        manifest_json.manifest_from_json(b'{"format":"edge-ad-bundle","format_version":6,"frame":5}')


@given(
    value=st.recursive(
        st.none() | st.booleans() | finite | text,
        lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    )
)
def test_any_json_is_decoded_or_refused(value: Any) -> None:
    for path in ("frame", "roi", "index.graph", "calibration.good_scores", "members"):
        document = copy.deepcopy(replaced(path, value))
        with contextlib.suppress(SpecError):
            assert decode(document)


@pytest.mark.parametrize(
    "head",
    [
        {"method": "padim", "channels": 100, "regularization": 0.01},
        {"method": "knn", "neighbors": 3},
        {"method": "spade", "images": 200, "gallery": 50, "neighbors": 50},
        {"method": "centroid"},
    ],
    ids=lambda head: head["method"],
)
def test_every_head_comes_back_and_is_held_to_its_ranges(head: dict[str, Any]) -> None:
    kinds: Any = spec.HeadSpec
    defaults = {"spade": {"projection": None}, "padim": {"map_sigma": None}}.get(head["method"], {})
    assert manifest_json.encode(manifest_json.decode(kinds, head, "head")) == head | defaults
    for name in head:
        with pytest.raises(SpecError, match=f"head.{name} is missing"):
            manifest_json.decode(kinds, {key: value for key, value in head.items() if key != name}, "head")
        for wrong in (0, -1, 10**9, "x", None, True, [1]):
            if name != "regularization" or wrong != 10**9:
                with pytest.raises(SpecError, match="head"):
                    manifest_json.decode(kinds, {**head, name: wrong}, "head")


def test_the_sigma_of_a_map_raises_the_version_and_is_left_out_without() -> None:
    plain = maker.example_manifest()
    padim = PadimSpec("padim", 3, 0.01)
    for where in ("head", "second"):
        for sigma, version in ((None, 2), (4.0, 5)):
            head = dataclasses.replace(padim, map_sigma=sigma)
            second = spec.SecondSpec(plain.backbone, head, None, 1.0) if where == "second" else None
            first = padim if where == "second" else head
            manifest = dataclasses.replace(plain, head=first, index=None, second=second)
            raw = manifest_json.manifest_to_json(manifest)
            assert json.loads(raw)["format_version"] == version
            assert (b"map_sigma" in raw) == (sigma is not None)
            assert manifest_json.manifest_from_json(raw) == manifest
    with pytest.raises(SpecError, match="too low"):
        manifest_json.manifest_from_json(raw.replace(b'"format_version":5', b'"format_version":4'))
    for sigma in (0.0, -1.0, 33.0):
        with pytest.raises(SpecError, match="out of range"):
            dataclasses.replace(padim, map_sigma=sigma)
