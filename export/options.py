"""What an export can be asked for, and the command line that asks."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.calibration import CENTROID_PERCENTILE, RULES, usual_value
from edge_ad.spec import REFERENCE, Precision, Size

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EMBEDDED = "edge-s"
METHODS = ("patchcore", "padim", "spade", "knn", "centroid")
PRECISIONS: tuple[str, ...] = typing.get_args(Precision)


@dataclass(frozen=True)
class Options:
    """Options of an export; the defaults are those of the command line, whose help says what each means."""

    category: str
    to: str = "both"
    data: Path | None = None
    out: Path | None = None
    backbone: str | None = None
    layers: tuple[str, ...] | None = None
    weights: Path | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: Size = (256, 256)
    more_sizes: tuple[Size, ...] = ()
    points: tuple[str, ...] = (REFERENCE,)
    max_drop: float = 0.005
    method: str = "patchcore"
    coreset: float = 0.1
    channels: tuple[int, ...] | None = None
    neighbors: int | None = None
    gallery_images: int = 50
    normal_embed: Path | None = None
    seed: int = 0
    graph: bool = True
    reweight: int = 0
    rule: str = "percentile"
    value: float | None = None
    calibration: str = "auto"
    roi: str | None = None
    halo: int = 16
    color_order: str = "bgr"
    bit_depth: int | None = None
    white_level: int = 65535
    skip_bad: bool = False
    threads: int | None = None

    @property
    def backbone_name(self) -> str:
        """The backbone asked for; by default the embedded one, or resnet18 when weights are given."""
        return self.backbone or (EMBEDDED if self.weights is None else "resnet18")

    @property
    def rule_value(self) -> float:
        """The parameter of the threshold rule: `value`, or the rule's usual one."""
        return usual_value(self.rule, self.method) if self.value is None else self.value


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Options from command-line arguments; prints usage and exits with 2 where they are not understood."""
    values = vars(_parser().parse_args(arguments))
    if values["layers"] is not None:
        values["layers"] = tuple(values["layers"])
    for name in ("mean", "std"):
        values[name] = tuple(values[name])
    values["input_size"], *more = values["input_size"] or [Options.input_size]
    return Options(**values, more_sizes=tuple(more))


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something: not None, True or False."""

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


def _points(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _channels(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no channels: give a count, or several as 0,5,7")
    return tuple(int(part) for part in parts)


def _parser() -> argparse.ArgumentParser:
    d = Options("")
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Makes a bundle from images of good parts: python -m export cable --to openvino",
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("category", help="folder of images, or a name under --data, $EDGE_AD_DATA, ./data or ./data/mvtec_ad")
    add("--to", choices=("openvino", "onnx", "both"), default=d.to, help="engines that the bundle is made for")
    add("--data", type=Path, help="folder that holds the categories")
    add("--out", type=Path, help="the bundle to write; by default ./CATEGORY.bundle")
    add("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    _add_backbone(parser, d)
    _add_method(parser, d)
    _add_threshold(parser, d)
    _add_points(parser, d)
    add = parser.add_argument_group("frames").add_argument
    add(
        "--input-size",
        type=_size,
        action="append",
        metavar="H,W",
        help="size that a whole frame is resized to; give it again to add operating points at further sizes "
        f"(default: {d.input_size[0]},{d.input_size[1]})",
    )
    add("--roi", help="region of interest: y0,x0,y1,x1, a mask image (white keeps) or a polygon.json")
    add(
        "--halo",
        type=int,
        default=d.halo,
        metavar="PX",
        help="margin around the ROI, pixels at the input size",
    )
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
    parser.add_argument("--seed", type=int, default=d.seed, help="seed of every random choice")
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")
    return parser


def _add_backbone(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("backbone").add_argument
    add(
        "--backbone",
        help=f"{EMBEDDED} (comes with the package, needs no torch), a torchvision model, or your own .onnx file; "
        f"by default {EMBEDDED}, or resnet18 where --weights is given",
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
    add("--method", choices=METHODS, default=d.method, help="how patches become a score")
    add(
        "--coreset",
        type=float,
        default=d.coreset,
        metavar="FRACTION",
        help="patchcore and knn: share of the patches to keep",
    )
    add("--no-graph", dest="graph", action="store_false", help="patchcore: leave the HNSW graph out, exact search only")
    add(
        "--reweight",
        type=int,
        default=d.reweight,
        metavar="B",
        help="patchcore: neighbours that reweight the score (Eq. 7 of its paper; 9 is usual); 0: no reweighting",
    )
    add(
        "--channels",
        type=_channels,
        metavar="C|I,J,..",
        help="padim: how many channels, chosen at random, or a list of them; by default 100, wide_resnet50_2 550",
    )
    add(
        "--neighbors",
        type=int,
        metavar="K",
        help="knn: how many nearest patches are averaged, by default 3; spade: how many nearest images, by default 50",
    )
    add(
        "--gallery-images",
        type=int,
        default=d.gallery_images,
        metavar="N",
        help="spade: images whose patches are kept",
    )
    add("--normal-embed", type=Path, metavar="FILE.json", help="centroid: write the centroid as JSON too")


def _add_threshold(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("threshold").add_argument
    add(
        "--threshold-rule",
        dest="rule",
        choices=tuple(RULES),
        default=d.rule,
        help="how the threshold is chosen",
    )
    values = ", ".join(f"{rule} {value:g}" for rule, value in RULES.items() if value)
    add(
        "--threshold-value",
        dest="value",
        type=float,
        help=f"parameter of the rule (default: {values}; centroid: percentile {CENTROID_PERCENTILE:g})",
    )
    add(
        "--calibration",
        choices=("auto", "split", "crossfit"),
        default=d.calibration,
        help="how images are held out for the threshold: split keeps a fifth out of the coreset, crossfit holds out "
        "each fourth in turn; auto takes crossfit below 500 images",
    )


def _add_points(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("operating points").add_argument
    add(
        "--points",
        type=_points,
        default=d.points,
        metavar="P,..",
        help=f"precisions to make operating points in, out of {','.join(PRECISIONS)}; {REFERENCE} is always made",
    )
    add(
        "--max-drop",
        type=float,
        default=d.max_drop,
        metavar="AUROC",
        help="image AUROC that a point may lose against the reference; one that loses more is left out",
    )
