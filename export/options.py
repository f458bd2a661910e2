"""The options of an export, and its command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from edge_ad.calibration.rules import RATE_HELP, RULE, RULES, rule_of, usual_values
from edge_ad.engines import TARGETS
from edge_ad.errors import SpecError
from edge_ad.registry import BASE_PRECISION, METHODS, PRECISIONS, Option, one_of
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, RESIZES, Size
from edge_ad.spec.base import OneOf, Range, check_fields, require
from edge_ad.spec.frame import WHITE_LEVELS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EMBEDDED = "edge-s"
EFFORTS = ("usual", "quick", "thorough")  # how much is tried before the choice of what the options leave open
FLAGS = {"rule": "threshold_rule", "value": "threshold_value"}  # options whose flag has another name


@dataclass(frozen=True, init=False)
class Options:
    """Options of an export. The defaults are those of the command line; its help explains each option.

    The options of methods are declared with them (`edge_ad.registry.Method.options`) and stand in `own` by name; they
    are given and read like the others: ``Options("cable", neighbors=5).neighbors``.

    Raises:
        SpecError: one is out of its range, or there is no such option.
    """

    category: str
    to: Annotated[str, OneOf(TARGETS)] = "both"
    data: Path | None = None
    out: Path | None = None
    backbone: str | None = None
    layers: tuple[str, ...] | None = None
    weights: Path | None = None
    mean: Annotated[tuple[float, float, float], Range()] = IMAGENET_MEAN
    std: Annotated[tuple[float, float, float], Range(0, above=True)] = IMAGENET_STD
    input_size: Size | None = None
    second_size: Size | None = None
    more_sizes: tuple[Size, ...] = ()
    tiles: tuple[int, ...] | None = None
    resize: Annotated[str, OneOf(RESIZES)] = "bilinear"
    points: tuple[str, ...] = (BASE_PRECISION,)
    max_drop: Annotated[float, Range(0, 1)] = 0.005
    effort: Annotated[str, OneOf(EFFORTS)] = "usual"
    budget_ms: Annotated[float, Range(0, above=True)] = 50.0
    method: Annotated[str, OneOf(METHODS)] = next(iter(METHODS))
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    rule: str | None = None
    value: float | None = None
    false_reject: float | None = None
    drop_outliers: bool = False
    calibration: Annotated[str, OneOf(("auto", "split", "crossfit"))] = "auto"
    roi: str | None = None
    halo: Annotated[int, Range(0, MAX_SIDE)] = 16
    color_order: Annotated[str, OneOf(("bgr", "rgb"))] = "bgr"
    bit_depth: int | None = None
    white_level: Annotated[int, WHITE_LEVELS] = 65535
    skip_bad: bool = False
    threads: Annotated[int, Range(1, 1024)] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, category: str, **values: Any) -> None:
        declared = {option.name: option for option in method_options()}
        own = {name: option.default for name, option in declared.items()} | dict(values.pop("own", {}))
        general = {f.name: f.default for f in fields(self)} | {"category": category}
        for name, value in values.items():
            require(name in declared or name in general, "there is no such option", expected="another", got=name)
            (own if name in declared else general)[name] = value
        for name, value in {**general, "own": own}.items():
            object.__setattr__(self, name, value)
        self._check()

    def __getattr__(self, name: str) -> Any:
        """The value of an option of a method."""
        own = self.__dict__.get("own", {})  # missing in a copy that is not complete yet
        if name in own:
            return own[name]
        raise AttributeError(f"there is no option {name}")

    def _check(self) -> None:
        check_fields(self, lambda name: f"--{FLAGS.get(name, name).replace('_', '-')}")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise SpecError("--mean or --std is no normalisation", expected="3 numbers each", got=(self.mean, self.std))
        self.rule_for()
        for option in method_options():
            value = self.own[option.name]
            option.check(value)
            if option.output and value is not None and option not in METHODS[self.method].options:
                names = one_of(methods_with(option))
                raise SpecError(f"{option.flag} is for --method {names}", expected=names, got=self.method)
            if option.output and value is not None and self.second_size is not None:
                what = f"the file of {option.flag} describes one input size"
                raise SpecError(what, expected="no --second-size", got=self.second_size)

        if self.tiles is not None:
            self._check_tiles(self.tiles)
        if self.second_size is not None and self.input_size is None and self.tiles is None:
            what = "--second-size joins another size to --input-size"
            raise SpecError(what, expected="both, or neither", got=self.second_size)

    def _check_tiles(self, tiles: tuple[int, ...]) -> None:
        whole = len(tiles) in (2, 3) and all(type(value) is int for value in tiles)
        if not whole or not all(MIN_FRAME_SIDE <= side <= MAX_SIDE for side in tiles[:2]) or min(tiles) < 0:
            expected = f"H,W or H,W,overlap in pixels, H and W each {MIN_FRAME_SIDE}..{MAX_SIDE}"
            raise SpecError("--tiles is out of range", expected=expected, got=tiles)
        if len(tiles) == 3 and tiles[2] >= min(tiles[:2]):
            what = "the overlap of --tiles is as large as a tile"
            raise SpecError(what, expected=f"less than {min(tiles[:2])}", got=tiles[2])
        able = METHODS.having(lambda method: method.tiles)
        if self.method not in able:
            raise SpecError(
                f"{self.method} does not work on tiles",
                expected=f"--method {one_of(able)}, which judge each patch by itself, wherever it lies",
                got=f"--method {self.method} with --tiles",
            )

    @property
    def backbone_name(self) -> str:
        """The wanted backbone; by default the embedded one, or resnet18 if weights are given."""
        return self.backbone or (EMBEDDED if self.weights is None else "resnet18")

    def rule_for(self, n: int | None = None) -> tuple[str, float]:
        """The threshold rule and its value, for n held-out good images if their number is known."""
        return rule_of(self.rule, self.value, self.false_reject, self.method, n)

    @property
    def outputs(self) -> list[tuple[str, Path]]:
        """Option flag -> file, for options of the method that write further files."""
        found = [(option.flag, self.own[option.name]) for option in METHODS[self.method].options if option.output]
        return [(flag, path) for flag, path in found if path is not None]


def method_options() -> list[Option]:
    """The options of all methods in their order, each once."""
    found: dict[str, Option] = {}
    for method in METHODS.values():
        for option in method.options:
            found.setdefault(option.flag, option)
    return [*found.values()]


def methods_with(option: Option) -> tuple[str, ...]:
    """Names of the methods that have an option of that flag."""
    return METHODS.having(lambda method: option.flag in [own.flag for own in method.options])


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Options from command-line arguments. If they are wrong, it prints the usage and exits with 2."""
    values = vars(_parser().parse_args(arguments))
    if values["layers"] is not None:
        values["layers"] = tuple(values["layers"])
    for name in ("mean", "std"):
        values[name] = tuple(values[name])
    values["input_size"], *more = values["input_size"] or [None]
    return Options(**values, more_sizes=tuple(more))


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults in the help, except None, True and False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        if isinstance(action.default, tuple):
            return f"{action.help} (default: {','.join(map(str, action.default))})"
        return super()._get_help_string(action)


