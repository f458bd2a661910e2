"""The command line of an export: what it reads, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from edge_ad.calibration.rules import RATE_HELP, RULES, usual_rules, usual_values
from edge_ad.engines import TARGETS
from edge_ad.frames.photometric import METHODS as NORMALS
from edge_ad.registry import BASE_PRECISION, METHODS, PRECISIONS, Option, one_of
from edge_ad.spec import DISTANCES, MOTIONS, RESIZES, Size
from edge_ad.system.command_line import Parser, given_path
from export.options import EMBEDDED, INPUTS, LAYOUTS, RELIEF, Options, method_options


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
    parser = Parser(
        prog="python -m export",
        description="Makes a bundle from images of good parts: python -m export cable --to openvino",
        formatter_class=_Help,
    )
    add = parser.add_argument
    add("category", help="folder of images, or a name under --data, $EDGE_AD_DATA, ./data or ./data/mvtec_ad")
    add("--to", choices=tuple(TARGETS), default=d.to, help="engines that the bundle is made for")
    add("--data", type=given_path, help="folder that holds the categories")
    add("--out", type=given_path, help="the bundle to write; by default ./CATEGORY.bundle")
    add("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    _add_backbone(parser, d)
    _add_method(parser, d)
    _add_threshold(parser, d)
    _add_choice(parser, d)
    _add_points(parser, d)
    _add_frames(parser, d)
    _add_stacks(parser, d)
    _add_region(parser, d)
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


def _add_stacks(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("stacks of pictures under several lights").add_argument
    add(
        "--input",
        choices=INPUTS,
        default=d.input,
        help="what a frame is: an image, or photometric: a folder with a picture of the part under each light, which "
        "become a normal map",
    )
    add(
        "--lights",
        type=given_path,
        metavar="FILE",
        help="the lights of --input photometric: lights.json of `edge-ad lights`",
    )
    add(
        "--normals",
        choices=NORMALS,
        default=d.normals,
        help="how normals are found: robust weights shadows and highlights down",
    )
    add("--ambient", action="store_true", help="each stack has one picture more, without the lights, to subtract")


def _add_region(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("region of interest").add_argument
    add(
        "--roi",
        help="region of interest: y0,x0,y1,x1, a mask image (white keeps), a polygon.json or a labelme file; or auto, "
        "which finds the part before a plain background in the good images",
    )
    add(
        "--roi-margin",
        type=float,
        default=d.roi_margin,
        metavar="PERCENT",
        help="margin of --roi auto around the part, of the longer side; below 0 the region ends inside the part",
    )
    add(
        "--roi-preview",
        type=given_path,
        metavar="FILE.png",
        help="write a picture of the region there; by default --roi auto writes it beside the bundle, as NAME.roi.png",
    )
    add(
        "--halo",
        type=int,
        default=d.halo,
        metavar="PX",
        help="margin around the ROI, pixels at the input size",
    )
    add(
        "--align",
        choices=MOTIONS,
        help="find the part in each frame and move the frame so that it lies as in a reference, which is made of the "
        "good images; the region follows the part. shift: parts do not turn; similarity: they also turn, up to 20 "
        "degrees, and change size, up to 10%%",
    )
    add(
        "--align-to",
        type=given_path,
        metavar="IMAGE",
        help="good image that --roi was drawn on, with which the others are aligned; by default the most typical one",
    )


def _add_backbone(parser: argparse.ArgumentParser, d: Options) -> None:
    add = parser.add_argument_group("backbone").add_argument
    add(
        "--backbone",
        help=f"{EMBEDDED} (comes with the package, needs no torch), a torchvision model, or your own .onnx file; "
        f"for normal maps also {RELIEF}, fixed filters for scratches and dents, best with --method padim; "
        f"by default {EMBEDDED}, or resnet18 if --weights is a file, or chosen by evidence if it is a folder",
    )
    add("--layers", nargs="+", help="layers or ONNX tensors to take features from; not needed for common backbones")
    add(
        "--weights",
        type=given_path,
        help="state dict of the torchvision model, or a folder with some; by default its ImageNet weights",
    )
    add(
        "--layout",
        choices=LAYOUTS,
        default=d.layout,
        help="where the layers have their channels; found by the operators and sizes, and asked for where those do not "
        "tell",
    )
    add(
        "--prefix-tokens",
        type=int,
        metavar="N",
        help="tokens of a vision transformer before those of the patches, such as a class token and registers; counted "
        "by default",
    )
    add(
        "--distance",
        choices=DISTANCES,
        default=d.distance,
        help="how patches are compared: cosine brings each to length 1, so that only its direction counts",
    )
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
        help=f"how the threshold is chosen (default: {usual_rules()})",
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
