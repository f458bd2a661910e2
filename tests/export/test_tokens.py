"""Which grid a number of tokens is, and when nothing is guessed."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad.errors import BackboneError
from export.tokens import MOST_PREFIX, token_form


@pytest.mark.parametrize(
    ("count", "size", "made", "grid", "prefix"),
    [
        (257, (256, 256), [(16, 16)], (16, 16), 1),
        (197, (224, 224), [(14, 14)], (14, 14), 1),
        (1029, (448, 448), [(32, 32)], (32, 32), 5),
        (3136, (224, 224), [(56, 56)], (56, 56), 0),
        (784, (224, 224), [(56, 56)], (28, 28), 0),  # merged behind the convolution
        (129, (128, 256), [], (8, 16), 1),  # no convolution: by the number alone
        (9, (32, 32), [(2, 2), (16, 16)], (2, 2), 5),  # not 3 x 3, which does not divide the image
        (5, (32, 32), [(2, 2)], (2, 2), 1),  # as 1 x 1 after 4 it could be read too
    ],
)
def test_tokens_are_counted(
    count: int, size: tuple[int, int], made: list[tuple[int, int]], grid: tuple[int, int], prefix: int
) -> None:
    form = token_form("layer", (1, count, 8), size, made, None)
    assert (form.grid, form.prefix, form.channels, form.axis) == (grid, prefix, 8, 2)
    assert token_form("layer", (1, count, 8), size, made, prefix) == form


def test_what_fits_several_grids_is_asked_for() -> None:
    with pytest.raises(BackboneError, match=r"several grids.*1 x 1 after 4 or 2 x 2 after 1.*--prefix-tokens"):
        token_form("layer", (1, 5, 8), (32, 32), [], None)
    assert token_form("layer", (1, 5, 8), (32, 32), [], 1).grid == (2, 2)


@pytest.mark.parametrize("prefix", [None, 2])
def test_what_fits_no_grid_is_refused(prefix: int | None) -> None:
    with pytest.raises(BackboneError, match=r"fit no grid.*250 tokens.*--prefix-tokens"):
        token_form("layer", (1, 250, 8), (256, 256), [], prefix)


def test_many_tokens_before_the_grid_are_said() -> None:
    count = 256 + MOST_PREFIX + 1
    with pytest.raises(BackboneError, match="fit no grid"):
        token_form("layer", (1, count, 8), (256, 256), [(16, 16)], None)
    assert token_form("layer", (1, count, 8), (256, 256), [(16, 16)], MOST_PREFIX + 1).grid == (16, 16)


def test_a_strip_at_the_edge_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"do not cover the image.*multiples of 14.*--input-size such as 252,252"):
        token_form("layer", (1, 325, 8), (256, 256), [(18, 18)], None)
