"""`edge-ad inspect BUNDLE IMAGE|FOLDER`: a line for each image."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from edge_ad.cli import ANOMALOUS, ERROR, OK, RUNTIME_OPTIONS, add_runtime_options, given_path
from edge_ad.errors import FrameError, SpecError
from edge_ad.frames.listing import empty_folders, list_image_tree, list_images
from edge_ad.runtime import Runtime
from edge_ad.serving.meter import Stats
from edge_ad.system.entry import say
from edge_ad.system.files import check_outputs, check_target, write_output
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from edge_ad.verdict.verdict import Verdict

HELP = "Inspects an image or a folder: a line with file, score and verdict (0 good, 1 anomalous) for each image."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_runtime_options(parser)
    parser.add_argument(
        "images",
        type=given_path,
        help="an image, or a folder of images (its subfolders too); of a bundle of stacks, a folder with the "
        "pictures of one capture, or a folder of such folders",
    )
    parser.add_argument("--threshold", type=float, help="threshold of the score, instead of the bundle's")
    parser.add_argument(
        "--budget-ms", type=float, metavar="MS", help="time limit of a frame; picks a point that keeps it"
    )
    parser.add_argument(
        "--csv", type=given_path, metavar="OUT", help="write a table there: file, score, verdict, milliseconds"
    )
    parser.add_argument("--jsonl", action="store_true", help="print one JSON object for each image, with its regions")
    parser.add_argument("--overlay", type=given_path, metavar="DIR", help="write a picture of each verdict there")


def run(options: argparse.Namespace) -> int:
    """Inspects; returns the exit code. An unreadable image is reported and skipped, and the exit code is then 2."""
    root = options.images
    paths, errors = find_images(root)
    _, base = captures_of(paths, root, stacks=False)
    pictures = _pictures(paths, base, options.overlay) if options.overlay else {}
    _check_outputs(options, paths, pictures)
    runtime = Runtime(
        options.bundle,
        threshold=options.threshold,
        budget_ms=options.budget_ms,
        **{name: getattr(options, name) for name in RUNTIME_OPTIONS},
    )
    stacks = runtime.manifest.frame.stack is not None
    if stacks and root.is_dir():
        paths, base = captures_of(paths, root, stacks=True)
        pictures = _pictures(paths, base, options.overlay) if options.overlay else {}
        _check_outputs(options, [file for path in paths for file in list_images(path)], pictures)
    for error in errors:
        say(f"error: {error}")
    anomalous, failed = 0, len(errors)
    with (
        _table(options.csv) as rows,
        Progress("inspect", len(paths), unit="stacks" if stacks else "images") as progress,
    ):
        for path in paths:
            name = printable(path.relative_to(base).as_posix())
            try:
                verdict = runtime.inspect(path)
            except FrameError as error:
                failed += 1
                progress.wipe()
                say(f"error: {error}")
            else:
                anomalous += verdict.is_anomalous
                progress.wipe()
                ms = f"{verdict.timings['total']:.2f}"
                rows.append((name, f"{verdict.score:.6g}", int(verdict.is_anomalous), ms))
                print(_line(name, verdict, as_json=options.jsonl), flush=True)
                if path in pictures:
                    picture = cv2.imencode(".png", verdict.overlay(path))[1]
                    write_output(pictures[path], [picture.tobytes()])
            progress.update(1)
    if options.budget_ms is not None:
        print(_service(runtime.stats()), file=sys.stderr)
    if failed:
        return ERROR
    return ANOMALOUS if anomalous else OK


def _pictures(paths: list[Path], base: Path, folder: Path) -> dict[Path, Path]:
    """Image -> file of its picture: a.png for a.png, a.jpg.png for a.jpg, so that no two images share a picture."""
    suffixes = {path: "" if path.suffix.lower() == ".png" else ".png" for path in paths}
    return {path: Path(f"{folder / path.relative_to(base)}{suffix}") for path, suffix in suffixes.items()}


def _check_outputs(options: argparse.Namespace, paths: list[Path], pictures: dict[Path, Path]) -> None:
    """Refuses outputs that cannot be written, or would replace the bundle, an image or another output.

    Raises:
        SpecError: names the option and the file.
    """
    table = [] if options.csv is None else [("--csv", options.csv)]
    for option, path in table:
        check_target(option, path)
    if options.overlay is not None and options.overlay.exists() and not options.overlay.is_dir():
        raise SpecError(
            "--overlay is no folder",
            expected="a folder, or a new name",
            got=options.overlay,
            remedy="Give another --overlay.",
        )
    outputs = [*table, *(("--overlay", picture) for picture in pictures.values())]
    check_outputs(outputs, [("the bundle", Path(options.bundle)), *(("an image", path) for path in paths)])


def find_images(root: Path) -> tuple[list[Path], list[FrameError]]:
    """The image itself, or all images under a folder in natural order; and an error for each subfolder that cannot be
    read.

    Raises:
        FrameError: there is no such path, or no image under it, or the folder cannot be read.
    """
    if not root.is_dir():
        if not root.exists():
            raise FrameError(f"there is no {root}", expected="an image or a folder of images", got="nothing")
        return [root], []
    try:
        paths, errors = list_image_tree(root)
    except OSError as error:
        raise FrameError(f"cannot read the folder {root}", got=error.strerror or error) from error
    if not paths and not errors:
        raise FrameError(f"there are no images in {root}", expected="PNG, JPEG, BMP, TIFF or WebP files", got="none")
    return paths, errors


def _service(stats: Stats) -> str:
    """A line that says how many frames kept the budget."""
    served = ", ".join(f"{name} {count}" for name, count in stats.points.items() if count) or "none"
    p99 = "" if stats.p99_ms is None else f", p99 {stats.p99_ms:.1f} ms"
    return f"budget {stats.budget_ms:g} ms: {stats.misses} of {stats.frames} frames late{p99}; by point: {served}"


def _line(name: str, verdict: Verdict, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": name, **verdict.to_dict()})
    return f"{name} {verdict.score:.5g} {int(verdict.is_anomalous)}"


@contextlib.contextmanager
def _table(path: Path | None) -> Iterator[list[tuple[object, ...]]]:
    """A list for rows. They are written to `path` at the end, also if an error, Ctrl-C or a signal stops the work.

    A new file is written and then renamed, so that an older table is never half overwritten.
    """
    rows: list[tuple[object, ...]] = [("file", "score", "verdict", "ms")]
    try:
        yield rows
    finally:
        if path is not None:
            _write_csv(path, rows)


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_output(path, [text.getvalue().encode()])


def captures_of(images: list[Path], root: Path, *, stacks: bool) -> tuple[list[Path], Path]:
    """The captures among images (of stacks the folders, empty ones too), and the folder that their names are below.

    A `root` that is no folder is a capture, whatever it is.
    """
    if not root.is_dir():
        return images, root.parent
    if not stacks:
        return images, root
    folders = [*dict.fromkeys(image.parent for image in images), *empty_folders(root)]
    return folders, root.parent if folders == [root] else root
