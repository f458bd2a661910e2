"""`edge-ad learn BUNDLE --good IMAGES`: teaches good parts that were rejected; `--undo` takes a lesson back."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_ad.cli import OK, add_who, given_path
from edge_ad.cli.export import export_module
from edge_ad.data.given import find_images, images_below
from edge_ad.data.layouts import expand_home
from edge_ad.errors import DatasetError, EdgeADError, LearningError, SpecError
from edge_ad.learning.lesson import learn
from edge_ad.learning.policy import GROWTH, ONE_IN, POWER_DROP, Limits
from edge_ad.learning.report import Report
from edge_ad.learning.store import store_of
from edge_ad.learning.task import Asked
from edge_ad.learning.undo import undo
from edge_ad.system.files import check_outputs, check_target
from edge_ad.system.names import printable_lines
from edge_ad.system.tables import named

HELP = "Teaches a bundle good parts that it rejected, without teaching it a defect; --undo takes that back."
_REMEDY = "Install the whole wheel of edge-ad: it holds the package export."


def add_store(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which bundle, and where its lessons are."""
    parser.add_argument("bundle", nargs="?", type=given_path, metavar="BUNDLE", help="the bundle file")
    parser.add_argument(
        "--store", type=given_path, metavar="FOLDER", help="folder of the lessons; default: NAME.learning beside BUNDLE"
    )
    parser.add_argument(
        "--station", type=given_path, metavar="STATION.toml", help="in place of BUNDLE: the bundle of a camera of it"
    )
    parser.add_argument("--camera", help="with --station: name of the camera")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    parser.add_argument(
        "--good",
        type=given_path,
        nargs="+",
        default=[],
        metavar="IMAGES",
        help=f"good parts: files, or folders. One in {ONE_IN} is held back, and never taught. With --station they are "
        "the parts that are labelled good in its journal",
    )
    parser.add_argument(
        "--defects",
        type=given_path,
        nargs="+",
        default=[],
        metavar="IMAGES",
        help="confirmed defects: they are locked, and no lesson may let one pass that is found today",
    )
    parser.add_argument("--out", type=given_path, metavar="NEW.bundle", help="default: the new one replaces BUNDLE")
    add_who(parser, "who says that they are good")
    parser.add_argument("--undo", action="store_true", help="put back the bundle before the latest lesson")
    parser.add_argument(
        "--max-growth",
        type=float,
        default=GROWTH,
        metavar="SHARE",
        help=f"rows that all lessons may add, as a share of the first bundle's; default: {GROWTH:g}",
    )
    parser.add_argument(
        "--max-power-drop",
        type=float,
        default=POWER_DROP,
        metavar="SHARE",
        help=f"how far the share of synthetic defects that are found may fall; default: {POWER_DROP:g}",
    )
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(options: argparse.Namespace) -> int:
    """Teaches, or undoes; returns 0. A lesson that is refused is an error, and its report is printed all the same.

    Raises:
        EdgeADError: it is refused, or something cannot be used.
    """
    try:
        report = _undo(options) if options.undo else _learn(options)
    except EdgeADError as error:
        if options.json:
            print(json.dumps(_refusal(error)))
        raise
    print(json.dumps(report.to_dict()) if options.json else printable_lines(named(report.lines())))
    return OK


def place_of(options: argparse.Namespace) -> tuple[Path, Path]:
    """The bundle that is meant, and the folder of its lessons.

    Raises:
        SpecError: neither a bundle nor a camera of a station is named, or both.
    """
    if options.station is not None:
        if options.bundle is not None or options.store is not None or options.camera is None:
            given = f"--station {options.station}"
            raise SpecError("which bundle is meant?", expected="--station with --camera, without BUNDLE", got=given)
        from edge_ad.station.config import load_config
        from edge_ad.station.labels import store_of_camera

        config = load_config(options.station, files=False)
        return config.camera(options.camera).bundle, store_of_camera(config.data, options.camera)
    if options.bundle is None or options.camera is not None:
        got = "none" if options.camera is None else f"--camera {options.camera}"
        raise SpecError("which bundle is meant?", expected="BUNDLE, or --station with --camera", got=got)
    return options.bundle, options.store or store_of(options.bundle)


def _undo(options: argparse.Namespace) -> Report:
    if options.good or options.defects or options.out is not None:
        raise SpecError("--undo takes no images and no --out", expected="BUNDLE --undo", got="more")
    return undo(*place_of(options), options.who)


def _learn(options: argparse.Namespace) -> Report:
    bundle, store = place_of(options)
    limits = Limits(options.max_growth, options.max_power_drop)
    if options.threads is not None and not 1 <= options.threads <= 1024:
        raise SpecError("--threads is out of range", expected="1..1024", got=options.threads)
    more: dict[str, Any] = {"out": options.out, "who": options.who, "limits": limits, "threads": options.threads}
    maker = export_module("learn.make", _REMEDY)
    if options.station is not None:
        return _from_labels(options, Asked(bundle, (), (), store, **more), maker)
    if not options.good and not options.defects:
        raise DatasetError(
            "there is nothing to learn", expected="good images by --good, or defects by --defects", got="none"
        )
    good = find_images(options.good, None) if options.good else []
    defects = [image for path in options.defects for image in images_below(expand_home(str(path)))]
    asked = Asked(bundle, good, list(dict.fromkeys(defects)), store, **more)
    if options.out is not None:
        check_target("--out", options.out)
        images = [("an image", path) for path in (*asked.good, *asked.defects)]
        check_outputs([("--out", options.out)], [("the bundle", bundle), *images])
    check_target("BUNDLE", bundle)
    return learn(asked, maker)


def _from_labels(options: argparse.Namespace, asked: Asked, maker: Any) -> Report:
    from edge_ad.station.config import load_config
    from edge_ad.station.labels import be_nice, labelled_pictures

    if options.good or options.defects or options.out is not None:
        raise SpecError(
            "with --station the images are those of its journal", expected="no --good, --defects and --out", got="more"
        )
    be_nice()
    found = labelled_pictures(load_config(options.station, files=False), options.camera)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if not found.good and not found.defects:
        raise DatasetError(
            f"camera {options.camera} has no label to learn from",
            expected="rejected parts that are labelled good, or parts that are labelled defect, with their pictures",
            got="; ".join(found.notes) or "none that is new",
            remedy="edge-ad label says what a part was; edge-ad journal lists parts.",
        )
    report = learn(replace(asked, good=found.good, defects=found.defects), maker)
    return replace(report, notes=(*report.notes, *found.notes))


def _refusal(error: EdgeADError) -> dict[str, Any]:
    pictures = error.pictures if isinstance(error, LearningError) else ()
    state = "refused" if isinstance(error, LearningError) else "failed"
    return {"state": state, "error": str(error), "what": error.what, "pictures": [*pictures]}
