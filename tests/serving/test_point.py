"""A runtime at an operating point of a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad import BundleCorruptError, Runtime
from tests.edited import edited, pointed
from tests.tiny import bad_frame


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("points") / "points.bundle"
    return pointed(golden, out, {"f32-small": "f32", "int8": "int8"}, scale=2.0)


def test_a_point_without_its_coreset_is_corrupt(bundle: Path, tmp_path: Path) -> None:
    path = edited(bundle, tmp_path / "b.bundle", {"points/int8/coreset": None})
    Runtime(path)
    with pytest.raises(BundleCorruptError, match="coreset"):
        Runtime(path, point="int8")


def test_verdicts_name_their_point(bundle: Path) -> None:
    frame = bad_frame(2001)
    reference, point = Runtime(bundle, threads=1), Runtime(bundle, threads=1, point="f32-small")
    one, other = reference.inspect(frame), point.inspect(frame)
    assert (one.point, other.point) == (reference.point, point.point) == ("f32", "f32-small")
    assert one.to_dict()["point"] == "f32"
    assert other.score == one.score
    assert other.threshold == 2 * one.threshold
    assert point.check()
