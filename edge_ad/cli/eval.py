"""`edge-ad eval BUNDLE... --data CATEGORY...`: metrics, pictures, curves and a report on labelled images.

With --methods or --backbones it makes the bundles first. There are three steps, each for all bundles: exports,
inspections, metrics and pictures. Exports and metrics run in parallel. Inspections run one at a time with nothing else
beside them, as they are timed.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_ad.cli import ERROR, OK, RUNTIME_OPTIONS, add_runtime_options, given_path
from edge_ad.cli.info import describe
from edge_ad.data.labelled import LabelledSet, check_masks, load_labelled
from edge_ad.errors import DatasetError, EdgeADError, SpecError
from edge_ad.evaluation.cells import BUNDLES, Cell, Opened, cells_of, inspect, key_of, known, unique
from edge_ad.evaluation.curves import require_matplotlib
from edge_ad.evaluation.exports import Order, default_jobs, is_made, make
from edge_ad.evaluation.finish import Work, drawn_curves, finish_all
from edge_ad.evaluation.grid import (
    EMBEDDED,
    Backbone,
    check_options,
    choose_backbones,
    choose_methods,
    combined,
    require_export,
)
from edge_ad.evaluation.pictures import Style
from edge_ad.evaluation.report import Section, make_report
from edge_ad.evaluation.run import load_result, replace_text
from edge_ad.evaluation.summary import to_csv, to_text
from edge_ad.frames.listing import files_of
from edge_ad.registry import METHODS
from edge_ad.spec import FrameSpec
from edge_ad.system.entry import say
from edge_ad.system.files import check_outputs, check_target
from edge_ad.system.names import printable, printable_lines
from edge_ad.system.processes import children_can_be_stopped
from edge_ad.system.progress import Progress
from edge_ad.system.versions import build_info

HELP = "Measures bundles on labelled images: a table, pictures, curves and a report."

_STYLE = Style()


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
    parser.add_argument(
        "--exclude", nargs="+", action="extend", default=[], metavar="KIND", help="kinds of defect to leave out"
    )
    _add_grid(parser)
    parser.add_argument(
        "--out", type=given_path, default=Path("outputs"), metavar="DIR", help="folder of the results; default: outputs"
    )
    parser.add_argument(
        "--pictures", choices=("none", "worst", "all"), default="worst", help="images to draw; default: worst"
    )
    parser.add_argument("--from-maps", action="store_true", help="draw from saved maps; do not inspect again")
    parser.add_argument("--no-report", action="store_true", help="write no curves and no report.html")
    _add_style(parser)


def _add_grid(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("bundles to make first, with python -m export, in OUT/bundles").add_argument
    add("--methods", metavar="A,B", help=f"some of {','.join(METHODS)}, or all; each is exported with each backbone")
    add("--backbones", metavar="A,B", help=f"{EMBEDDED}, networks of torchvision, ONNX files; default: {EMBEDDED}")
    add(
        "--weights",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE|FOLDER",
        help="weights of a backbone; in a folder, the file whose name begins with the backbone's name",
    )
    add(
        "--layers",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=A,B",
        help="layers of a backbone; an ONNX file needs them",
    )
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="how many exports, and later metrics, run at once; by default one for each core with 2 GiB of memory. "
        "Frames are always timed one at a time",
    )
    add(
        "--export-options",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="...",
        help="pass all that follows to every export: --export-options --coreset 0.05 --seed 1",
    )


def _add_style(parser: argparse.ArgumentParser) -> None:
    style = parser.add_argument_group("overlays")
    style.add_argument(
        "--clip-q",
        type=float,
        metavar="Q",
        help="stretch each map between its quantiles 1-Q and Q (0.99); by default the threshold sets the scale",
    )
    style.add_argument(
        "--alpha-mode",
        choices=("value", "flat"),
        default=_STYLE.alpha_mode,
        help="value: more heat is more opaque; flat: alpha-max everywhere",
    )
    for name, text in (
        ("alpha-min", "opacity of no heat"),
        ("alpha-max", "opacity from half heat on"),
        ("gamma", "exponent of the heat; below 1 lifts faint heat"),
        ("blur", "sigma of a Gaussian over the map, pixels"),
    ):
        default = getattr(_STYLE, name.replace("-", "_"))
        style.add_argument(f"--{name}", type=float, default=default, metavar="X", help=f"{text}; default: {default:g}")


def run(options: argparse.Namespace) -> int:
    """Evaluates; returns 0, or 2 if something failed or there was nothing to measure."""
    style = Style(options.clip_q, options.alpha_mode, options.alpha_min, options.alpha_max, options.gamma, options.blur)
    with_report = not options.no_report and _report_is_possible()
    wanted = _wanted(options)
    sets = _load(options.data, options.exclude)
    given = [Opened.open(Path(path)) for path in options.bundles]
    cells = _cells(sets, wanted, given, options)
    _check_outputs(cells, options.out)
    with children_can_be_stopped():
        cells = [cell.opened() for cell in _made(cells, options)]
        cells = [_inspected(cell, options) for cell in cells]
        cells = _finished(cells, style, options, with_curves=with_report)
        _write(cells, options.out, style, with_report=with_report)
    return ERROR if any(cell.error or (cell.result and cell.result.failed) for cell in cells) else OK


def _report_is_possible() -> bool:
    try:
        require_matplotlib()
    except EdgeADError as error:
        print(f"note: {error}; continuing without them (--no-report hides this note)", file=sys.stderr)
        return False
    return True


def _wanted(options: argparse.Namespace) -> list[tuple[str, Backbone]]:
    """The methods and backbones to export; none if neither option is given.

    Raises:
        EdgeADError: an option cannot be used, or the export is not installed.
    """
    if options.jobs is not None and options.jobs < 1:
        raise SpecError("--jobs is out of range", expected="1 or more", got=options.jobs)
    if options.methods is None and options.backbones is None:
        if not options.bundles:
            raise SpecError("there is nothing to evaluate", expected="bundles, or --methods", got="neither")
        for name in ("weights", "layers", "export_options"):
            if getattr(options, name):
                option = f"--{name.replace('_', '-')}"
                raise SpecError(f"{option} has no use without --methods", expected="--methods", got=option)
        return []
    methods = choose_methods("all" if options.methods is None else options.methods)
    backbones = choose_backbones(options.backbones or EMBEDDED, options.weights, options.layers)
    check_options(options.export_options)
    if left := [name for name in METHODS if options.methods in (None, "all") and name not in methods]:
        print(f"note: {', '.join(left)} takes torch, which is not installed: left out", file=sys.stderr)
    wanted = combined(methods, backbones)
    require_export(wanted)
    return wanted


def _load(data: Sequence[str], exclude: Sequence[str]) -> list[LabelledSet]:
    """The labelled images of the categories; prints a line on each."""
    sets = [load_labelled(given) for given in data]
    kinds = sorted({kind for labelled in sets for kind in labelled.kinds})
    for kind in exclude:
        if kind not in kinds:
            raise DatasetError("--exclude names no kind of defect", expected=", ".join(kinds) or "none", got=kind)
    sets = [labelled.without(exclude) for labelled in sets]
    for labelled in sets:
        print(printable(f"{labelled.describe()}, in {labelled.folder or labelled.root}"), flush=True)
    for labelled in sets:
        check_masks(labelled.images)
    if not any(labelled.images for labelled in sets):
        raise DatasetError("there are no test images", expected="labelled images in one category at least", got="none")
    return sets


def _cells(
    sets: Sequence[LabelledSet],
    wanted: Sequence[tuple[str, Backbone]],
    given: Sequence[Opened],
    options: argparse.Namespace,
) -> list[Cell]:
    taken = (BUNDLES, str(options.out / BUNDLES))  # no category's folder
    names = unique([taken, *((labelled.name, str(labelled.root)) for labelled in sets)])[1:]
    return [
        cell
        for labelled, name in zip(sets, names, strict=True)
        for cell in cells_of(labelled, name, wanted, options.export_options, given, options.out, options.point)
    ]


def _check_outputs(cells: Sequence[Cell], out: Path) -> None:
    """Refuses a folder of results if a result would replace a file that is read.

    Raises:
        SpecError: names the file.
    """
    inputs: list[tuple[str, Path]] = []
    outputs = [("--out", out / "summary.csv"), ("--out", out / "report.html")]
    for cell in {cell.path: cell for cell in cells}.values():
        if cell.recipe is None:
            inputs.append(("a bundle", cell.path))
        else:
            outputs += [("--out", cell.path.with_suffix(suffix)) for suffix in (".bundle", ".json", ".log")]
            inputs += [("an option of the export", path) for path in cell.recipe.files()]
    for labelled in {id(cell.labelled): cell.labelled for cell in cells}.values():
        inputs += [("an image", file) for image in labelled.images for file in files_of(image.path)]
        inputs += [("a mask", image.mask) for image in labelled.images if image.mask is not None]
    for cell in cells:  # files of an earlier run may be replaced or removed
        outputs += [("--out", path) for path in cell.folder.rglob("*") if path.is_file()]
    if out.exists() and not out.is_dir():
        raise SpecError("--out is a file", expected="a folder, or a path where one can be made", got=out)
    for option, path in outputs[:2]:
        if out.is_dir():
            check_target(option, path)
    check_outputs(outputs, inputs)


def _made(cells: list[Cell], options: argparse.Namespace) -> list[Cell]:
    """The cells after their bundles are made: each has its bundle, or the error."""
    errors: dict[Path, str] = {}
    orders = []
    for cell in cells:
        if cell.recipe is None:
            continue
        order = Order(cell.recipe, cell.path, cell.labelled.digest())
        try:
            done = is_made(order, cell.recipe.fingerprint())
        except EdgeADError as error:
            errors[cell.path] = str(error)
            _complain(f"{cell.path.name}: {error}")
            continue
        if done:
            print(f"export {cell.path.name}: done before", file=sys.stderr)
        elif options.from_maps:
            errors[cell.path] = "there is no bundle of these options and images. Run without --from-maps first."
            _complain(f"{cell.path.name}: {errors[cell.path]}")
        else:
            orders.append(order)
    if orders:
        errors |= _export(orders, options.jobs or default_jobs())
    return [replace(cell, error=errors.get(cell.path, cell.error)) for cell in cells]


def _export(orders: Sequence[Order], jobs: int) -> dict[Path, str]:
    """Makes bundles; returns path -> error of those that failed."""
    errors: dict[Path, str] = {}
    jobs = min(jobs, len(orders))
    beside = f" ({jobs} at a time)" if jobs > 1 else ""
    with Progress(f"export{beside}", len(orders), unit="bundles") as progress:
        for done in make(orders, jobs, lambda: progress.update(0)):
            progress.wipe()
            name = done.order.out.name
            if done.error is None:
                print(f"export {name}: {done.seconds:.0f} s", file=sys.stderr)
            else:
                errors[done.order.out] = done.error
                _complain(f"{name}: {done.error}")
            progress.update(1)
    return errors


def _inspected(cell: Cell, options: argparse.Namespace) -> Cell:
    """The cell with its result, from disk if it is there, or with its error."""
    if cell.bundle is None:
        return cell
    key = key_of(cell, {name: getattr(options, name) for name in RUNTIME_OPTIONS})
    try:
        result = known(cell, key, from_maps=options.from_maps)
        if result is None:
            with Progress(f"inspect {cell.title}", len(cell.labelled.images), unit="images") as progress:
                result = inspect(cell, key, progress)
            for _, reason in result.failed:
                _complain(reason)
        elif result.images and not options.from_maps:
            print(f"inspect {cell.title}: done before, {cell.folder}", file=sys.stderr)
    except EdgeADError as error:
        _complain(f"{cell.title}: {error}")
        return replace(cell, error=str(error))
    return replace(cell, result=result)


def _finished(cells: list[Cell], style: Style, options: argparse.Namespace, *, with_curves: bool) -> list[Cell]:
    """Measures and draws the cells, several in parallel."""
    works = {}
    for cell in cells:
        if cell.bundle is not None and cell.result is not None and cell.result.images:
            frame, notes = cell.bundle.manifest.frame, cell.labelled.notes
            works[cell.folder] = Work(cell.folder, cell.path, notes, frame, options.pictures, style, with_curves)
    if not works:
        return cells
    errors: dict[Path, str] = {}
    jobs = min(options.jobs or default_jobs(), len(works))
    with Progress("measure and draw", len(works), unit="results") as progress:
        for work, error in finish_all(list(works.values()), jobs, lambda: progress.update(0)):
            if error is not None:
                errors[work.folder] = error
                progress.wipe()
                _complain(f"{work.folder}: {error}")
            progress.update(1)
    return [_measured(cell, errors.get(cell.folder)) if cell.folder in works else cell for cell in cells]


def _measured(cell: Cell, error: str | None) -> Cell:
    """The cell with the result that is on disk now."""
    result = load_result(cell.folder) if error is None else None
    if error is None and (result is None or result.row is None):
        error = f"the result in {cell.folder} is gone"
    return replace(cell, result=result, error=error)


def _write(cells: Sequence[Cell], out: Path, style: Style, *, with_report: bool) -> None:
    """Writes the table and, if wanted, the report; prints the table and the notes."""
    rows = [cell.row() for cell in cells]
    replace_text(out / "summary.csv", to_csv(rows))
    if with_report:
        now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        replace_text(out / "report.html", make_report([_section(cell) for cell in cells], build_info(), now, style))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(printable_lines(f"\n{to_text(rows, width)}\n"))
    for note, titles in _notes(cells).items():
        print(f"note: {titles[0] if len(titles) == 1 else f'{len(titles)} of the lines'}: {printable_lines(note)}")
    print(f"table: {printable(out / 'summary.csv')}", end="")
    print(f"   report: {printable(out / 'report.html')}" if with_report else "")


def _notes(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Each note once, with the titles of its cells."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for note in cell.notes:
            found.setdefault(note, []).append(cell.title)
    return found


def _section(cell: Cell) -> Section:
    facts, curves, frame = {}, {}, FrameSpec(None, bit_depth=16)
    if cell.bundle is not None:
        facts = {"file": f"{cell.path} ({cell.bundle.identity})", **describe(cell.bundle.manifest)}
        frame = cell.bundle.manifest.frame
    if cell.result is not None and cell.result.images:
        curves = drawn_curves(cell.folder)
    return Section(cell.row(), cell.result, cell.notes, cell.folder, facts, curves, frame)


def _complain(message: str) -> None:
    say(f"error: {message}")