def _size(text: str) -> Size:
    parts = text.split(",")
    if len(parts) not in (1, 2) or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give N or H,W in pixels")
    return (int(parts[0]), int(parts[-1]))


def _tiles(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) not in (2, 3) or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no tiles: give H,W or H,W,overlap in pixels")
    return tuple(map(int, parts))


def _points(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    d = Options("")
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Makes a bundle from images of good parts: python -m export cable --to openvino",
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("category", help="folder of images, or a name under --data, $EDGE_AD_DATA, ./data or ./data/mvtec_ad")
    add("--to", choices=tuple(TARGETS), default=d.to, help="engines that the bundle is made for")
    add("--data", type=Path, help="folder that holds the categories")
    add("--out", type=Path, help="the bundle to write; by default ./CATEGORY.bundle")
    add("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    _add_backbone(parser, d)
    _add_method(parser, d)
    _add_threshold(parser, d)
    _add_choice(parser, d)
    _add_points(parser, d)
    _add_frames(parser, d)
    parser.add_argument("--seed", type=int, default=d.seed, help="seed of every random choice")
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")
    return parser


def _add_frames(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("frames").add_argument
    add(
        "--input-size",
        type=_size,
        action="append",
        metavar="H,W",
        help="size that a whole frame is resized to; give it more than once to add operating points at other sizes; "
        "by default one or two sizes are chosen by evidence, with the aspect ratio of the frames",
    )
    add(
        "--second-size",
        type=_size,
        metavar="H,W",
        help="look at each frame at this size too, and take the larger of the two scores; the points at the first "
        "--input-size do so, and those at further ones have one size. Then the first may be given again, alone",
    )
    add(
        "--tiles",
        type=_tiles,
        metavar="H,W[,OVERLAP]",
        help="cut large frames into tiles of this size, which go through the network one by one and make one map; then "
        "frames are not shrunk unless --input-size is given; by default the overlap is measured",
    )
    add(
        "--resize",
        choices=RESIZES,
        default=d.resize,
        help="filter that resizes a frame: area averages, or bilinear or bicubic with antialiasing, as Pillow has them",
    )
    add("--roi", help="region of interest: y0,x0,y1,x1, a mask image (white keeps), a polygon.json or a labelme file")
    add("--halo", type=int, default=d.halo, metavar="PX", help="margin around the ROI, pixels at the input size")
    add(
        "--color-order",
        choices=("bgr", "rgb"),
        default=d.color_order,
        help="colour order of the arrays given to inspect()",
    )
    add("--bit-depth", type=int, choices=(8, 16), help="bits of a pixel; by default 16 if an image has 16")
    add(
        "--white-level",
        type=int,
        default=d.white_level,
        help="u16 value that is white: 4095 for 12-bit cameras",
    )


def _add_backbone(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("backbone").add_argument
    add(
        "--backbone",
        help=f"{EMBEDDED} (comes with the package, needs no torch), a torchvision model, or your own .onnx file; "
        f"by default {EMBEDDED}, or resnet18 if --weights is given",
    )
    add("--layers", nargs="+", help="layers or ONNX tensors to take features from; not needed for common backbones")
    add("--weights", type=Path, help="state dict of the torchvision model; by default its ImageNet weights")
    add(
        "--mean",
        type=float,
        nargs=3,
        default=d.mean,
        metavar=("R", "G", "B"),
        help="mean that the network expects, for pixels in 0..1",
    )
    add(
        "--std",
        type=float,
        nargs=3,
        default=d.std,
        metavar=("R", "G", "B"),
        help="standard deviation that the network expects, for pixels in 0..1",
    )


def _add_method(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("method").add_argument
    add("--method", choices=tuple(METHODS), default=d.method, help="how patches become a score")
    for option in method_options():
        if option.flag.startswith("--no-"):
            add(option.flag, dest=option.name, action="store_false", help=_meaning(option))
        else:
            form = {"type": option.kind, "default": option.default, "metavar": option.metavar}
            add(option.flag, dest=option.name, help=_meaning(option), **form)


def _meaning(option: Option) -> str:
    """The meaning of an option for each method that has it: "patchcore and knn: share of the patches to keep"."""
    meanings: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        for own in method.options:
            if own.flag == option.flag:
                meanings.setdefault(own.help, []).append(name)
    return "; ".join(f"{one_of(tuple(names), 'and')}: {meaning}" for meaning, names in meanings.items())


def _add_threshold(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("threshold").add_argument
    add(
        "--threshold-rule",
        dest="rule",
        choices=tuple(RULES),
        help=f"how the threshold is chosen (default: {RULE})",
    )
    add(
        "--threshold-value",
        dest="value",
        type=float,
        help=f"parameter of the rule (default: {usual_values()})",
    )
    add("--false-reject", type=float, metavar="RATE", help=RATE_HELP)
    add(
        "--drop-outliers",
        action="store_true",
        help="leave odd good images out of coreset and threshold: held-out ones that score far above the others. The "
        "summary names them in any case",
    )
    add(
        "--calibration",
        choices=("auto", "split", "crossfit"),
        default=d.calibration,
        help="how images are held out for the threshold: split keeps a fifth out of the coreset, crossfit holds out "
        "each fourth in turn; auto takes crossfit below 500 images",
    )


def _add_choice(parser: argparse.ArgumentParser, d: Options) -> None:
    group = parser.add_argument_group(
        "choice", "Input sizes, local scale and smoothing are chosen by trials on held-out good images with synthetic "
        "defects, where they are not given."
    )  # fmt: skip
    group.add_argument(
        "--budget-ms",
        type=float,
        default=d.budget_ms,
        metavar="MS",
        help="what a frame may take on a small PC (2 cores, AVX2), by the model of cost",
    )
    effort = group.add_mutually_exclusive_group()
    for name, meaning in (("quick", "try nothing: seconds"), ("thorough", "try more, with more defects: much longer")):
        effort.add_argument(
            f"--{name}", dest="effort", action="store_const", const=name, default=d.effort, help=meaning
        )


def _add_points(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("operating points").add_argument
    add(
        "--points",
        type=_points,
        default=d.points,
        metavar="P,..",
        help=f"precisions of the operating points, some of {','.join(PRECISIONS)}; {BASE_PRECISION} is always made",
    )
    add(
        "--max-drop",
        type=float,
        default=d.max_drop,
        metavar="AUROC",
        help="largest loss of image AUROC by a precision, against f32 at the same input size; a point that loses more "
        "is left out",
    )
