"""The lights of a photometric station, and the stack of pictures under them, in a manifest and in ``lights.json``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.spec.base import Range, Size, check_fields, require

LEAST_LIGHTS, MOST_LIGHTS = 3, 128
SolveMethod = Literal["robust", "least_squares"]
_FIELD_SIDE = Range(2, 64, form="(H, W), each ")
_BRIGHTNESS = Range(1e-6, 1e6)  # its inverse is a float32, and so is a sum of them
_FLAT = 0.02  # least singular value of the directions over the root of their number


@dataclass(frozen=True)
class LightsSpec:
    """The lights of a stack, in the order of its pictures.

    Attributes:
        directions: x, y, z of each light: unit vectors towards it. x is right in the picture, y up, z towards the
            camera.
        intensities: R, G, B of each light, relative to one another.
        field_size: (H, W) of the fields; null without.
        fields: row-major values of each light's field, one light after the other: how bright it is at each place,
            relative to its intensity; resized bilinearly to the picture. Empty if every light is even.
    """

    directions: tuple[Annotated[float, Range()], ...]
    intensities: tuple[Annotated[float, _BRIGHTNESS], ...]
    field_size: Annotated[Size, _FIELD_SIDE] | None = None
    fields: tuple[Annotated[float, _BRIGHTNESS], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "lights")
        sizes, count = (len(self.directions), len(self.intensities)), len(self.directions) // 3
        require(
            sizes == (3 * count, 3 * count) and LEAST_LIGHTS <= count <= MOST_LIGHTS,
            "lights have the wrong length",
            expected=f"3 numbers of direction and 3 of intensity for each of {LEAST_LIGHTS}..{MOST_LIGHTS} lights",
            got=sizes,
        )
        lengths = [math.hypot(*self.directions[3 * i : 3 * i + 3]) for i in range(count)]
        require(
            all(abs(length - 1) < 1e-3 for length in lengths),
            "a light's direction is no unit vector",
            expected="length 1",
            got=lengths,
        )
        cells = 0 if self.field_size is None else math.prod(self.field_size)
        require(
            len(self.fields) == count * cells,
            "lights.fields has the wrong length",
            expected=f"{count} x {cells}",
            got=len(self.fields),
        )
        _check_directions(np.array(self.directions, np.float64).reshape(-1, 3))

    @property
    def count(self) -> int:
        """N, how many lights there are."""
        return len(self.directions) // 3


def _check_directions(towards: NDArray[np.float64]) -> None:
    """Refuses (N, 3) directions that leave a normal open, or come from behind the part."""
    least = float(np.linalg.svd(towards, compute_uv=False)[-1]) / math.sqrt(len(towards))
    if least < _FLAT:
        raise SpecError(
            "the lights are near one plane with the part, so normals cannot be found",
            expected=f"directions with a smallest singular value of {_FLAT} or more for a light",
            got=f"{least:.2g}",
            remedy="Place the lights around the camera, not in a row, and calibrate them again.",
        )
    if not (towards[:, 2] > 0).any():
        raise SpecError(
            "all lights are behind the part",
            expected="z above 0 for a light on the camera's side",
            got=f"z up to {towards[:, 2].max():.2g}",
            remedy="x is right in the picture, y up, z towards the camera: turn the sign of z.",
        )


@dataclass(frozen=True)
class StackSpec:
    """A frame is a stack of pictures of one part, one under each light. Photometric stereo makes a normal map of it.

    The tensor is float32: 127.5 (n + 1), with z, y, x of the unit normal n in place of B, G, R; where there is no
    normal n is 0. Nothing is rounded.

    Attributes:
        lights: the lights, in the order of the pictures.
        method: how normals are found: `robust` weights shadows and highlights down, `least_squares` does not.
        ambient: whether one more picture, the last, was taken without these lights; it is subtracted.
        least_lit: least share of the pixels that must have a normal; below it there is no verdict.
        most_residual: largest mean residual over the pixels, relative to albedo; above it there is no verdict: the part
            moved between the pictures, or a light has failed.
    """

    lights: LightsSpec
    method: SolveMethod = "robust"
    ambient: bool = False
    least_lit: Annotated[float, Range(0, 1)] = 0.0
    most_residual: Annotated[float, Range(0, above=True)] = 1e6

    def __post_init__(self) -> None:
        check_fields(self, "stack")

    @property
    def pictures(self) -> int:
        """How many pictures a stack has."""
        return self.lights.count + self.ambient
