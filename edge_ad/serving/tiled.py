"""Looks at a picture tile by tile: only one tile's patches are in memory at a time, and of each a distance is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines.ahead import run_ahead
from edge_ad.frames.tiles import Tile
from edge_ad.heads.base import Found, TileHead
from edge_ad.serving.clock import Stopwatch
from edge_ad.spec import Tensor

Patches = Callable[[Tensor], NDArray[np.float32]]  # of one tile: (1, h, w, 3) -> (P, D) float32


class Kept:
    """Some patches of a picture, taken from its tiles.

    Args:
        numbers: (n,) int32 their numbers below R.
        dim: D.

    Attributes:
        vectors: (n, D) float32; 0 until a tile has given them.
    """

    def __init__(self, numbers: NDArray[np.int32], dim: int) -> None:
        self._numbers, self.vectors = numbers, np.zeros((len(numbers), dim), np.float32)

    def take(self, tile: Tile, patches: NDArray[np.float32]) -> None:
        """Takes those that the tile gives, from its (P, D) patches."""
        own = np.minimum(np.searchsorted(tile.numbers, self._numbers), len(tile.numbers) - 1)
        here = tile.numbers[own] == self._numbers
        self.vectors[here] = patches[tile.rows[own[here]]]


@dataclass(frozen=True, eq=False)
class Tiled:
    """The tiles of a crop, and what gives the patches of one. Immutable and safe to share between threads.

    Attributes:
        tiles: those with patches of the region of interest.
        patches: runs the graph on a tile; safe to share between threads.
        streams: how many tiles it runs side by side.
        count: R, patches of the region of interest.
        dim: D, length of a patch vector.
    """

    tiles: Sequence[Tile]
    patches: Patches
    streams: int
    count: int
    dim: int

    def find(
        self,
        tensor: Tensor,
        head: TileHead,
        watch: Stopwatch | None = None,
        known: tuple[Tensor, Found] | None = None,
        kept: Kept | None = None,
    ) -> Found:
        """Distances and coreset rows of the R patches of a (1, H, W, 3) tensor.

        Args:
            head: searches the patches of each tile.
            watch: gets the laps "engine" and "head".
            known: another tensor, and what was found in it: tiles with the same pixels are not looked at again.
            kept: takes some of the patches of the tiles that are looked at.
        """
        watch = watch or Stopwatch()
        found = (np.empty(self.count, np.float32), np.empty(self.count, np.int32))
        anew = []
        for tile in self.tiles:
            if known is not None and tile.same(tensor, known[0]):
                for own, other in zip(found, known[1], strict=True):
                    own[tile.numbers] = other[tile.numbers]
            else:
                anew.append(tile)
        for tile, patches in zip(anew, self._run(anew, tensor), strict=True):
            if kept is not None:
                kept.take(tile, patches)
            watch.lap("engine")
            distances, rows = head.find(patches, tile.rows)
            found[0][tile.numbers], found[1][tile.numbers] = distances, rows
            watch.lap("head")
        return found

    def vectors(self, tensor: Tensor, numbers: NDArray[np.int32]) -> NDArray[np.float32]:
        """(n, D) patches by their numbers below R, each from the tile that gives it."""
        kept = Kept(numbers, self.dim)
        wanted = [tile for tile in self.tiles if np.isin(numbers, tile.numbers).any()]
        for tile, patches in zip(wanted, self._run(wanted, tensor), strict=True):
            kept.take(tile, patches)
        return kept.vectors

    def _run(self, tiles: Sequence[Tile], tensor: Tensor) -> Iterator[NDArray[np.float32]]:
        """The patches of some tiles of a tensor."""
        return run_ahead(self.patches, self.streams, (tile.cut(tensor) for tile in tiles))

    def vector(self, tensor: Tensor) -> Callable[[int], NDArray[np.float32]]:
        """A function that gives the (D,) patch of a number below R."""

        def one(number: int) -> NDArray[np.float32]:
            vector: NDArray[np.float32] = self.vectors(tensor, np.array([number], np.int32))[0]
            return vector

        return one
