"""The backbone in a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_ad.registry import PRECISIONS
from edge_ad.spec.base import MAX_SIDE, Box, OneOf, Range, Size, TensorSize, check_fields, is_box, require

RESIZES = ("area", "bilinear", "bicubic")  # the first where a manifest names none

DISTANCES = ("euclidean", "cosine")  # the first where a manifest names none


@dataclass(frozen=True)
class BackboneSpec:
    """The network and the graph that was made from it.

    Attributes:
        name: torchvision name, or the file name of the user's own ONNX file.
        layers: the layers (or ONNX outputs) whose features are concatenated, shallowest grid first.
        mean, std: (R, G, B) normalisation of pixels in [0, 1]; folded into the graph.
        weights: where the weights came from, for a reader.
        weights_sha256: of the weights file, hexadecimal.
        input_size: (H, W) to which a whole frame is resized.
        crop: box of `input_size` that the engine gets; all of it without a region of interest.
        grid: (h, w) of the patches of the crop.
        dim: D, length of a patch vector.
        precision: precision of the engine that made the coreset and the threshold.
        resize: the filter that resizes the crop of a frame: area averages, or bilinear or bicubic with antialiasing.
        distance: cosine if the graph divides each patch by its length, so that the squared Euclidean distance of two
            patches is 2 - 2 cos; a patch of zeros stays one, at distance 1 of all others.
    """

    name: str
    layers: tuple[str, ...]
    mean: Annotated[tuple[float, float, float], Range()]
    std: Annotated[tuple[float, float, float], Range(0, above=True)]
    weights: str
    weights_sha256: str
    input_size: TensorSize
    crop: Box
    grid: Annotated[Size, Range(1, MAX_SIDE, form="(h, w), each ")]
    dim: Annotated[int, Range(1, 2**16)]
    precision: Annotated[str, OneOf(PRECISIONS)] = "f32"
    resize: Annotated[str, OneOf(RESIZES)] = RESIZES[0]
    distance: Annotated[str, OneOf(DISTANCES)] = DISTANCES[0]

    def __post_init__(self) -> None:
        check_fields(self, "backbone")
        require(
            is_box(self.crop, self.input_size),
            "backbone.crop is not a box of the input",
            expected=f"(y0, x0, y1, x1) inside {self.input_size}",
            got=self.crop,
        )

    @property
    def tensor_size(self) -> Size:
        """(H, W) of the u8 tensor that the engine gets: the size of the crop."""
        y0, x0, y1, x1 = self.crop
        return (y1 - y0, x1 - x0)
