"""The compiled extension. Use :mod:`edge_ad.native`, which checks what it is given."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class Pool:
    def __init__(self, threads: int, cores: Sequence[int], streams: int) -> None: ...
    @property
    def threads(self) -> int: ...

class Coreset:
    def __init__(
        self, vectors: NDArray[np.float32], part_rows: int, basis: NDArray[np.float32] | None, pool: Pool
    ) -> None: ...
    @property
    def mean(self) -> list[float]: ...

class Graph:
    def __init__(
        self,
        coreset: Coreset,
        levels: NDArray[np.uint8],
        links0: NDArray[np.int32],
        upper: NDArray[np.int32],
        entry: int,
    ) -> None: ...

class KCenter:
    def __init__(
        self, points: NDArray[np.float32], start: int, basis: NDArray[np.float32] | None, pool: Pool
    ) -> None: ...
    def advance(self, n: int, pool: Pool) -> int: ...
    @property
    def selected(self) -> list[int]: ...
    def nearest(self, found: NDArray[np.int32]) -> None: ...
    @property
    def radius(self) -> float: ...

def value_bounds(
    levels: NDArray[np.float32],
    far: NDArray[np.float32],
    largest: float,
    distances: NDArray[np.float32],
    nearest: NDArray[np.int32],
    bounds: NDArray[np.float32],
) -> None: ...

class Smoothing:
    def __init__(
        self, weights: NDArray[np.float32], height: int, width: int, rows: NDArray[np.int32] | None
    ) -> None: ...
    def smooth(self, values: NDArray[np.float32], cells: NDArray[np.float32]) -> None: ...
    def choose(
        self,
        values: NDArray[np.float32],
        bounds: NDArray[np.float32],
        open: NDArray[np.uint8],
        least: int,
        chosen: NDArray[np.int32],
    ) -> int: ...

def exact_search(
    coreset: Coreset,
    queries: NDArray[np.float32],
    rows: NDArray[np.int32] | None,
    parts: NDArray[np.int32] | None,
    k: int,
    pool: Pool,
    distances: NDArray[np.float32],
    indices: NDArray[np.int32],
) -> None: ...
def guessed_search(
    coreset: Coreset,
    queries: NDArray[np.float32],
    guesses: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    apart: NDArray[np.float32],
    rows: NDArray[np.int32] | None,
    pool: Pool,
    distances: NDArray[np.float32],
    indices: NDArray[np.int32],
) -> None: ...
def graph_search(
    graph: Graph,
    queries: NDArray[np.float32],
    rows: NDArray[np.int32] | None,
    pool: Pool,
    ef: int,
    grid_width: int,
    distances: NDArray[np.float32],
    indices: NDArray[np.int32],
) -> None: ...
def project(
    coreset: Coreset, points: NDArray[np.float32]
) -> list[tuple[list[float], float, float, float]]: ...  # for tests
def mahalanobis(
    patches: NDArray[np.float32],
    rows: NDArray[np.int32] | None,
    channels: NDArray[np.int32],
    means: NDArray[np.float32],
    factors: NDArray[np.float32],
    pool: Pool,
    distances: NDArray[np.float32],
) -> None: ...
def resample(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    out: NDArray[np.uint8] | NDArray[np.uint16],
    filter: int,
    pool: Pool | None = None,
) -> None: ...
def shrink(image: NDArray[np.uint8], out: NDArray[np.uint8], pool: Pool | None = None) -> None: ...
def moved_products(
    picture: NDArray[np.float32],
    matrix: NDArray[np.float64],
    weights: NDArray[np.float32],
    planes: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None: ...
def photometric_u8(
    pictures: Sequence[NDArray[np.uint8]],
    ambient: NDArray[np.uint8] | None,
    gains: NDArray[np.float32] | None,
    mask: NDArray[np.uint8] | None,
    lights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    how: tuple[bool, float, float],
    pool: Pool | None,
    found: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]],
) -> None: ...
def photometric_u16(
    pictures: Sequence[NDArray[np.uint16]],
    ambient: NDArray[np.uint16] | None,
    gains: NDArray[np.float32] | None,
    mask: NDArray[np.uint8] | None,
    lights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    how: tuple[bool, float, float],
    pool: Pool | None,
    found: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]],
) -> None: ...
def isa() -> str: ...
def supported_isas() -> list[str]: ...
def use_isa(name: str) -> None: ...
