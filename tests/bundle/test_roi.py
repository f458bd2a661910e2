"""The masks of the region of interest that a bundle holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad import BundleCorruptError, Runtime
from edge_ad.bundle.file import Bundle
from tests.edited import edited


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("roi/mask", np.zeros((3, 3), np.uint8)),
        ("roi/patch_mask", np.zeros((3, 3), np.uint8)),
        ("roi/patch_mask", None),
        ("roi/mask", None),
        ("roi/patch_mask", "empty"),
        ("roi/mask", "empty"),
        ("roi/mask", "float32"),
        ("roi/patch_mask", "float32"),
        ("roi/patch_mask", "nan"),
    ],
)
def test_masks_that_do_not_fit(golden_roi: Path, tmp_path: Path, member: str, value: object) -> None:
    if isinstance(value, str):
        there = np.array(Bundle.open(golden_roi).array(member))
        value = {
            "empty": there * 0,
            "float32": there.astype(np.float32),
            "nan": np.full(there.shape, np.nan, np.float32),
        }[value]
    with pytest.raises(BundleCorruptError):
        Runtime(edited(golden_roi, tmp_path / "hostile.bundle", {member: value}))
