"""How frames are aligned, in a manifest: limits, and the version that a bundle with it has."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edge_ad.errors import SpecError
from edge_ad.spec import AlignSpec
from edge_ad.spec.codec import manifest_from_json, manifest_to_json, version_of
from tests.bundle_maker import example_manifest

SPEC = AlignSpec("similarity", (96, 128), (384, 512), 0.2, 20.0, 0.1, 0.5, 0.6, 0.8, 40)


def test_it_comes_back_and_raises_the_version() -> None:
    plain, follows = example_manifest(), dataclasses.replace(example_manifest(), align=SPEC)
    assert (version_of(plain), version_of(follows)) == (2, 3)
    for manifest in (plain, follows):
        raw = manifest_to_json(manifest)
        assert manifest_from_json(raw) == manifest
        assert json.loads(raw)["format_version"] == version_of(manifest)
    assert "align" not in json.loads(manifest_to_json(plain))


def test_a_reader_that_would_pass_it_over_is_not_given_it() -> None:
    document = json.loads(manifest_to_json(dataclasses.replace(example_manifest(), align=SPEC)))
    for version in (1, 2):
        with pytest.raises(SpecError, match="too low for its fields"):
            manifest_from_json(json.dumps({**document, "format_version": version}).encode())
    assert manifest_from_json(json.dumps({**document, "align": None, "format_version": 2}).encode()).align is None


@pytest.mark.parametrize(
    "changes",
    [
        {"motion": "affine"},
        {"size": (8, 128)},
        {"size": (96, 4096)},
        {"picture": (96, 4096)},
        {"most_shift": 0.5},
        {"most_turn": 90.0},
        {"most_scale": -0.1},
        {"least_seen": 0.0},
        {"least": 0.0},
        {"least": 1.5},
        {"least": float("nan")},
        {"images": 0},
        {"motion": "shift"},
    ],
)
def test_limits(changes: dict[str, object]) -> None:
    document = json.loads(manifest_to_json(dataclasses.replace(example_manifest(), align=SPEC)))
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()}
    document["align"] |= values
    with pytest.raises(SpecError, match="align"):
        manifest_from_json(json.dumps(document).replace("NaN", "1e999").encode()) if "least" not in changes else (
            dataclasses.replace(SPEC, **changes)  # type: ignore[arg-type]
        )


def test_shifts_do_not_turn() -> None:
    assert dataclasses.replace(SPEC, motion="shift", most_turn=0.0, most_scale=0.0).motion == "shift"
