"""The reference in a bundle: what does not fit is refused when the bundle is opened, and the golden probes prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import BundleCorruptError, ParityError, Runtime
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from tests.edited import edited, read
from tests.paths import DATA

GOLDEN = DATA / "format-3.bundle"


def test_it_is_opened_with_every_point(tmp_path: Path) -> None:
    with Bundle.open(GOLDEN) as bundle:
        own = open_aligner(bundle)
        assert own is not None
        assert own.spec == bundle.manifest.align
        np.testing.assert_array_equal(own.reference, bundle.array("align/reference"))
    with Bundle.open(DATA / "format-2.bundle") as bundle:
        assert open_aligner(bundle) is None


HOSTILE: dict[str, Any] = {
    "align/reference": [None, (8, 8), np.float32, "text", 0],
    "align/mask": [None, (8, 8), np.int32, "text", 0],
    "align/picture": [None, (64, 64), np.float32, "text", 0],
    "probes/confidences": [None, (1,), np.uint8, "text", np.nan, 7.0],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, found in HOSTILE.items() for change in found])
def test_a_hostile_member(tmp_path: Path, name: str, change: Any) -> None:
    old = read(GOLDEN)[1][name]
    if change is None:
        new: Any = None
    elif change == "text":
        new = b"text"
    elif isinstance(change, tuple):
        new = np.ones(change, old.dtype)
    elif isinstance(change, type):
        new = old.astype(change)
        new = new if new.dtype != np.float32 else np.full_like(new, np.nan)
    else:
        new = np.full_like(old, change)
    path = edited(GOLDEN, tmp_path / "x.bundle", {name: new})
    with pytest.raises(BundleCorruptError, match=name):
        Runtime(path, self_check=True)


def test_another_reference_fails_the_probes(tmp_path: Path) -> None:
    moved = np.roll(read(GOLDEN)[1]["align/reference"], 3, axis=0)
    path = edited(GOLDEN, tmp_path / "x.bundle", {"align/reference": moved})
    with pytest.raises(ParityError, match="confidence"):
        Runtime(path, self_check=True)


def test_the_least_confidence_decides(tmp_path: Path) -> None:
    frame = DATA / "good-0.png"
    verdict = Runtime(GOLDEN).inspect(frame)
    assert verdict.found
    assert not verdict.is_anomalous
    assert verdict.confidence is not None
    strict = Runtime(edited(GOLDEN, tmp_path / "x.bundle", align={"least": 0.9999})).inspect(frame)
    assert (strict.found, strict.is_anomalous) == (False, True)
    assert strict.confidence == verdict.confidence
