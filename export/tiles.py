"""Tiles: how large frames are cut at export, how far the border of a tile reaches, and which patches are learnt from.

At the border of a tile the network sees padding in place of the picture. `border_reach` measures how much that changes
a patch, by its distance from the border: two tiles are laid over the same place of a good image, and their patches are
compared. So the usual overlap is what this network needs on these images, and no table of receptive fields is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines import Engine
from edge_ad.errors import SpecError
from edge_ad.spec import BackboneSpec, Size, Tensor, TilesSpec
from export.options import Options

if TYPE_CHECKING:
    from export.graph import PatchGraph

SEAM = 0.05  # usual largest difference of a patch at a seam, as a share of the median distance of two patches
_MOST_OVERLAP = 0.25  # of the shorter side of a tile: the usual overlap is no larger
SAMPLE_PATCHES = 2**16  # of all good images, that a method learns from: the coreset keeps 4,000 of them
SAMPLE_BYTES = 2**28
_LEAST_SAMPLE = 64  # patches of an image


@dataclass(frozen=True)
class Reach:
    """How far the border of a tile reaches.

    Attributes:
        apart: largest difference of a patch that lies 0, 1, 2, ... patches from the border, as a share of the median
            distance of two patches of the image.
    """

    apart: tuple[float, ...]

    def at(self, overlap: int, stride: int) -> float:
        """The largest difference at a seam in the middle of so many pixels of overlap."""
        beyond = self.apart[min(overlap // (2 * stride), len(self.apart) - 1) :]
        return max(beyond)


def wanted_tile(options: Options, size: Size, picture: Size) -> Size | None:
    """(H, W) of the tiles that a crop of `picture` pixels is cut into; None if the engine gets it whole.

    With --tiles, further input sizes that are no larger than a tile are seen whole.

    Raises:
        SpecError: the first input size is smaller than a tile.
    """
    if options.tiles is None:
        return None
    tile = (options.tiles[0], options.tiles[1])
    if tile[0] <= picture[0] and tile[1] <= picture[1]:
        return tile
    if size != options.input_size:
        return None
    raise SpecError(
        "--tiles is larger than the picture that it cuts",
        expected=f"(H, W) within {picture}",
        got=tile,
        remedy="Give smaller tiles, or export without --tiles.",
    )


def tiles_for(options: Options, graph: PatchGraph, tile: Size) -> TilesSpec:
    """The tiles that fit a graph; their overlap is the one asked for, or the least.

    Raises:
        SpecError: size or overlap is no multiple of the network's stride, or the overlap is too large.
    """
    assert options.tiles is not None
    ratios = [length / cells for length, cells in zip(tile, graph.coarsest, strict=True)]
    strides = [length / cells for length, cells in zip(tile, graph.grid, strict=True)]
    align, stride = round(ratios[0]), round(strides[0])
    if {*ratios} != {align} or {*strides} != {stride} or align % stride:
        likely = 2 ** round(math.log2(max(ratios)))
        raise SpecError(
            "--tiles does not fit the network", expected=f"H and W that are multiples of its stride {likely}", got=tile
        )
    asked = options.tiles[2:]
    overlap = asked[0] if asked else min(align, min(tile) - align)
    if overlap % align or not 0 <= overlap < min(tile):
        raise SpecError(
            "the overlap of --tiles does not fit the network",
            expected=f"a multiple of its stride {align}, less than the tile {tile}",
            got=overlap,
        )
    return TilesSpec(tile, overlap, stride, align)


def grid_of(tiles: TilesSpec, picture: Size) -> Size:
    """(h, w) of the patches of a picture in tiles."""
    height, width = tiles.covered(picture)
    return (height // tiles.stride, width // tiles.stride)


def border_reach(engine: Engine, tiles: TilesSpec, tensor: Tensor) -> Reach:
    """How far the border of a tile reaches, measured in the middle of a (1, H, W, 3) u8 tensor of a good image."""
    height, width = tiles.size
    shift = [max(length // 2 // tiles.align, 1) * tiles.align for length in tiles.size]
    need = (height + shift[0], width + shift[1])
    picture = tensor[0]
    missing = [max(0, wanted - length) for wanted, length in zip(need, picture.shape[:2], strict=True)]
    picture = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), "symmetric")
    top, left = (
        (length - wanted) // 2 // tiles.align * tiles.align
        for length, wanted in zip(picture.shape[:2], need, strict=True)
    )
    grid = (height // tiles.stride, width // tiles.stride)

    def patches(y: int, x: int) -> NDArray[np.float32]:
        part = np.ascontiguousarray(picture[top + y : top + y + height, left + x : left + x + width])
        return engine(part[None]).reshape(*grid, -1)

    down, across = shift[0] // tiles.stride, shift[1] // tiles.stride
    first, second = patches(0, 0)[down:, across:], patches(*shift)[: grid[0] - down, : grid[1] - across]
    flat = first.reshape(-1, first.shape[2])
    others = flat[np.random.default_rng(0).permutation(len(flat))]
    unit = float(np.median(np.linalg.norm(flat - others, axis=1)))
    apart = np.linalg.norm(first - second, axis=2) / (unit or 1.0)
    y, x = np.indices(apart.shape)
    near = np.minimum.reduce([y, x, apart.shape[0] - 1 - y, apart.shape[1] - 1 - x])
    return Reach(tuple(float(apart[near == k].max()) for k in range(int(near.max()) + 1)))


def with_overlap(backbone: BackboneSpec, options: Options, reach: Reach) -> BackboneSpec:
    """The backbone with the overlap that was asked for; or the least at which patches at a seam differ by `SEAM` at
    most, but no more than a quarter of a tile.
    """
    tiles = backbone.tiles
    assert tiles is not None
    assert options.tiles is not None
    if len(options.tiles) > 2:
        return backbone
    most = int(min(tiles.size) * _MOST_OVERLAP) // tiles.align * tiles.align
    choices = range(tiles.overlap, most + 1, tiles.align)
    overlap = next((px for px in choices if reach.at(px, tiles.stride) <= SEAM), max(most, tiles.overlap))
    return replace(backbone, tiles=replace(tiles, overlap=overlap))


def describe_tiles(backbone: BackboneSpec, looked_at: int, reach: Reach) -> str:
    """The tiles, for a reader: how many, how large, and what a seam does."""
    tiles = backbone.tiles
    assert tiles is not None
    size, picture = "{} x {}".format(*tiles.size), "{} x {}".format(*backbone.tensor_size)
    count = tiles.count(backbone.tensor_size)
    seen = f"{looked_at} of {count}" if looked_at < count else f"{count}"
    return (
        f"{seen} tiles of {size} in {picture}, overlap {tiles.overlap} px: at a seam a patch differs by "
        f"{reach.at(tiles.overlap, tiles.stride):.2%} of the distance of two patches at most"
    )


def sample_size(images: int, patches: int, dim: int) -> int:
    """How many patches of each good image a method learns from: what fits `SAMPLE_PATCHES` and `SAMPLE_BYTES`."""
    most = min(SAMPLE_PATCHES, SAMPLE_BYTES // (4 * dim)) // images
    return min(patches, max(most, _LEAST_SAMPLE))


def sample_numbers(seed: int, images: int, patches: int, count: int) -> Sequence[NDArray[np.int32]]:
    """(count,) ascending numbers of the patches of each image that are learnt from, by chance."""
    generators = (np.random.default_rng([seed, 5, image]) for image in range(images))
    return [np.sort(generator.choice(patches, count, replace=False)).astype(np.int32) for generator in generators]
