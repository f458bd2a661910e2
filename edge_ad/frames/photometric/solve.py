"""Photometric stereo: normals of a surface from pictures under several lights (Woodham 1980).

The camera frame: x is right in the picture, y is up, z is towards the camera. The camera looks along -z from far away
(orthographic). A sample is linear in the light: no gamma, no automatic gain or exposure. The surface is taken for matt
(Lambert's law: a sample is the albedo times the cosine between normal and light).

    least_squares   all samples count alike. Shadows and highlights pull the normal away
    robust          a sample below 0.2 of the pixel's median sample is in shadow and left out, and so is one at white.
                    The others are weighted by how well they fit, 8 times over (least absolute residuals).
                    With 16 lights or more, samples that are too bright count less than half as much as too dark ones:
                    highlights are brighter than a matt surface, and much more common than what is darker

With three lights nothing can be checked: a shadow or highlight there gives a wrong normal, or none. With four lights
there is one sample to spare. `robust` drops one in shadow; else, where the four disagree, the brightest that can be a
highlight (Coleman and Jain 1982). It cannot find two. Six lights or more make `robust` what its name says.

Sources: Woodham, "Photometric method for determining surface orientation from multiple images" (1980). Coleman and
Jain, "Obtaining 3-dimensional shape of textured and specular surfaces using four-source photometry" (1982). Koenker
and Bassett, "Regression quantiles" (1978), solved by reweighting (Schlossmacher 1973).
"""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError, SpecError
from edge_ad.frames.check import check_frame
from edge_ad.frames.photometric.lights import as_lights, directions_of, fields_of, intensities_of
from edge_ad.frames.photometric.pictures import read_picture
from edge_ad.native import Pool
from edge_ad.native.normals import photometric
from edge_ad.spec import FrameSpec, LightsSpec, Pixels
from edge_ad.spec.lights import SolveMethod

METHODS: tuple[str, ...] = typing.get_args(SolveMethod)

# A sample not above this is no light but noise: 3 levels of 8 bits, or 32 of 16.
_DARK = {8: 3 / 255, 16: 32 / 65535}
_FAILED = 0.02  # of the median picture's mean: a darker picture has no light

Given = NDArray[Any] | Sequence[Any]


