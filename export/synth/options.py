"""What synthetic defects can be asked for, and the command line that asks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from edge_ad.errors import SpecError
from edge_ad.spec.base import Range, check_fields
from edge_ad.system.command_line import Parser, given_path
from export.synth.defect import CONTRASTS, KINDS, SIZES, check_kind

COUNT = Range(1, 10_000)


@dataclass(frozen=True)
class SynthOptions:
    """Options of `python -m export.synth`, whose help says what each means.

    Raises:
        SpecError: one is out of its range.
    """

    images: Path
    out: Path
    kinds: tuple[str, ...] = tuple(KINDS)
    sizes: Annotated[tuple[float, ...], SIZES] = (0.02, 0.05, 0.1, 0.2)
    contrasts: Annotated[tuple[float, ...], CONTRASTS] = (0.05, 0.15, 0.4)
    count: Annotated[int, COUNT] = 1
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    roi: str | None = None
    sheet: bool = False

    def __post_init__(self) -> None:
        check_fields(self, lambda name: f"--{name}")
        for kind in self.kinds:
            check_kind(kind)
        for name in ("kinds", "sizes", "contrasts"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or not values:
                got = ",".join(map(str, values)) or "nothing"
                raise SpecError(f"--{name} names one twice, or none", expected="each once", got=got)


def parse_options(arguments: Sequence[str] | None = None) -> SynthOptions:
    """Options from command-line arguments; prints usage and exits with 2 where they are not understood.

    Raises:
        SpecError: one is out of its range.
    """
    return SynthOptions(**vars(_parser().parse_args(arguments)))


def list_of(read: Callable[[str], Any], what: str) -> Callable[[str], tuple[Any, ...]]:
    """A reader of a list A,B for argparse: `read` reads each part, `what` they are stands in its message."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(read(part.strip()) for part in text.split(",") if part.strip())
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {what}: A,B") from None

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m export.synth",
        description="Puts synthetic defects with exact masks on good images, in the layout of MVTec AD. "
        "Stacks of pictures under several lights: python -m export.synth --heights --help.",
    )
    add, numbers = parser.add_argument, list_of(float, "numbers")
    add("images", type=given_path, metavar="GOOD_IMAGES", help="folder of good images, best held out from the export")
    add("--out", type=given_path, required=True, metavar="DIR", help="folder to write; it must be new or empty")
    add(
        "--kinds",
        type=list_of(str, "kinds"),
        default=argparse.SUPPRESS,
        metavar="A,B",
        help=f"kinds of defects, out of {', '.join(KINDS)}; by default all",
    )
    add(
        "--sizes",
        type=numbers,
        default=SynthOptions.sizes,
        metavar="X,Y",
        help=f"largest extents, as parts of the frame's shorter side, {SIZES.text}",
    )
    add(
        "--contrasts",
        type=numbers,
        default=SynthOptions.contrasts,
        metavar="X,Y",
        help=f"changes of pixel values as parts of white, {CONTRASTS.text}: 0.03 is barely visible, 0.4 plain",
    )
    add("--count", type=int, default=SynthOptions.count, help="defects of each kind, size and contrast")
    add("--seed", type=int, default=SynthOptions.seed, help="other places and shapes; same seed, same bytes")
    add("--roi", help="where defects may be: y0,x0,y1,x1, a mask image, or a polygon.json; by default on the object")
    add("--sheet", action="store_true", help="write a contact sheet of each kind too, to look at")
    return parser
