"""What a bundle keeps of the good images of its export, for the drift monitor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle, Members
from edge_ad.errors import BundleCorruptError
from edge_ad.spec import DriftSpec

VALUES, THEN = "drift/values", "drift/then"


@dataclass(frozen=True, eq=False)
class Reference:
    """Good images in numbers.

    Attributes:
        values: statistic -> (n,) float32, of the images of which it could be measured.
        then: (h, w, 3) u8 BGR, a typical good image.
    """

    values: dict[str, NDArray[np.float32]]
    then: NDArray[np.uint8]


def open_drift(bundle: Bundle) -> Reference | None:
    """The reference; None in a bundle that has none.

    Raises:
        BundleCorruptError: its members do not fit the manifest.
    """
    spec = bundle.manifest.drift
    if spec is None:
        return None
    values, then = bundle.array(VALUES), bundle.array(THEN)
    wanted = (
        (VALUES, values, (spec.images, len(spec.statistics)), np.float32),
        (THEN, then, (*spec.then, 3), np.uint8),
    )
    for name, found, shape, kind in wanted:
        if found.dtype != kind or found.shape != shape:
            raise BundleCorruptError(
                f"{name} of {bundle.path} does not fit the manifest",
                expected=f"{shape} {np.dtype(kind)}",
                got=f"{found.shape} {found.dtype}",
                remedy="Export it again.",
            )
    if np.isinf(values).any():
        raise BundleCorruptError(f"{VALUES} of {bundle.path} has Inf", expected="numbers, or NaN for none")
    columns = {name: values[:, at] for at, name in enumerate(spec.statistics)}
    return Reference({name: column[~np.isnan(column)] for name, column in columns.items()}, then)


def drift_members(rows: list[dict[str, float]], then: NDArray[np.uint8]) -> tuple[DriftSpec, Members]:
    """The part of the manifest, and the members, of measured good images and the picture of a typical one.

    Args:
        rows: of each image, statistic -> value; what could not be measured is left out. One image or more.
    """
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float32)
    height, width = then.shape[:2]
    return DriftSpec(names, len(rows), (height, width)), {VALUES: values, THEN: then}