@dataclass(frozen=True, eq=False)
class Normals:
    """The surface that a stack shows.

    Attributes:
        normals: (H, W, 3) float32 unit vectors x, y, z in the camera frame; 0, 0, 0 where there is none.
        albedo: (H, W) float32, 1 for a matt white under a light of intensity 1; 0 where there is none.
        residual: (H, W) float32, mean absolute difference between the lit samples and those of the matt surface that
            was found, over its albedo; 0 where there is none.
        lit: (H, W) uint8, how many samples are not in shadow.
    """

    normals: NDArray[np.float32]
    albedo: NDArray[np.float32]
    residual: NDArray[np.float32]
    lit: NDArray[np.uint8]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) bool: where there is a normal."""
        return np.asarray(self.albedo > 0)

    def lit_share(self, mask: NDArray[np.bool_] | None = None) -> float:
        """The share of the pixels, inside the mask, that have a normal."""
        valid = self.valid
        return float(np.count_nonzero(valid) / valid.size if mask is None else valid[mask].mean())

    def mean_residual(self) -> float:
        """Mean of the residual where there is a normal; Inf where there is none."""
        valid = self.valid
        count = int(np.count_nonzero(valid))
        return float(self.residual.sum(dtype=np.float64) / count) if count else float("inf")


def normals(
    stack: Given,
    lights: LightsSpec | Sequence[Sequence[float]] | NDArray[Any],
    intensities: object = None,
    mask: NDArray[np.bool_] | None = None,
    method: str = "robust",
    ambient: Pixels | str | os.PathLike[str] | None = None,
    *,
    color_order: str = "bgr",
    white_level: int = 65535,
    pool: Pool | None = None,
) -> Normals:
    """Normals from pictures of one part under N lights, 3 or more. Thread-safe.

    Args:
        stack: N pictures in the order of the lights: an (N, H, W) or (N, H, W, 3) array, or a sequence of (H, W),
            (H, W, 3) arrays and image files. Pixels are u8 or u16, linear in the light.
        lights: `LightsSpec`, or (N, 3) directions towards the lights, of any length above 0.
        intensities: (N,) or (N, 3) R, G, B, relative to one another; None if all are alike, or as in `lights`.
        mask: (H, W) bool, True where normals are wanted; None for everywhere.
        method: "robust" or "least_squares".
        ambient: a picture without the lights, which is subtracted from each; an array or an image file.
        color_order: "bgr" or "rgb", of arrays; image files need none. Colours are divided by the light's and averaged.
        white_level: u16 value that is white: 4095 for a 12-bit camera. A u8 one is 255. "robust" does not use a sample
            at white, as it may have been brighter.
        pool: threads; None: the calling thread alone.

    A pixel has no normal where fewer than 3 samples are lit, or those are lit from directions near one plane.

    Raises:
        FrameError: a picture cannot be used; their sizes or dtypes differ, or their number is not that of the lights.
        SpecError: the lights are near one plane or do not fit; no such method.
    """
    found = as_lights(lights, intensities)
    if method not in METHODS:
        raise SpecError("there is no such method", expected=" or ".join(METHODS), got=repr(method))
    order: Any = color_order
    spec = FrameSpec(None, order, 16, white_level)
    pictures = check_pictures(stack, spec, found.count)
    around = None if ambient is None else check_pictures([*pictures[:1], ambient], spec, 2)[1]
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.dtype != np.bool_):
        raise FrameError("the mask is no mask", expected="an array of bool", got=getattr(mask, "dtype", type(mask)))
    if mask is not None and mask.shape != pictures[0].shape[:2]:
        raise FrameError("the mask has another size than the pictures", expected=pictures[0].shape[:2], got=mask.shape)
    return solve(pictures, found, spec, method, around, mask, pool)


def solve(
    pictures: Sequence[Pixels],
    lights: LightsSpec,
    spec: FrameSpec,
    method: str,
    ambient: Pixels | None = None,
    mask: NDArray[np.bool_] | None = None,
    pool: Pool | None = None,
) -> Normals:
    """`normals` of pictures that `check_pictures` gave."""
    wide = pictures[0].dtype == np.uint16
    white = float(spec.white_level) if wide else 255.0
    strength = intensities_of(lights)  # R, G, B
    strength = strength / strength.mean()
    if pictures[0].ndim == 2:
        scales = 1.0 / strength.mean(axis=1, keepdims=True)
    else:
        scales = 1.0 / (3.0 * (strength if spec.color_order == "rgb" else strength[:, ::-1]))
    fields = fields_of(lights, (pictures[0].shape[0], pictures[0].shape[1]))
    result = photometric(
        pictures,
        directions_of(lights),
        np.ascontiguousarray(scales / white, np.float32),
        robust=method == "robust",
        dark=_DARK[16 if wide else 8],
        white=white,
        ambient=ambient,
        gains=None if fields is None else np.asarray(1 / fields, np.float32),
        mask=mask,
        pool=pool,
    )
    return Normals(*result)


def check_pictures(stack: object, spec: FrameSpec, count: int, name: str = "the stack") -> list[Pixels]:
    """The pictures of a stack, each (H, W) or (H, W, 3), of one size and dtype, in the colour order of `spec`.

    Args:
        stack: as `normals` takes it.
        spec: the pictures that are accepted.
        count: how many there must be.
        name: for messages.

    Raises:
        FrameError: a picture cannot be used, or they do not fit together.
    """
    unordered = isinstance(stack, (str, bytes, os.PathLike, Set, Mapping))
    if unordered or not hasattr(stack, "__len__") or not hasattr(stack, "__iter__"):
        raise FrameError(
            f"{name} is no stack of pictures", expected=f"{count} pictures in order", got=type(stack).__name__
        )
    given: list[Any] = list(stack)
    if len(given) != count:
        raise FrameError(
            f"{name} is incomplete" if len(given) < count else f"{name} has too many pictures",
            expected=f"{count} pictures, in the order of the lights",
            got=len(given),
        )
    pictures = [
        read_picture(item, spec)
        if isinstance(item, (str, os.PathLike))
        else _rows_together(check_frame(item, spec, f"picture {i} of {name}"))
        for i, item in enumerate(given, 1)
    ]
    first = pictures[0]
    for i, picture in enumerate(pictures, 1):
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise FrameError(
                f"picture {i} of {name} is not like the first one",
                expected=f"{first.shape} {first.dtype}",
                got=f"{picture.shape} {picture.dtype}",
                remedy="Take all pictures with one camera and one setting.",
            )
    return pictures


def _rows_together(picture: Pixels) -> Pixels:
    """The picture with the pixels of a row next to each other, as the native core needs them; mirrored ones, channels
    in the other order and every second pixel are views without."""
    inner = (picture.itemsize,) if picture.ndim == 2 else (3 * picture.itemsize, picture.itemsize)
    together: Any = picture if picture.strides[1:] == inner else np.ascontiguousarray(picture)
    return together


def require_light(pictures: Sequence[Pixels], name: str = "the stack") -> None:
    """Refuses a stack with a picture in which its light failed, or one picture twice.

    Raises:
        FrameError: names the picture.
    """
    means = [float(picture[::4, ::4].mean()) for picture in pictures]
    typical = float(np.median(means))
    for i, mean in enumerate(means, 1):
        if mean <= _FAILED * typical or typical == 0:
            raise FrameError(
                f"picture {i} of {name} is dark",
                expected=f"more than {_FAILED:g} of the median picture's brightness, {typical:.3g}",
                got=f"{mean:.3g}",
                remedy="Did the light come on?",
            )
    seen: dict[bytes, int] = {}
    for i, picture in enumerate(pictures, 1):
        rows = np.ascontiguousarray(picture[:: max(1, picture.shape[0] // 8)])
        first = seen.setdefault(rows.tobytes(), i)
        if first != i and rows.min() != rows.max() and np.array_equal(picture, pictures[first - 1]):
            raise FrameError(
                f"pictures {first} and {i} of {name} are the same",
                expected="a picture under each light",
                got="one picture twice",
                remedy="Did the camera give an old picture again, or one light twice?",
            )
