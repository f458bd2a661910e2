"""The lights of a station as arrays and as the file ``lights.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError, SpecError
from edge_ad.spec import LightsSpec, Size
from edge_ad.spec.codec import decode, encode, parse_json
from edge_ad.spec.lights import LEAST_LIGHTS, MOST_LIGHTS
from edge_ad.system.inputs import read_input

FORMAT = "edge-ad-lights"
VERSION = 1
_MOST_BYTES = 2**24


def make_lights(
    directions: object,
    intensities: object = None,
    fields: NDArray[np.floating[Any]] | None = None,
) -> LightsSpec:
    """Checked lights.

    Args:
        directions: (N, 3), towards each light; of any length above 0. N is 3 or more.
        intensities: (N,) or (N, 3) R, G, B, above 0; None if all are alike.
        fields: (N, h, w), above 0: how bright each light is at each place; None if it is even.

    Raises:
        SpecError: the arrays are others, or the directions are near one plane, which leaves a normal open.
    """
    towards, strength = _numbers("directions", directions), None
    if towards.ndim != 2 or towards.shape[1] != 3:
        raise SpecError("the directions are no lights", expected="(N, 3) numbers", got=towards.shape)
    count = len(towards)
    if not LEAST_LIGHTS <= count <= MOST_LIGHTS:
        raise SpecError("the lights are too few or too many", expected=f"{LEAST_LIGHTS}..{MOST_LIGHTS}", got=count)
    with np.errstate(over="ignore"):  # told below
        lengths = np.linalg.norm(towards, axis=1, keepdims=True)
    bad = ~((lengths[:, 0] > 1e-6) & np.isfinite(lengths[:, 0]))
    if bad.any():
        raise SpecError("a light has no direction", expected="x, y, z, not all 0", got=towards[bad])
    if intensities is not None:
        strength = _numbers("intensities", intensities)
        strength = np.repeat(strength[:, None], 3, axis=1) if strength.ndim == 1 else strength
        if strength.shape != (count, 3):
            raise SpecError(
                "the intensities do not fit the lights", expected=f"({count},) or ({count}, 3)", got=strength.shape
            )
    towards = towards / lengths
    return LightsSpec(
        directions=tuple(float(f"{value:.9g}") for value in towards.ravel()),
        intensities=(1.0,) * (3 * count) if strength is None else tuple(map(float, strength.ravel())),
        field_size=None if fields is None else (int(fields.shape[1]), int(fields.shape[2])),
        fields=() if fields is None else tuple(float(f"{value:.6g}") for value in np.asarray(fields).ravel()),
    )


def directions_of(lights: LightsSpec) -> NDArray[np.float64]:
    """(N, 3) unit vectors."""
    return np.array(lights.directions, np.float64).reshape(-1, 3)


def intensities_of(lights: LightsSpec) -> NDArray[np.float64]:
    """(N, 3) R, G, B."""
    return np.array(lights.intensities, np.float64).reshape(-1, 3)


def fields_of(lights: LightsSpec, size: Size) -> NDArray[np.float32] | None:
    """(N, H, W) float32 fields at the (H, W) `size` of a picture; None if the lights are even."""
    if lights.field_size is None:
        return None
    fields = np.array(lights.fields, np.float32).reshape(-1, *lights.field_size)
    return np.stack([cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for field in fields])


def angles_between(one: LightsSpec, other: LightsSpec) -> NDArray[np.float64]:
    """(N,) degrees between the directions of two calibrations of the same lights.

    Raises:
        SpecError: they have other numbers of lights.
    """
    if one.count != other.count:
        raise SpecError("the lights are not the same", expected=f"{one.count} lights", got=other.count)
    cosines = (directions_of(one) * directions_of(other)).sum(axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1, 1))))


def lights_to_json(lights: LightsSpec) -> bytes:
    """The bytes of ``lights.json``."""
    return (
        json.dumps({"format": FORMAT, "version": VERSION, **encode(lights)}, separators=(", ", ": ")).encode() + b"\n"
    )


def read_lights(path: str | os.PathLike[str]) -> LightsSpec:
    """The lights of a ``lights.json``, or of a text file with x y z in each line (and a count before, or not).

    Raises:
        FrameError: it cannot be read.
        SpecError: it holds no lights; names the file.
    """
    name = os.fspath(path)
    try:
        data = read_input(name, most=_MOST_BYTES)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise FrameError(f"cannot read {name}", expected="a file of lights", got=got) from error
    try:
        text = data.decode("utf-8-sig")  # editors of Windows begin a file with a mark
        return _from_json(text) if text.lstrip().startswith("{") else make_lights(rows_of(text))
    except (ValueError, RecursionError, SpecError) as error:
        raise SpecError(
            f"{name} holds no lights",
            expected="a lights.json of `edge-ad lights`, or x y z of a light in each line",
            got=error,
        ) from error


def rows_of(text: str) -> list[list[float]]:
    """The numbers of a text, line by line; a first line with nothing but the count of the others is left out.

    Raises:
        ValueError: something is no number.
    """
    rows = [[float(word) for word in line.replace(",", " ").split()] for line in text.splitlines() if line.strip()]
    return rows[1:] if rows and len(rows[0]) == 1 and rows[0][0] == len(rows) - 1 and len(rows[-1]) > 1 else rows


def _from_json(text: str) -> LightsSpec:
    document = parse_json(text)
    assert isinstance(document, dict), "it begins with a brace"
    found = (document.get("format"), document.get("version"))
    if found != (FORMAT, VERSION) or type(found[1]) is not int:
        raise SpecError("the file is of another format", expected=(FORMAT, VERSION), got=found)
    return decode(LightsSpec, document, "lights")


def _numbers(name: str, value: object) -> NDArray[np.float64]:
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} are no numbers", expected="an array of numbers", got=type(value).__name__) from error
    if not np.isfinite(found).all():
        raise SpecError(f"{name} are not finite", expected="finite numbers", got="NaN or Inf")
    return found


def as_lights(lights: LightsSpec | Sequence[Sequence[float]] | NDArray[Any], intensities: object = None) -> LightsSpec:
    """Lights that a caller gave as `make_lights` takes them, or ready made."""
    if isinstance(lights, LightsSpec):
        if intensities is not None:
            fields = None if lights.field_size is None else np.array(lights.fields).reshape(-1, *lights.field_size)
            return make_lights(directions_of(lights), intensities, fields)
        return lights
    return make_lights(lights, intensities)
