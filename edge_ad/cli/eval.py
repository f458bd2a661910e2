"""`edge-ad eval BUNDLE... --data CATEGORY...`: metrics, pictures, curves and a report on labelled images."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_ad.build_info import build_info
from edge_ad.bundle import Bundle
from edge_ad.cli import ERROR, OK, RUNTIME_OPTIONS, add_runtime_options
from edge_ad.cli.info import describe
from edge_ad.cli.progress import Progress
from edge_ad.errors import DatasetError, EdgeADError
from edge_ad.evaluation import curves as curve
from edge_ad.evaluation import pictures as picture
from edge_ad.evaluation.measure import measure, region_of
from edge_ad.evaluation.report import Section, make_report
from edge_ad.evaluation.run import Key, Result, finished, inspect_all, key_of, replace_text, save_result, saved
from edge_ad.evaluation.summary import to_csv, to_text
from edge_ad.evaluation.test_set import TestSet, load_test_set
from edge_ad.spec import Manifest

HELP = "Measures bundles on labelled images: a table, pictures, curves and a report."

_STYLE = picture.Style()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_runtime_options(parser, many=True)
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="CATEGORY",
        help="folders (MVTec AD, BTAD, or good and bad) or CSV files of path,label[,mask]",
    )
    parser.add_argument("--out", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument(
        "--pictures", choices=("none", "worst", "all"), default="worst", help="of which images; default: worst"
    )
    parser.add_argument("--from-maps", action="store_true", help="make pictures and report of saved maps: no inference")
    parser.add_argument("--no-report", action="store_true", help="no curves and no report.html")
    style = parser.add_argument_group("overlays")
    style.add_argument(
        "--clip-q",
        type=float,
        metavar="Q",
        help="stretch each map between its quantiles 1-Q and Q (0.99); by default heat is measured by the threshold",
    )
    style.add_argument(
        "--alpha-mode",
        choices=("value", "flat"),
        default=_STYLE.alpha_mode,
        help="the hotter the more opaque, or alpha-max everywhere",
    )
    for name, text in (
        ("alpha-min", "opacity of no heat"),
        ("alpha-max", "opacity from half heat on"),
        ("gamma", "exponent of the heat; below 1 lifts faint heat"),
        ("blur", "sigma of a Gaussian over the map, pixels"),
    ):
        default = getattr(_STYLE, name.replace("-", "_"))
        style.add_argument(f"--{name}", type=float, default=default, metavar="X", help=f"{text}; default: {default:g}")


@dataclass(frozen=True)
class _Bundle:
    """A bundle, as far as it is needed after it was checked."""

    path: Path
    identity: str
    manifest: Manifest
    megabytes: float
    name: str  # of its folder


def run(options: argparse.Namespace) -> int:
    """Evaluates; returns 0, or 2 when an image could not be inspected or there was nothing to measure."""
    style = picture.Style(
        options.clip_q, options.alpha_mode, options.alpha_min, options.alpha_max, options.gamma, options.blur
    )
    with_report = not options.no_report and _report_is_possible()
    sets = [load_test_set(given) for given in options.data]
    for test_set in sets:
        print(test_set.describe(), flush=True)
    if not any(test_set.images for test_set in sets):
        raise DatasetError("there are no test images", expected="labelled images in one category at least", got="none")
    bundles = _open(options.bundles)
    folders = _unique((test_set.name, str(test_set.root)) for test_set in sets)
    sections: list[Section] = []
    for test_set, folder in zip(sets, folders, strict=True):
        for bundle in bundles:
            section = _evaluate(bundle, test_set, options.out / folder / bundle.name, options)
            sections.append(_draw(section, options.pictures, style, with_curves=with_report))
            replace_text(options.out / "summary.csv", to_csv([s.row for s in sections]))
    if with_report:
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        replace_text(options.out / "report.html", make_report(sections, build_info(), now, style))
    print(f"\n{to_text([s.row for s in sections])}\n")
    _say_notes(sections)
    print(f"table: {options.out / 'summary.csv'}", end="")
    print(f"   report: {options.out / 'report.html'}" if with_report else "")
    return ERROR if any(s.result.failed for s in sections) else OK


def _report_is_possible() -> bool:
    try:
        curve.require_matplotlib()
    except EdgeADError as error:
        print(f"note: {error}; going on without them (--no-report says nothing)", file=sys.stderr)
        return False
    return True


def _open(paths: Sequence[str]) -> list[_Bundle]:
    """Checks every bundle before the work begins."""
    names = _unique((Path(path).stem, str(Path(path).absolute())) for path in paths)
    found = []
    for path, name in zip(map(Path, paths), names, strict=True):
        with Bundle.open(path) as bundle:
            found.append(_Bundle(path, bundle.id, bundle.manifest, path.stat().st_size / 1e6, name))
    return found


def _unique(names: Iterable[tuple[str, str]]) -> list[str]:
    """Folder names of (name, path): those that several paths share get a few digits of their path's digest."""
    pairs = [(re.sub(r"[^\w.-]+", "_", name).strip(".") or "_", path) for name, path in names]
    if double := sorted({path for _, path in pairs if [p for _, p in pairs].count(path) > 1}):
        raise EdgeADError("the same is given twice", expected="each bundle and category once", got=", ".join(double))
    shared = [name.lower() for name, _ in pairs]
    return [
        f"{name}-{hashlib.blake2b(path.encode(), digest_size=3).hexdigest()}"
        if shared.count(name.lower()) > 1
        else name
        for name, path in pairs
    ]


