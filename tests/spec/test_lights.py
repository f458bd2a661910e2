"""Lights and stacks in a manifest: format 4, and no other."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edge_ad.errors import SpecError
from edge_ad.frames.photometric import make_lights
from edge_ad.spec import LightsSpec, Manifest, StackSpec
from edge_ad.spec.codec import manifest_from_json, manifest_to_json, version_of
from tests.bundle_maker import example_manifest
from tests.frames.photometric.made import ring
from tests.spec.test_align import SPEC as ALIGN


def with_stack(**changes: object) -> Manifest:
    plain = example_manifest()
    stack = StackSpec(make_lights(ring(5)), "least_squares", True, 0.5, 0.1)
    frame = dataclasses.replace(plain.frame, stack=stack)
    backbone = dataclasses.replace(plain.backbone, resize="area")
    return dataclasses.replace(plain, **{"frame": frame, "backbone": backbone, **changes})  # type: ignore[arg-type]


def test_it_comes_back_and_raises_the_version() -> None:
    manifest = with_stack()
    raw = manifest_to_json(manifest)
    assert version_of(manifest) == json.loads(raw)["format_version"] == 4
    assert manifest_from_json(raw) == manifest
    assert manifest.frame.stack is not None
    assert manifest.frame.stack.pictures == 6
    plain = json.loads(manifest_to_json(example_manifest()))
    assert plain["format_version"] == 2
    assert "stack" not in plain["frame"]
    with pytest.raises(SpecError, match="too low"):
        manifest_from_json(raw.replace(b'"format_version":4', b'"format_version":3'))


def test_what_does_not_go_with_a_stack() -> None:
    backbone = dataclasses.replace(example_manifest().backbone, resize="bicubic")
    with pytest.raises(SpecError, match="area averages"):
        with_stack(backbone=backbone)
    with pytest.raises(SpecError, match="not aligned"):
        with_stack(align=ALIGN)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"directions": (0.0, 0.0, 1.0) * 2}, "wrong length"),
        ({"directions": (0.0, 0.0, 2.0) * 5}, "no unit vector"),
        ({"intensities": (1.0,) * 14}, "wrong length"),
        ({"intensities": (0.0,) * 15}, "intensities is out of range"),
        ({"intensities": (1e308,) * 15}, "intensities is out of range"),
        ({"directions": (0.0, 0.0, 1.0) * 5}, "near one plane"),
        ({"field_size": (2, 2)}, "fields has the wrong length"),
        ({"fields": (1.0,) * 20}, "fields has the wrong length"),
        ({"field_size": (2, 65), "fields": (1.0,) * 650}, "field_size is out of range"),
    ],
)
def test_lights_that_are_none(change: dict[str, object], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        dataclasses.replace(make_lights(ring(5)), **change)  # type: ignore[arg-type]
    assert isinstance(make_lights(ring(5)), LightsSpec)
