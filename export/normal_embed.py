"""``normal_embed.json``: the format in which tools that learn from good images exchange a centroid.

One object: `backbone` (name), `input_size` (224, or [H, W] where it is no square), `mean` and `std` (R, G, B of pixels
in 0..1), `centroid` (D numbers, of length 1), `threshold` (of 1 - cosine). A file says nothing about layers and
pooling: its numbers have a meaning only with the graph that made them.
"""

from __future__ import annotations

import json
import math
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import SpecError
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, Size, require
from edge_ad.system.files import write_output

_MAX_BYTES = 2**24


@dataclass(frozen=True)
class NormalEmbed:
    """What the file says. `input_size` is (H, W); a frame is anomalous from `threshold` on."""

    backbone: str
    input_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    centroid: tuple[float, ...]
    threshold: float

    def __post_init__(self) -> None:
        require(
            len(self.input_size) == 2 and all(MIN_FRAME_SIDE <= side <= MAX_SIDE for side in self.input_size),
            "input_size is out of range",
            expected=f"a side or (H, W), each {MIN_FRAME_SIDE}..{MAX_SIDE}",
            got=self.input_size,
        )
        numbers = (*self.mean, *self.std)
        require(
            len(self.mean) == len(self.std) == 3 and all(map(math.isfinite, numbers)) and min(self.std) > 0,
            "mean or std is not a normalisation",
            expected="three finite numbers each, std above 0",
            got=numbers,
        )
        length = math.hypot(*self.centroid)
        require(abs(length - 1) < 1e-3, "centroid does not have length 1", expected="1", got=length)
        require(0 < self.threshold <= 2, "threshold is out of range", expected="above 0, at most 2", got=self.threshold)


def write_normal_embed(path: Path, embed: NormalEmbed) -> None:
    """Writes the file as `write_output` does.

    Raises:
        EdgeADError: it cannot be written.
    """
    height, width = embed.input_size
    document = {
        "backbone": embed.backbone,
        "input_size": height if height == width else [height, width],
        "mean": embed.mean,
        "std": embed.std,
        "centroid": embed.centroid,
        "threshold": embed.threshold,
    }
    write_output(path, [json.dumps(document).encode()])


def read_normal_embed(path: Path) -> NormalEmbed:
    """The content of a file, which another tool may have written. Unknown keys are ignored.

    Raises:
        SpecError: it cannot be read, or does not have this form.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
        require(len(raw) <= _MAX_BYTES, f"{path} is too large", expected=f"{_MAX_BYTES} bytes at most", got="more")
        document = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path} cannot be read", expected="the JSON of a centroid", got=f"{error!s:.200}") from error
    require(isinstance(document, dict), f"{path} is not a centroid", expected="an object", got=document)
    sides = document.get("input_size")
    size = (sides, sides) if type(sides) is int else _numbers(document, "input_size", int)
    name = document.get("backbone")
    require(isinstance(name, str), "backbone is no name", expected="text", got=name)
    return NormalEmbed(
        backbone=document["backbone"],
        input_size=size,
        mean=_numbers(document, "mean"),
        std=_numbers(document, "std"),
        centroid=_numbers(document, "centroid"),
        threshold=_numbers({"threshold": [document.get("threshold")]}, "threshold")[0],
    )


def _numbers(document: dict[str, Any], name: str, *kinds: type) -> tuple[Any, ...]:
    values = document.get(name)
    if not (isinstance(values, list) and all(type(value) in (kinds or (int, float)) for value in values)):
        raise SpecError(f"{name} is missing or not numbers", expected="numbers", got=reprlib.repr(values))
    try:
        return tuple(values) if kinds else tuple(map(float, values))
    except OverflowError as error:  # an integer of more than 308 digits
        raise SpecError(f"{name} has a number that is too large", expected="numbers", got=f"{error}") from error
