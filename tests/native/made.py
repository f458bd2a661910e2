"""Data made for the native tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_ad import native


def clusters(seed: int, size: int, dim: int, spread: float = 1.0, offset: float = 2.0) -> np.ndarray:
    """(size, dim) float32 with cluster structure, C-contiguous."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(offset, 2.0, (12, dim))
    points = centres[rng.integers(12, size=size)] + rng.normal(0.0, spread, (size, dim))
    return np.ascontiguousarray(points, np.float32)


def integers(seed: int, size: int, dim: int, most: int = 4) -> np.ndarray:
    """(size, dim) float32 of small integers: every distance is exact, and ties abound."""
    return np.random.default_rng(seed).integers(0, most, (size, dim)).astype(np.float32)


def misaligned(array: np.ndarray) -> np.ndarray:
    """A copy whose memory is aligned to 4 bytes and to no more."""
    room = np.empty(array.size + 32, np.float32)
    skip = next(i for i in range(1, 17) if (room.ctypes.data + 4 * i) % 64 == 4)
    copy = room[skip : skip + array.size].reshape(array.shape)
    copy[...] = array
    return copy


class Arrays(NamedTuple):
    """The arrays of an HNSW graph."""

    levels: np.ndarray
    links0: np.ndarray
    upper: np.ndarray
    entry: int

    def graph(self, coreset: native.Coreset) -> native.Graph:
        return native.Graph(coreset, self.levels, self.links0, self.upper, self.entry)


def _links(vectors: np.ndarray, members: np.ndarray, width: int) -> dict[int, list[int]]:
    """Nearest members of each member; its successor in a ring makes the level strongly connected."""
    found = {}
    for place, node in enumerate(members):
        order = members[np.argsort(((vectors[members] - vectors[node]) ** 2).sum(1), kind="stable")]
        ring = int(members[(place + 1) % len(members)])
        near = [int(other) for other in order if other not in (node, ring)][: width - 1]
        found[int(node)] = ([ring] if ring != node else []) + near
    return found


def hnsw(vectors: np.ndarray, seed: int = 0, width: int = 5) -> Arrays:
    """A valid, connected graph over the vectors: 2 * width links on level 0, width above."""
    rng = np.random.default_rng(seed)
    levels = np.minimum(rng.geometric(0.7, len(vectors)) - 1, 3).astype(np.uint8)
    start = np.cumsum(levels, dtype=np.int64) - levels
    links0 = np.full((len(vectors), 2 * width), -1, np.int32)
    upper = np.full((int(levels.sum()), width), -1, np.int32)
    for level in range(int(levels.max()) + 1):
        members = np.flatnonzero(levels >= level)
        for node, links in _links(vectors, members, width if level else 2 * width).items():
            row = upper[start[node] + level - 1] if level else links0[node]
            row[: len(links)] = links
    return Arrays(levels, links0, upper, int(levels.argmax()))
