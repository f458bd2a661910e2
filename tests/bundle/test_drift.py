"""The reference of drift in a bundle: read as it was written, and refused where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.bundle.drift import drift_members, open_drift
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import BundleCorruptError, SpecError
from edge_ad.spec import DriftSpec
from tests.edited import edited
from tests.paths import DATA

ROWS = [{"brightness": 0.5, "turn": 1.0}, {"brightness": 0.25}, {"brightness": 0.75, "turn": -1.0}]


def written(golden: Path, out: Path, members: dict[str, Any] | None = None) -> Path:
    spec, own = drift_members(ROWS, np.full((20, 30, 3), 7, np.uint8))
    assert spec == DriftSpec(("brightness", "turn"), 3, (20, 30))
    kept = {name: value for name, value in {**own, **(members or {})}.items() if value is not None}
    return edited(golden, out, kept, drift=spec)


def test_it_comes_back(golden: Path, tmp_path: Path) -> None:
    with Bundle.open(written(golden, tmp_path / "a.bundle")) as bundle:
        found = open_drift(bundle)
    assert found is not None
    np.testing.assert_array_equal(found.values["brightness"], np.float32([0.5, 0.25, 0.75]))
    np.testing.assert_array_equal(found.values["turn"], np.float32([1, -1]))
    assert found.then.shape == (20, 30, 3)


def test_an_older_bundle_has_none(golden: Path) -> None:
    with Bundle.open(golden) as bundle:
        assert open_drift(bundle) is None


@pytest.mark.parametrize(
    "members",
    [
        {"drift/values": np.zeros((3, 3), np.float32)},
        {"drift/values": np.zeros((3, 2), np.int32)},
        {"drift/values": np.full((3, 2), np.inf, np.float32)},
        {"drift/values": None},
        {"drift/then": np.zeros((20, 30), np.uint8)},
        {"drift/then": np.zeros((20, 30, 3), np.float32)},
        {"drift/then": b"no array"},
    ],
)
def test_what_does_not_fit_is_refused(golden: Path, tmp_path: Path, members: dict[str, Any]) -> None:
    path = written(golden, tmp_path / "a.bundle", members)
    with Bundle.open(path) as bundle, pytest.raises(BundleCorruptError, match="drift/"):
        open_drift(bundle)


@pytest.mark.parametrize(
    ("statistics", "images", "then"),
    [
        ((), 3, (20, 30)),
        (("a", "a"), 3, (20, 30)),
        (("A b",), 3, (20, 30)),
        (("a",), 0, (20, 30)),
        (("a",), 3, (9, 999)),
    ],
)
def test_limits(statistics: tuple[str, ...], images: int, then: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match="drift"):
        DriftSpec(statistics, images, then)


def test_info_says_so(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(DATA / "format-2-drift.bundle")]) == 0
    assert "brightness, blue, red, sharpness of 12 good images" in capsys.readouterr().out
    assert main(["info", str(golden)]) == 0
    assert "no reference: a station takes its first good parts" in capsys.readouterr().out
