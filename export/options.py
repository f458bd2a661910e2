"""The options of an export. `export.command_line` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from edge_ad.calibration.rules import rule_of
from edge_ad.engines import TARGETS
from edge_ad.errors import SpecError
from edge_ad.frames.photometric import METHODS as NORMALS
from edge_ad.registry import BASE_PRECISION, METHODS, PRECISIONS, Option, one_of
from edge_ad.spec import DISTANCES, MAX_SIDE, MIN_FRAME_SIDE, MOTIONS, RESIZES, Size
from edge_ad.spec.base import OneOf, Range, check_fields, require
from edge_ad.spec.frame import WHITE_LEVELS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EMBEDDED = "edge-s"
RELIEF = "relief"  # fixed filters on normal maps: `export.relief`
LAYOUTS = ("auto", "channels-first", "channels-last")  # of layers with a height and a width
EFFORTS = ("usual", "quick", "thorough")  # how much is tried before the choice of what the options leave open
INPUTS = ("image", "photometric")
FLAGS = {"rule": "threshold_rule", "value": "threshold_value"}  # options whose flag has another name
_OF_BACKBONES = ("backbone", "layers", "weights", "layout", "prefix_tokens", "mean", "std")


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
    layout: Annotated[str, OneOf(LAYOUTS)] = "auto"
    prefix_tokens: Annotated[int, Range(0, 2**16)] | None = None
    distance: Annotated[str, OneOf(DISTANCES)] = DISTANCES[0]
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
    roi_margin: Annotated[float, Range(-20, 50)] = 2.0
    roi_preview: Path | None = None
    halo: Annotated[int, Range(0, MAX_SIDE)] = 16
    input: Annotated[str, OneOf(INPUTS)] = INPUTS[0]
    lights: Path | None = None
    normals: Annotated[str, OneOf(NORMALS)] = NORMALS[0]
    ambient: bool = False
    align: Annotated[str, OneOf(MOTIONS)] | None = None
    align_to: Path | None = None
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
        if self.distance not in METHODS[self.method].distances:
            able = one_of(METHODS.having(lambda method: self.distance in method.distances))
            raise SpecError(f"--distance {self.distance} is for --method {able}", expected=able, got=self.method)
        for option in method_options():
            value = self.own[option.name]
            option.check(value)
            if option.output and value is not None and option not in METHODS[self.method].options:
                names = one_of(methods_with(option))
                raise SpecError(f"{option.flag} is for --method {names}", expected=names, got=self.method)
            if option.output and value is not None and self.second_size is not None:
                what = f"the file of {option.flag} describes one input size"
                raise SpecError(what, expected="no --second-size", got=self.second_size)

        self._check_input()
        if self.align_to is not None and self.align is None:
            what = "--align-to names the image that others are aligned with"
            raise SpecError(what, expected="--align too", got=self.align_to)
        if self.tiles is not None:
            self._check_tiles(self.tiles)
        if METHODS[self.method].own_network:
            self._check_own_network()
        if self.second_size is not None and self.input_size is None and self.tiles is None:
            what = "--second-size joins another size to --input-size"
            raise SpecError(what, expected="both, or neither", got=self.second_size)

    def _check_input(self) -> None:
        stacks = self.input == "photometric"
        if stacks != (self.lights is not None):
            raise SpecError(
                "--input photometric and --lights go together",
                expected="both, or neither",
                got=f"--input {self.input}, {'no --lights' if self.lights is None else f'--lights {self.lights}'}",
                remedy="Find the lights with `edge-ad lights`.",
            )
        if self.ambient and not stacks:
            raise SpecError("--ambient is for stacks", expected="--input photometric", got=f"--input {self.input}")
        if stacks and self.align is not None:
            raise SpecError("--align is for images, not for stacks", expected="no --align", got=self.align)
        if stacks and self.resize == "bicubic":
            raise SpecError("normal maps are resized by area averages", expected="no --resize", got=self.resize)

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

    def _check_own_network(self) -> None:
        """Refuses what a network that is trained here does not have."""
        defaults = {f.name: f.default for f in fields(self)}
        reasons = {
            **dict.fromkeys(_OF_BACKBONES, "it trains a network of its own and has no backbone"),
            **dict.fromkeys(("second_size", "more_sizes"), "it trains one network, for one input size"),
        }
        found = [(name, why) for name, why in reasons.items() if getattr(self, name) != defaults[name]]
        if self.calibration == "crossfit":
            found.append(("calibration", "each fold would take a training: a split is held out"))
        if any(PRECISIONS[point].own_models for point in self.points if point in PRECISIONS):
            found.append(("points", "its errors are small differences of pixels, which 8-bit numbers lose"))
        for name, why in found:
            flag, value = ("input_size", self.more_sizes) if name == "more_sizes" else (name, getattr(self, name))
            flag = f"--{flag.replace('_', '-')}"
            what = f"{flag} is not for --method {self.method}: {why}"
            given = ",".join(self.points) if name == "points" else value
            expected = f"one {flag}" if name == "more_sizes" else f"no {flag} {given}"
            raise SpecError(what, expected=expected, got=given)

    @property
    def backbone_name(self) -> str:
        """The wanted backbone; by default the embedded one, or resnet18 if a file of weights is given."""
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
