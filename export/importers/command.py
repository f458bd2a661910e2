"""`python -m export.importers FILE_OR_FOLDER --data CATEGORY --out X.bundle`: its options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from edge_ad.calibration.rules import RATE_HELP
from edge_ad.engines import TARGETS
from edge_ad.errors import BackboneError
from edge_ad.registry import one_of
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE
from edge_ad.spec.base import Range
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.files import is_stdout
from edge_ad.system.names import printable_lines
from edge_ad.system.notices import show_image_warnings
from export.options import Options
from export.summary import Summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Imports a model; returns the exit code.

    Raises:
        EdgeADError: something is wrong with the file, the options or the images.
    """
    summary = _import(arguments)
    # if the bundle goes to the standard output, no text may be mixed with it
    print(printable_lines(str(summary)), file=sys.stderr if is_stdout(summary.bundle) else sys.stdout)
    return 0


def _import(arguments: Sequence[str] | None) -> Summary:
    given = _parser().parse_args(arguments)
    for name, sides in (("--resize", (given.resize,)), ("--input-size", given.input_size or ())):
        for side in sides:
            if side is not None:
                Range(MIN_FRAME_SIDE, MAX_SIDE).check(side, name)
    names = ("to", "out", "weights", "false_reject", "skip_bad", "seed", "threads", "color_order", "graph")
    options = Options(str(given.data), **{name: getattr(given, name) for name in names})
    if find_spec("onnx") is None:
        raise BackboneError(
            "importing needs the package onnx",
            expected="onnx",
            got="not installed",
            remedy="Run pip install 'edge-ad[export]' on the workstation.",
        )
    from export.importers.base import Asked, View  # imported late, so that --help and errors in options are fast
    from export.importers.make import Source, make_bundle
    from export.importers.registry import read_model

    view = None if given.input_size is None else View(size=tuple(given.input_size))
    imported = read_model(given.model, Asked(given.weights, given.resize, view))
    with show_image_warnings():
        return make_bundle(imported, Source(given.model, given.weights), options)


def _parser() -> Parser:
    from export.importers.registry import FORMATS

    d = Options("")
    parser = Parser(
        prog="python -m export.importers",
        description=f"Makes a bundle of a model that another tool has trained: {one_of(tuple(FORMATS))}. The file is "
        "recognised by its content, and nothing in it is run.",
    )
    add = parser.add_argument
    add("model", type=given_path, metavar="FILE_OR_FOLDER", help="the files of the model")
    add(
        "--data",
        required=True,
        metavar="CATEGORY",
        help="folder of good images, as python -m export takes it; best of images that the model has not seen",
    )
    add("--out", type=given_path, help="the bundle to write; by default ./CATEGORY.bundle")
    add("--to", choices=tuple(TARGETS), default=d.to, help=f"engines that the bundle is made for (default: {d.to})")
    add(
        "--weights",
        type=given_path,
        metavar="FILE",
        help="state dict of the backbone, or a folder with it, where the model does not bring it; by default the "
        "ImageNet weights of torchvision",
    )
    add("--resize", type=int, metavar="PX", help="shorter side of a frame before patchcore-inspection's centre crop")
    add(
        "--input-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="size that images were resized to, where a checkpoint of anomalib does not say it",
    )
    add("--false-reject", type=float, metavar="RATE", help=RATE_HELP)
    add("--no-graph", dest="graph", action="store_false", help="write no HNSW graph; exact search only")
    add("--color-order", choices=("bgr", "rgb"), default=d.color_order, help="of the arrays given to inspect()")
    add("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    add("--seed", type=int, default=d.seed, help="seed of every random choice")
    add("--threads", type=int, help="most threads to use; by default one for each physical core")
    return parser
