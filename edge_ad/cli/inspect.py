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
import numpy as np
from numpy.typing import NDArray

from edge_ad.atomic import replace_file
from edge_ad.cli import ANOMALOUS, ERROR, OK, RUNTIME_OPTIONS, add_runtime_options
from edge_ad.cli.progress import Progress
from edge_ad.errors import EdgeADError, FrameError
from edge_ad.frame import list_images
from edge_ad.runtime import Runtime
from edge_ad.stats import Stats
from edge_ad.verdict import Verdict

HELP = "Inspects an image or a folder: a line with file, score and verdict (0 good, 1 anomalous) for each image."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_runtime_options(parser)
    parser.add_argument("images", help="an image, or a folder of images (its subfolders too)")
    parser.add_argument("--threshold", type=float, help="threshold of the score, instead of the bundle's")
    parser.add_argument(
        "--budget-ms", type=float, metavar="MS", help="time limit for a frame: picks a point that keeps it"
    )
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write file, score, verdict and milliseconds there")
    parser.add_argument("--jsonl", action="store_true", help="print a JSON object a line, regions included")
    parser.add_argument("--overlay", type=Path, metavar="DIR", help="write a picture of each verdict there")


def run(options: argparse.Namespace) -> int:
    """Inspects; returns the exit code: an unreadable image is reported, passed over, and makes it 2."""
    root = Path(options.images)
    paths = find_images(root)
    base = root if root.is_dir() else root.parent
    pictures = _pictures(paths, base, options.overlay) if options.overlay else {}
    if options.csv is not None and not options.csv.absolute().parent.is_dir():
        raise EdgeADError(f"cannot write {options.csv}", expected="an existing folder", got=options.csv.parent)
    runtime = Runtime(
        options.bundle,
        threshold=options.threshold,
        budget_ms=options.budget_ms,
        **{name: getattr(options, name) for name in RUNTIME_OPTIONS},
    )
    anomalous = failed = 0
    with _table(options.csv) as rows, Progress("inspect", len(paths), unit="images") as progress:
        for path in paths:
            name = path.relative_to(base).as_posix()
            try:
                verdict = runtime.inspect(path)
            except FrameError as error:
                failed += 1
                progress.wipe()
                print(f"error: {error}", file=sys.stderr)
            else:
                anomalous += verdict.is_anomalous
                progress.wipe()
                print(_line(name, verdict, as_json=options.jsonl), flush=True)
                rows.append(
                    (
                        name,
                        f"{verdict.score:.6g}",
                        int(verdict.is_anomalous),
                        f"{verdict.timings['total']:.2f}",
                    )
                )
                if path in pictures:
                    save_picture(pictures[path], verdict.overlay(path))
            progress.update(1)
    if options.budget_ms is not None:
        print(_service(runtime.stats()), file=sys.stderr)
    if failed:
        return ERROR
    return ANOMALOUS if anomalous else OK


def _pictures(paths: list[Path], base: Path, folder: Path) -> dict[Path, Path]:
    """Where the picture of each image goes: a.png of a.png, a.jpg.png of a.jpg, so that no two images share one.

    Raises:
        EdgeADError: a picture would overwrite an image.
    """
    suffixes = {path: "" if path.suffix.lower() == ".png" else ".png" for path in paths}
    pictures = {path: Path(f"{folder / path.relative_to(base)}{suffix}") for path, suffix in suffixes.items()}
    if {picture.resolve() for picture in pictures.values()} & {path.resolve() for path in paths}:
        raise EdgeADError("--overlay would overwrite the images", expected="another folder", got=folder)
    return pictures


def find_images(root: Path) -> list[Path]:
    """The image itself, or all images under a folder in natural order.

    Raises:
        FrameError: there is no such path, or no image under it.
    """
    if not root.is_dir():
        if not root.exists():
            raise FrameError(f"there is no {root}", expected="an image or a folder of images", got="nothing")
        return [root]
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    paths = [path for folder in folders for path in list_images(folder)]
    if not paths:
        raise FrameError(f"there are no images in {root}", expected="PNG, JPEG, BMP, TIFF or WebP files", got="none")
    return paths


def save_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a PNG, and the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [cv2.imencode(".png", picture)[1].tobytes()])
    except OSError as error:
        raise EdgeADError(
            f"cannot write {path}", got=error.strerror, remedy="Check the folder and its space."
        ) from error


def _service(stats: Stats) -> str:
    """How the budget was kept."""
    served = ", ".join(f"{name} {count}" for name, count in stats.points.items() if count) or "none"
    p99 = "" if stats.p99_ms is None else f", p99 {stats.p99_ms:.1f} ms"
    return f"budget {stats.budget_ms:g} ms: {stats.misses} of {stats.frames} frames late{p99}; by point: {served}"


def _line(name: str, verdict: Verdict, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"file": name, **verdict.to_dict()})
    return f"{name} {verdict.score:.5g} {int(verdict.is_anomalous)}"


@contextlib.contextmanager
def _table(path: Path | None) -> Iterator[list[tuple[object, ...]]]:
    """A list to add rows to; they are written to `path` at the end, also when the work is interrupted.

    The file is written beside the target and renamed, so that an older table is never half overwritten.
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
    try:
        replace_file(path, [text.getvalue().encode()])
    except OSError as error:
        raise EdgeADError(
            f"cannot write {path}", got=error.strerror, remedy="Check the folder and its space."
        ) from error
