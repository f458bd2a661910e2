"""Checks arrays before they go to the native core."""

from __future__ import annotations

import numpy as np

from edge_ad.errors import NativeError


def require_array(name: str, value: object, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Refuses what is not a C-contiguous, aligned array of this dtype and shape (None: any size)."""
    wanted = f"a C-contiguous {np.dtype(dtype).name} array of {len(shape)} dimension(s)"
    if not isinstance(value, np.ndarray):
        raise NativeError(f"{name} is not an array", expected=wanted, got=type(value).__name__)
    if value.dtype != np.dtype(dtype) or value.ndim != len(shape):
        raise NativeError(
            f"{name} has the wrong dtype or rank",
            expected=wanted,
            got=f"{value.dtype} of shape {value.shape}",
        )
    if any(want is not None and want != have for want, have in zip(shape, value.shape, strict=True)):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise NativeError(f"{name} has the wrong shape", expected=f"({sizes})", got=value.shape)
    if not (value.flags.c_contiguous and value.flags.aligned):
        raise NativeError(
            f"{name} is not contiguous and aligned",
            expected=wanted,
            got=f"strides {value.strides}",
            remedy="Pass it through numpy.ascontiguousarray.",
        )
