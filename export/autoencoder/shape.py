"""Names and shapes of the network's weights. No torch."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Size

LEVELS = (1, 2, 4, 6)  # channels of each level, in widths; each halves the sides of the one before
PIXELS = 12  # channels of 2 x 2 pixels beside one another
USUAL = "usual"  # beside the weights: the mean of the good normal maps


def shapes(width: int, normals: bool) -> dict[str, tuple[int, ...]]:
    """(out, in, side, side) of each convolution. With `normals` two pictures enter: see `export.autoencoder.unet`."""
    channels, entering = [width * level for level in LEVELS], PIXELS * (1 + normals)
    found: dict[str, tuple[int, ...]] = {"enter": (channels[0], entering, 3, 3), "leave": (PIXELS, channels[0], 3, 3)}
    for number, (above, below) in enumerate(itertools.pairwise(channels)):
        found[f"downs.{number}"] = (below, above, 3, 3)
        found[f"narrows.{number}"] = (above, below, 1, 1)
        found[f"joins.{number}"] = (above, 2 * above, 3, 3)
    found |= {f"insides.{number}": (count, count, 3, 3) for number, count in enumerate(channels)}
    return found


def blank(width: int, size: Size, normals: bool) -> dict[str, NDArray[np.float32]]:
    """Weights of zeros, for the form of a graph of (H, W) `size`."""
    parts = shapes(width, normals)
    weights = {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in parts.items()}
    if normals:
        weights[USUAL] = np.zeros((1, 3, *size), np.float32)
    return weights | {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in parts.items()}
