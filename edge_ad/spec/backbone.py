"""The backbone in a manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from edge_ad.registry import PRECISIONS
from edge_ad.spec.base import (
    MAX_FRAME_PIXELS,
    MAX_PICTURE_SIDE,
    MAX_SIDE,
    MIN_FRAME_SIDE,
    Box,
    OneOf,
    Range,
    Size,
    TensorSize,
    check_fields,
    is_box,
    require,
)

RESIZES = ("area", "bilinear", "bicubic")  # the first where a manifest names none

DISTANCES = ("euclidean", "cosine")  # the first where a manifest names none


MAX_TILES = 10_000  # of a picture


@dataclass(frozen=True)
class TilesSpec:
    """Tiles of a picture: each goes through the graph by itself, and their patches make one grid.

    The tiles of a side begin on multiples of `align`, at equal distances as nearly as that allows, from 0 to the end of
    the picture. The picture is mirrored to multiples of `align`. Where two tiles overlap, each gives the patches on its
    side of the middle.

    Attributes:
        size: (H, W) of a tile, multiples of `align`.
        overlap: pixels that neighbouring tiles share at least, a multiple of `align`.
        stride: pixels from one patch to the next.
        align: pixels from one vector of the coarsest layer to the next, a multiple of `stride`.
    """

    size: TensorSize
    overlap: Annotated[int, Range(0, MAX_SIDE)]
    stride: Annotated[int, Range(1, MAX_SIDE)]
    align: Annotated[int, Range(1, MAX_SIDE)]

    def __post_init__(self) -> None:
        check_fields(self, "backbone.tiles")
        require(
            self.align % self.stride == 0,
            "backbone.tiles.align is out of range",
            expected=f"a multiple of the stride {self.stride}",
            got=self.align,
        )
        for name, values in (("size", self.size), ("overlap", (self.overlap,))):
            require(
                all(value % self.align == 0 for value in values),
                f"backbone.tiles.{name} does not fit the network",
                expected=f"multiples of {self.align} pixels",
                got=getattr(self, name),
            )
        require(
            self.overlap < min(self.size),
            "backbone.tiles.overlap is out of range",
            expected=f"less than the tile {self.size}",
            got=self.overlap,
        )

    def covered(self, picture: Size) -> Size:
        """(H, W) of a picture after it was mirrored to multiples of `align`."""
        return (-(-picture[0] // self.align) * self.align, -(-picture[1] // self.align) * self.align)

    def starts(self, picture: Size) -> tuple[list[int], list[int]]:
        """The first pixels of the tiles of a picture, (down, across)."""
        down, across = (
            self._starts(length, tile) for length, tile in zip(self.covered(picture), self.size, strict=True)
        )
        return down, across

    def count(self, picture: Size) -> int:
        """How many tiles a picture has, those without a patch of a region of interest too."""
        sides = zip(self.covered(picture), self.size, strict=True)
        down, across = (-(-(length - tile) // (tile - self.overlap)) + 1 for length, tile in sides)
        return down * across

    def _starts(self, length: int, tile: int) -> list[int]:
        gaps = -(-(length - tile) // (tile - self.overlap))
        return [0, *(i * (length - tile) // gaps // self.align * self.align for i in range(1, gaps + 1))]


@dataclass(frozen=True)
class BackboneSpec:
    """The network and the graph that was made from it.

    Attributes:
        name: torchvision name, or the file name of the user's own ONNX file; of a method that trains a network of its
            own, the name of that; "relief": fixed filters.
        layers: the layers (or ONNX outputs) whose features are concatenated, shallowest grid first.
        mean, std: (R, G, B) normalisation of pixels in [0, 1]; folded into the graph.
        weights: where the weights came from, for a reader.
        weights_sha256: of the weights file, hexadecimal.
        input_size: (H, W) to which a whole frame is resized.
        crop: box of `input_size` that the engine gets; all of it without a region of interest.
        grid: (h, w) of the patches of the crop; with tiles, of those of all tiles.
        dim: D, length of a patch vector.
        precision: precision of the engine that made the coreset and the threshold.
        resize: the filter that resizes the crop of a frame: area averages, or bilinear or bicubic with antialiasing.
        distance: cosine if the graph divides each patch by its length, so that the squared Euclidean distance of two
            patches is 2 - 2 cos; a patch of zeros stays one, at distance 1 of all others.
        tiles: the tiles that the crop is cut into; None if the engine gets it whole.
    """

    name: str
    layers: tuple[str, ...]
    mean: Annotated[tuple[float, float, float], Range()]
    std: Annotated[tuple[float, float, float], Range(0, above=True)]
    weights: str
    weights_sha256: str
    input_size: Annotated[Size, Range(MIN_FRAME_SIDE, MAX_PICTURE_SIDE, form="(H, W), each ")]
    crop: Box
    grid: Annotated[Size, Range(1, MAX_SIDE, form="(h, w), each ")]
    dim: Annotated[int, Range(1, 2**16)]
    precision: Annotated[str, OneOf(PRECISIONS)] = "f32"
    resize: Annotated[str, OneOf(RESIZES)] = RESIZES[0]
    distance: Annotated[str, OneOf(DISTANCES)] = DISTANCES[0]
    tiles: TilesSpec | None = None

    def __post_init__(self) -> None:
        check_fields(self, "backbone")
        require(
            is_box(self.crop, self.input_size),
            "backbone.crop is not a box of the input",
            expected=f"(y0, x0, y1, x1) inside {self.input_size}",
            got=self.crop,
        )
        if self.tiles is None:
            largest = f"(H, W), each at most {MAX_SIDE} without tiles"
            require(
                max(self.input_size) <= MAX_SIDE,
                "backbone.input_size is out of range",
                expected=largest,
                got=self.input_size,
            )
        else:
            self._check_tiles(self.tiles)

    def _check_tiles(self, tiles: TilesSpec) -> None:
        (height, width), stride = tiles.covered(self.tensor_size), tiles.stride
        require(
            math.prod(self.input_size) <= MAX_FRAME_PIXELS,
            "backbone.input_size is out of range",
            expected=f"{MAX_FRAME_PIXELS:,} pixels at most",
            got=self.input_size,
        )
        require(
            tiles.size[0] <= height and tiles.size[1] <= width,
            "backbone.tiles.size is larger than the picture",
            expected=f"(H, W) within {(height, width)}",
            got=tiles.size,
        )
        require(
            self.grid == (height // stride, width // stride),
            "backbone.grid does not fit the tiles",
            expected=(height // stride, width // stride),
            got=self.grid,
        )
        count = tiles.count(self.tensor_size)
        require(count <= MAX_TILES, "a picture has too many tiles", expected=f"{MAX_TILES:,} at most", got=count)

    @property
    def tensor_size(self) -> Size:
        """(H, W) of the u8 tensor of a frame: the size of the crop."""
        y0, x0, y1, x1 = self.crop
        return (y1 - y0, x1 - x0)

    @property
    def engine_size(self) -> Size:
        """(H, W) of what the engine gets at once: the tensor, or a tile of it."""
        return self.tensor_size if self.tiles is None else self.tiles.size

    @property
    def engine_grid(self) -> Size:
        """(h, w) of the patches that the engine gives at once."""
        if self.tiles is None:
            return self.grid
        return (self.tiles.size[0] // self.tiles.stride, self.tiles.size[1] // self.tiles.stride)

    @property
    def covered(self) -> Size:
        """(H, W), in pixels of the tensor, that the grid covers: with tiles, the tensor is mirrored to that size."""
        return self.tensor_size if self.tiles is None else self.tiles.covered(self.tensor_size)
