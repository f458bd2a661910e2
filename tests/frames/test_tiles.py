"""Tiles of a picture: every patch is used once, by the tile that sees most around it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import SpecError
from edge_ad.frames.roi import RoiMasks
from edge_ad.frames.tiles import tiles_of
from edge_ad.spec import BackboneSpec, Size, TilesSpec

STRIDE, ALIGN = 4, 8


def backbone(picture: Size, tile: Size, overlap: int, **changes: object) -> BackboneSpec:
    tiles = TilesSpec(tile, overlap, STRIDE, ALIGN)
    covered = tiles.covered(picture)
    values: dict[str, object] = {
        "name": "tiny",
        "layers": ("fine", "coarse"),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "weights": "none",
        "weights_sha256": "0" * 64,
        "input_size": picture,
        "crop": (0, 0, *picture),
        "grid": (covered[0] // STRIDE, covered[1] // STRIDE),
        "dim": 8,
        "tiles": tiles,
    }
    return BackboneSpec(**{**values, **changes})  # type: ignore[arg-type]


@st.composite
def cases(draw: st.DrawFn) -> BackboneSpec:
    tile = tuple(ALIGN * draw(st.integers(2, 8)) for _ in range(2))
    picture = tuple(side + draw(st.integers(0, 130)) for side in tile)
    overlap = ALIGN * draw(st.integers(0, min(tile) // ALIGN - 1))
    return backbone(picture, tile, overlap)  # type: ignore[arg-type]


@settings(max_examples=150)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_every_patch_of_the_region_is_used_once_and_at_its_place(case: BackboneSpec, seed: int) -> None:
    tiles = case.tiles
    assert tiles is not None
    for region in (None, np.random.default_rng(seed).random(case.grid) < 0.2):
        masks = RoiMasks(case.grid, None, region)
        found = tiles_of(case, masks)
        assert len(found) <= tiles.count(case.tensor_size)
        assert region is not None or len(found) == tiles.count(case.tensor_size)
        numbers = np.concatenate([tile.numbers for tile in found]) if found else np.zeros(0, np.int32)
        assert sorted(numbers.tolist()) == list(range(masks.count))
        inside = np.arange(case.grid[0] * case.grid[1]) if masks.rows is None else masks.rows
        for tile in found:
            y0, x0, y1, x1 = tile.box
            assert (y1 - y0, x1 - x0) == tiles.size
            assert y0 % ALIGN == x0 % ALIGN == 0
            assert y1 <= case.covered[0]
            assert x1 <= case.covered[1]
            own_y, own_x = np.divmod(tile.rows, case.engine_grid[1])
            y, x = np.divmod(inside[tile.numbers], case.grid[1])
            np.testing.assert_array_equal(own_y * STRIDE + y0, y * STRIDE)
            np.testing.assert_array_equal(own_x * STRIDE + x0, x * STRIDE)
            trim = tiles.overlap // STRIDE // 2  # patches of its border that a tile leaves to its neighbour, at least
            for cells, low, high, grid, height in (
                (own_y, y0, y1, case.engine_grid[0], case.covered[0]),
                (own_x, x0, x1, case.engine_grid[1], case.covered[1]),
            ):
                assert low == 0 or cells.min() >= trim
                assert high == height or cells.max() < grid - trim


def test_a_tile_is_mirrored_where_the_picture_ends() -> None:
    case = backbone((21, 18), (16, 16), 8)
    assert case.covered == (24, 24)
    tensor = np.random.default_rng(0).integers(0, 256, (1, 21, 18, 3), np.uint8)
    last = tiles_of(case, RoiMasks(case.grid))[-1]
    assert last.box == (8, 8, 24, 24)
    part = last.cut(tensor)
    assert part.shape == (1, 16, 16, 3)
    assert part.flags.c_contiguous
    whole = np.pad(tensor, ((0, 0), (0, 3), (0, 6), (0, 0)), "reflect")
    np.testing.assert_array_equal(part, whole[:, 8:24, 8:24])


def test_a_tile_as_large_as_the_picture_is_the_picture() -> None:
    case = backbone((32, 24), (32, 24), 8)
    (tile,) = tiles_of(case, RoiMasks(case.grid))
    assert tile.box == (0, 0, 32, 24)
    assert len(tile.rows) == 8 * 6


def test_without_tiles_there_are_none() -> None:
    whole = dataclasses.replace(backbone((32, 24), (16, 16), 8), tiles=None)
    assert tiles_of(whole, RoiMasks(whole.grid)) == ()
    assert (whole.engine_size, whole.engine_grid, whole.covered) == ((32, 24), whole.grid, (32, 24))


@pytest.mark.parametrize(
    ("tile", "overlap", "stride", "align", "message"),
    [
        ((30, 32), 8, 4, 8, "tiles.size does not fit the network; expected multiples of 8"),
        ((32, 32), 12, 4, 8, "tiles.overlap does not fit the network; expected multiples of 8"),
        ((32, 16), 16, 4, 8, "tiles.overlap is out of range; expected less than the tile"),
        ((32, 32), -8, 4, 8, "tiles.overlap is out of range"),
        ((32, 32), 8, 3, 8, "tiles.align is out of range; expected a multiple of the stride 3"),
        ((32, 32), 8, 0, 8, "tiles.stride is out of range"),
        ((8, 32), 0, 4, 8, "tiles.size is out of range"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tile: Size, overlap: int, stride: int, align: int, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        TilesSpec(tile, overlap, stride, align)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (7, 6)}, "grid does not fit the tiles"),
        ({"crop": (0, 0, 8, 24), "grid": (2, 6)}, "tiles.size is larger than the picture"),
        ({"input_size": (32768, 32768)}, "input_size is out of range; expected 268,435,456 pixels at most"),
        ({"input_size": (4097, 64), "tiles": None}, "input_size is out of range.*without tiles"),
        (
            {"tiles": TilesSpec((16, 16), 12, 4, 4), "input_size": (4096, 4096), "crop": (0, 0, 4096, 4096)}
            | {"grid": (1024, 1024)},
            "too many tiles; expected 10,000 at most",
        ),
    ],
)
def test_a_backbone_whose_tiles_do_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        backbone((32, 24), (16, 16), 8, **changes)
