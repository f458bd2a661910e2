"""What a distillation can be asked for, and the command line that asks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_ad.system.command_line import Parser, given_path

TRUNK_TEACHER = "mobilenet_v2"  # the first teacher: the trunk is shaped like it


@dataclass(frozen=True)
class Recipe:
    """What decides the result; a checkpoint goes on only under the same recipe. The help says what each is."""

    teacher: str = "resnet18"
    trunk: float = 0.1
    steps: int = 8000
    batch: int = 16
    size: int = 192
    rate: float = 1e-3
    decay: float = 1e-2
    seed: int = 0
    textures: int = 900
    bf16: bool = False


@dataclass(frozen=True)
class DistillOptions:
    """A recipe, and where and how to follow it."""

    recipe: Recipe
    images: Path
    out: Path
    layers: tuple[str, ...] | None
    weights: Path | None
    trunk_weights: Path | None
    start: Path | None
    resume: bool
    every: int
    threads: int | None
    device: str | None


def parse_options(arguments: Sequence[str] | None = None) -> DistillOptions:
    """Options from command-line arguments; prints usage and exits with 2 where they are not understood."""
    values = vars(_parser().parse_args(arguments))
    recipe = Recipe(**{name: values.pop(name) for name in asdict(Recipe())})
    layers = values.pop("layers")
    return DistillOptions(recipe, layers=None if layers is None else tuple(layers), **values)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m export.distill",
        description="Trains a small backbone that starts as a MobileNetV2 to give a second network's patches too, and "
        "writes it as ONNX.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("images", type=given_path, help="folder of photographs; a thousand of many kinds are enough")
    add(
        "--out",
        type=given_path,
        default=Path("edge-s.onnx"),
        help="the ONNX file to write; a .csv and a .ckpt go beside it",
    )
    add("--layers", nargs=2, help="the second teacher's nodes at strides 8 and 16; by default those PatchCore uses")
    add("--weights", type=given_path, help="the second teacher's state dict; by default torchvision's")
    add("--trunk-weights", type=given_path, help="MobileNetV2's state dict; by default torchvision's")
    add("--start", type=given_path, help="a checkpoint to take the student's weights from, whatever its recipe")
    add("--resume", action="store_true", help="go on from the checkpoint beside --out")
    add("--every", type=_positive, default=250, help="steps from one checkpoint and ONNX file to the next")
    add("--threads", type=_positive, help="threads of torch in each of two workers; by default one for each core")
    add("--device", help="cpu or cuda; by default cuda where there is one")
    _add_recipe(parser.add_argument_group("recipe"))
    return parser


def _add_recipe(group: argparse._ArgumentGroup) -> None:
    d, add = Recipe(), group.add_argument
    add("--teacher", default=d.teacher, help="the second teacher: a torchvision network")
    add("--trunk", type=float, default=d.trunk, help="the trunk's share of the learning rate; 0 leaves it as it is")
    add("--steps", type=_positive, default=d.steps, help="training steps in all")
    add("--batch", type=_positive, default=d.batch, help="crops in a step")
    add("--size", type=_positive, default=d.size, help="pixels of a crop's side, divisible by 16")
    add("--rate", type=float, default=d.rate, help="highest learning rate of the cycle")
    add("--decay", type=float, default=d.decay, help="weight decay")
    add("--seed", type=int, default=d.seed, help="seed of every random choice")
    add("--textures", type=int, default=d.textures, help="procedural textures to make")
    add("--bf16", action="store_true", help="arithmetic in bf16: faster where the CPU or GPU has it")
