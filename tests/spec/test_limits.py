"""Limits beside the fields: what they hold, and how a message names the field."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest

from edge_ad.errors import SpecError
from edge_ad.heads.knn import KnnSpec
from edge_ad.spec import FidelitySpec, PointSpec
from edge_ad.spec.base import BoxInside, Hex, Matching, OneOf, Range, check_fields
from edge_ad.spec.codec import decode, encode, manifest_from_json, manifest_to_json
from tests import bundle_maker as maker


@pytest.mark.parametrize(
    ("limit", "text", "inside", "outside"),
    [
        (Range(1, 1000), "1..1000", [1, 1000, (1, 2), np.int64(5)], [0, 1001, (1, 0), math.nan]),
        (Range(0), "0 or more", [0, 10**18, 0.0], [-1, math.inf, math.nan]),
        (Range(high=5), "5 or less", [-(10**9), 5], [6, -math.inf]),
        (Range(0, above=True), "above 0", [1e-300], [0, 0.0, math.inf]),
        (Range(0, 1, above=True), "above 0 and at most 1", [0.5, 1], [0, 1.01]),
        (Range(0, 1, below=True), "at least 0 and below 1", [0, 0.5], [1]),
        (Range(), "finite", [0.0, (1.0, -1e300)], [math.nan, (0.0, math.inf)]),
        (Range(16, 4096, form="(H, W), each "), "(H, W), each 16..4096", [(16, 4096)], [(15, 16), (16, 4097)]),
    ],
)
def test_a_range(limit: Range, text: str, inside: list[Any], outside: list[Any]) -> None:
    assert limit.text == text
    for value in inside:
        limit.check(value, "x")
    for value in outside:
        with pytest.raises(SpecError, match=rf"x is out of range; expected {re.escape(text)}; got "):
            limit.check(value, "x")


def test_other_limits() -> None:
    for limit, good, bad, says in (
        (OneOf(("a",), also=("b",)), "b", "c", "x is unknown; expected 'b' or 'a'; got 'c'"),
        (Hex(4), "00ff", "00FF", "x is not a digest; expected 4 lower-case hexadecimal digits"),
        (Matching(re.compile("a+"), 3, "a's"), "aaa", "aaaa", "x is not allowed; expected a's"),
        (BoxInside(9), (0, 0, 9, 9), (0, 0, 0, 9), "x is not a box"),
    ):
        limit.check(good, "x")
        with pytest.raises(SpecError, match=re.escape(says)):
            limit.check(bad, "x")


@dataclass(frozen=True)
class Sample:
    one: Annotated[int, Range(1, 2)]
    maybe: Annotated[int, Range(1, 2)] | None = None
    many: tuple[Annotated[float, Range(0)], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "sample")


@pytest.mark.parametrize("field", ["one", "maybe", "many"])
def test_fields_are_held_to_their_limits_when_they_are_made_and_when_they_are_read(field: str) -> None:
    good: dict[str, Any] = {"one": 1, "maybe": None, "many": [0.5]}
    assert decode(Sample, good, "a.b") == Sample(1, None, (0.5,))
    wrong: Any = [0.5, -1.0] if field == "many" else 3
    with pytest.raises(SpecError, match=rf"^sample\.{field} is out of range"):
        dataclasses.replace(Sample(1), **{field: tuple(wrong) if field == "many" else wrong})
    with pytest.raises(SpecError, match=rf"^a\.b\.{field}.* is out of range"):
        decode(Sample, {**good, field: wrong}, "a.b")


def test_a_message_names_the_field_of_the_point() -> None:
    with pytest.raises(SpecError, match=r"head\.neighbors is out of range; expected 1\.\.1000; got 1001"):
        KnnSpec("knn", 1001)
    manifest = maker.example_manifest()
    parts = (manifest.backbone, manifest.head, manifest.index, manifest.calibration, manifest.probes)
    point = encode(PointSpec("a", "any", *parts, FidelitySpec(1, 1.0, 0.0)))
    point["backbone"]["dim"] = 0
    document = {**maker.document({}), "points": [point]}
    with pytest.raises(SpecError, match=r"manifest\.points\[0\]\.backbone\.dim is out of range; expected 1\.\.65536"):
        manifest_from_json(maker.to_json(document))


def test_a_numpy_scalar_is_inside_its_range_and_cannot_be_written() -> None:
    manifest = dataclasses.replace(maker.example_manifest(), head=KnnSpec("knn", np.int64(3)))  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="the manifest cannot be written"):
        manifest_to_json(manifest)
