"""Finds the grid of tokens (1, T, C), as vision transformers give them: T = prefix + h * w, row by row.

The prefix are the tokens that belong to no place of the image: a class token, registers. A convolution that cut the
image into patches says what h and w are. If there is none, the number of tokens decides: the patches are squares, and
cover the image. Where several grids fit, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from edge_ad.errors import BackboneError
from edge_ad.spec import Size
from export.layout import Form, Makers

STRIDE = 16  # of the deepest usual layer: sides of inputs are multiples of it
MOST_PREFIX = 16  # tokens that are taken for a prefix unless the option says so; networks have up to 5


def token_form(layer: str, shape: tuple[int, ...], size: Size, made: Sequence[Size], prefix: int | None) -> Form:
    """The form of a layer with three axes.

    Args:
        shape: (1, T, C).
        size: (H, W) of the image.
        made: (h, w) of the maps that convolutions before the layer give.
        prefix: tokens before those of the grid; None to count them.

    Raises:
        BackboneError: the tokens fit no grid, or several; or their patches leave a part of the image out.
    """
    count, channels = shape[1:]
    able = range(MOST_PREFIX + 1) if prefix is None else (prefix,)
    found = {grid for grid in made if count - grid[0] * grid[1] in able}
    found = found or {grid for grid in _grids(size) if count - grid[0] * grid[1] in able}
    if len(found) != 1:
        raise _unclear(layer, count, size, sorted(found), prefix)
    (grid,) = found
    if size[0] % grid[0] or size[1] % grid[1]:
        patch = [round(extent / cells) for extent, cells in zip(size, grid, strict=True)]
        fitting = [extent // side * side for extent, side in zip(size, patch, strict=True)]
        raise BackboneError(
            f"the patches of the layer {layer} do not cover the image",
            expected=f"an input whose sides are multiples of {' and '.join(map(str, dict.fromkeys(patch)))}",
            got=f"{size} and a grid of {grid}",
            remedy=f"Give an --input-size such as {fitting[0]},{fitting[1]}, and a --roi only if its crop fits too.",
        )
    return Form(channels, grid, 2, count - grid[0] * grid[1])


def patch_side(model: onnx.ModelProto) -> int:
    """The side of the square patches into which a convolution cuts the image; 1 if none does."""
    images = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] in images:
            own = {attribute.name: list(attribute.ints) for attribute in node.attribute}
            kernel, strides = own.get("kernel_shape", []), own.get("strides", [])
            if kernel == strides and len(set(kernel)) == 1:
                return int(kernel[0])
    return 1


def stride_for(side: int) -> int:
    """What the sides of an input should be multiples of, if patches of that side cover it."""
    return STRIDE if STRIDE % side == 0 else side


def convolutions_before(makers: Makers, layers: Sequence[str]) -> list[str]:
    """Outputs of the convolutions that the layers are made from."""
    queue, seen, found = list(layers), set(layers), []
    while queue:
        node = makers.get(queue.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            found.append(node.output[0])
        new = [name for name in node.input if name and name not in seen]
        seen.update(new)
        queue += new
    return found


def _grids(size: Size) -> Iterator[Size]:
    """(h, w) of the square patches that cover an image."""
    for side in range(1, min(size) + 1):
        if size[0] % side == 0 and size[1] % side == 0:
            yield (size[0] // side, size[1] // side)


def _unclear(layer: str, count: int, size: Size, found: Sequence[Size], prefix: int | None) -> BackboneError:
    if found:
        ways = " or ".join(f"{h} x {w} after {count - h * w}" for h, w in found)
        return BackboneError(
            f"the tokens of the layer {layer} can be read as several grids",
            expected=f"one grid of an image of {size}",
            got=f"{count} tokens: {ways}",
            remedy="Say with --prefix-tokens how many come before those of the grid."
            if prefix is None
            else "Give another --input-size.",
        )
    before = f"0 to {MOST_PREFIX}" if prefix is None else f"{prefix}"
    return BackboneError(
        f"the tokens of the layer {layer} fit no grid",
        expected=f"h x w tokens of square patches that cover an image of {size}, and {before} before them",
        got=f"{count} tokens",
        remedy="Say with --prefix-tokens how many come before those of the grid, or name another tensor."
        if prefix is None
        else "Give another --prefix-tokens, or leave it out to have them counted.",
    )
