"""`edge-ad teach NAME|BUNDLE IMAGES...`: its options, and which of the two things it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.calibration.rules import RATE_HELP
from edge_ad.data.layouts import Category
from edge_ad.engines import TARGETS, installed_engines
from edge_ad.errors import BackboneError, BundleNotFoundError, SpecError
from edge_ad.registry import ENGINES, one_of
from edge_ad.spec import MOTIONS
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.files import check_new, check_outputs, is_stdout
from edge_ad.system.names import printable_lines
from edge_ad.system.notices import show_image_warnings
from edge_ad.system.versions import timestamp
from export.options import Options
from export.summary import Summary
from export.teach.images import find_images

_SUFFIX = ".bundle"
_PIP = "Run pip install 'edge-ad[teach]'."


@dataclass(frozen=True)
class Asked:
    """The command line.

    Attributes:
        target: a bundle, or the name of one to make.
        images, source: where the good images are.
        out, force: the bundle to write, and whether it may be there.
        options: the general ones of an export: seed, threads and the like.
    """

    target: Path
    images: list[Path]
    source: Path | None
    out: Path | None
    force: bool
    options: Options

    @property
    def again(self) -> bool:
        """Whether a bundle is there that is to learn more.

        Raises:
            BundleNotFoundError: it looks like a bundle, and is not there.
            SpecError: it is no name.
        """
        if os.path.isfile(self.target):  # unlike Path, it takes a name that is too long
            return True
        if self.target.name in ("", ".."):
            raise SpecError("a new bundle needs a name", expected="NAME, for NAME.bundle", got=self.target)
        if self.target.name.endswith(_SUFFIX):
            raise BundleNotFoundError(
                f"there is no bundle at {self.target}",
                remedy=f"Check the path; to make a new one give its name without {_SUFFIX}.",
            )
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Teaches; returns the exit code.

    Raises:
        EdgeADError: something is wrong with the options, the images or the bundle.
    """
    asked = _parse(arguments)
    _require_packages()
    timestamp()  # refuses a bad SOURCE_DATE_EPOCH
    with show_image_warnings():
        images = find_images(asked.images, asked.source)
        summary = _again(asked, images) if asked.again else _new(asked, images)
    print(printable_lines(str(summary)), file=sys.stderr if is_stdout(summary.bundle) else sys.stdout)
    return 0


def _parse(arguments: Sequence[str] | None) -> Asked:
    parser = Parser(
        prog="edge-ad teach",
        description="Makes NAME.bundle of a few good images in seconds: edge-ad teach cable photos/. Or adds good "
        "images to a bundle: edge-ad teach cable.bundle new/. It needs no torch.",
    )
    add = parser.add_argument
    add(
        "target", type=given_path, metavar="NAME|BUNDLE", help="name of a new bundle, or a bundle that is to learn more"
    )
    add(
        "images",
        type=given_path,
        nargs="*",
        metavar="IMAGES",
        help="files of good images, folders of them, or categories, whose good images to learn from are taken",
    )
    add("--source", type=given_path, metavar="DIR", help="folder of a camera: all images in it and below it are good")
    add(
        "--out",
        type=given_path,
        help="the bundle to write; by default NAME.bundle, or NAME.taught.bundle beside NAME.bundle",
    )
    add("--force", action="store_true", help="replace --out if it exists; never BUNDLE itself")
    add("--false-reject", type=float, metavar="RATE", help=RATE_HELP)
    add("--align", choices=MOTIONS, help="a new bundle finds the part in each frame: as in python -m export --align")
    add("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    add("--seed", type=int, default=0, help="seed of every random choice")
    add("--threads", type=int, help="most threads to use; by default one for each physical core")
    given = parser.parse_args(arguments)
    names = ("false_reject", "skip_bad", "seed", "threads", "align")
    options = Options(str(given.target), effort="quick", **{name: getattr(given, name) for name in names})
    return Asked(given.target, given.images, given.source, given.out, given.force, options)


def _require_packages() -> None:
    if find_spec("onnx") is None:
        raise BackboneError("teaching needs the package onnx", expected="onnx", got="not installed", remedy=_PIP)
    if not installed_engines():
        titles = one_of(tuple(engine.title for engine in ENGINES.values()))
        raise BackboneError("teaching needs an engine", expected=titles, got="none installed", remedy=_PIP)


def _new(asked: Asked, images: list[Path]) -> Summary:
    """The export with --quick, of these images: the embedded backbone, for the engines that are installed."""
    from export.pipeline import export_bundle
    from export.teach.again import NO_GRAPH

    out = asked.out or asked.target.with_name(asked.target.name + _SUFFIX)
    check = partial(check_new, "--out", out, asked.force, f"To teach it more, give {out} in place of {asked.target}.")
    check()
    kinds = {kind for name in installed_engines() for kind in ENGINES[name].runs}
    to = next(name for name, made in TARGETS.items() if {*made} == kinds)
    graph = find_spec("hnswlib") is not None  # which makes it
    options = replace(asked.options, out=out, to=to, own={**asked.options.own, "graph": graph})
    summary = export_bundle(options, Category(asked.target.name, "files given", tuple(images), ()), check)
    if not graph:
        summary.say("search", NO_GRAPH)
    return summary


def _again(asked: Asked, images: list[Path]) -> Summary:
    from export.teach.again import teach_again

    if asked.options.align is not None:
        what = "--align is for a new bundle: one that is there follows the part, or does not"
        raise SpecError(what, expected="no --align", got=asked.options.align)
    name = asked.target.name.removesuffix(_SUFFIX)
    out = asked.out or asked.target.with_name(f"{name}.taught{_SUFFIX}")
    check_outputs([("--out", out)], [("the bundle", asked.target), *(("an image", path) for path in images)])
    check = partial(check_new, "--out", out, asked.force)
    check()
    summary = Summary(out)
    with Bundle.open(asked.target) as bundle:
        summary.say("taught", f"{os.path.abspath(asked.target)} ({bundle.id})")
        teach_again(bundle, images, out, asked.options, summary, check)
    return summary