def _evaluate(bundle: _Bundle, test_set: TestSet, folder: Path, options: argparse.Namespace) -> Section:
    """Inspects and measures, or takes what is on disk."""
    runtime_options = {name: getattr(options, name) for name in RUNTIME_OPTIONS}
    with Bundle.open(bundle.path) as opened:
        key, keep = key_of(opened, test_set, runtime_options), region_of(opened)
    what = f"{test_set.name} with {bundle.name}"
    result = _inspected(bundle, test_set, key, folder, what, from_maps=options.from_maps)
    if result.row is None:
        print(f"measure {what}", file=sys.stderr)
        row, notes = measure(result, keep, bundle.manifest.roi is not None, folder)
        result = replace(result, row=row, notes=(*test_set.notes, *notes))
        if result.images:
            save_result(folder, result)
    row = {
        **(result.row or {}),
        **result.facts,
        "category": test_set.name,
        "layout": test_set.layout,
        "method": bundle.manifest.head.method,
        "backbone": bundle.manifest.backbone.name,
        "bundle": bundle.path.name,
        "bundle_id": bundle.identity,
        "mb": bundle.megabytes,
        "notes": "; ".join(result.notes),
    }
    facts = {"file": f"{bundle.path} ({bundle.identity})", **describe(bundle.manifest)}
    return Section(row, result, folder, facts, {}, bundle.manifest.frame.white_level)


def _inspected(bundle: _Bundle, test_set: TestSet, key: Key, folder: Path, what: str, *, from_maps: bool) -> Result:
    if not test_set.images:
        own = bundle.manifest.calibration
        facts = {"threshold": own.threshold, "pixel_threshold": own.pixel_threshold}
        return Result(key, facts, (), ())
    if from_maps:
        return saved(folder, key)
    done = finished(folder, key)
    if done is not None:
        print(f"inspect {what}: done before, {folder}", file=sys.stderr)
        return done
    with Progress(f"inspect {what}", len(test_set.images), unit="images") as progress:
        result = inspect_all(bundle.path, test_set, key, folder, progress)
    for _, reason in result.failed:
        print(f"error: {reason}", file=sys.stderr)
    return result


def _draw(section: Section, which: str, style: picture.Style, *, with_curves: bool) -> Section:
    """Writes pictures and curves; the section with its curves."""
    result, folder = section.result, section.folder
    worst = (*picture.worst_defects(result), *picture.worst_goods(result))
    images = {"none": (), "worst": worst, "all": result.images}[which]
    if images:
        level = result.facts["pixel_threshold"]
        with Progress(f"draw {folder.parent.name} with {folder.name}", len(images), unit="images") as progress:
            for _ in picture.write_pictures(images, folder, level, section.white_level, style):
                progress.update(1)
    if not (with_curves and result.images):
        return section
    found = curve.curves(result, section.row)
    for name, data in found.items():
        (folder / f"{name}.png").write_bytes(data)
    return replace(section, curves=found)


def _say_notes(sections: Sequence[Section]) -> None:
    for section in sections:
        for note in section.result.notes:
            print(f"note: {section.row['category']}, {section.row['bundle']}: {note}")
