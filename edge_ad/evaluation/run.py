"""Inspects the images of a category with a bundle, once, and saves scores and maps on disk.

A folder for each category and bundle:

    result.json    all results, written last: if it names the same bundle, options and images, the work is
                   not done again
    scores.csv     a line for each image, for people
    maps/*.npz     anomaly maps in frame pixels; `load_map` reads them
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import __version__
from edge_ad.data.labelled import LabelledSet, slugs
from edge_ad.errors import EdgeADError, FrameError
from edge_ad.runtime import Runtime
from edge_ad.system.files import write_new, write_output
from edge_ad.system.names import storable
from edge_ad.system.progress import Counts

RESULT, SCORES, MAPS = "result.json", "scores.csv", "maps"
_FORMAT = 2


@dataclass(frozen=True)
class Key:
    """What a result depends on."""

    bundle: str  # its id
    images: str  # digest of the test set
    options: dict[str, Any]  # of the runtime
    edge_ad: str = __version__
    format: int = _FORMAT


@dataclass(frozen=True)
class Inspected:
    """An image that was inspected.

    Attributes:
        name: name of the image.
        slug: start of the names of its files.
        path, mask: files of the image and its mask.
        defect: kind of defect; None for a good image.
        ms: milliseconds from the frame in memory to the score, without reading the file.
        has_map: whether its anomaly map is in the folder.
        found: whether the part was found in it (`Verdict.found`).
    """

    name: str
    slug: str
    path: str
    defect: str | None
    mask: str | None
    score: float
    ms: float
    has_map: bool
    found: bool = True


@dataclass(frozen=True)
class Result:
    """The results of a category and a bundle.

    Attributes:
        facts: point, engine, precision, search, threads, threshold and pixel_threshold that were in use.
        failed: (name, reason) of images that could not be inspected.
        row: row of the summary; None until it is measured.
        notes: notes on these numbers, for a reader.
    """

    key: Key
    facts: dict[str, Any]
    images: tuple[Inspected, ...]
    failed: tuple[tuple[str, str], ...]
    row: dict[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())


def inspect_all(bundle: Path, labelled: LabelledSet, key: Key, folder: Path, progress: Counts) -> Result:
    """Inspects every image, and writes scores and maps into `folder`.

    One image is inspected before timing starts, as the first inference is the slowest.

    Raises:
        EdgeADError: bundle or engine cannot be used. An image that cannot be inspected is recorded and skipped.
    """
    runtime = Runtime(bundle, **key.options)
    (folder / MAPS).mkdir(parents=True, exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)  # an interrupted run must not look finished
    for old in (folder / MAPS).glob("*.npz"):
        old.unlink()
    scored: list[Inspected] = []
    failed: list[tuple[str, str]] = []
    names = [labelled.name_of(image) for image in labelled.images]
    for image, name, slug in zip(labelled.images, names, slugs(names), strict=True):
        try:
            if not scored:
                runtime.inspect(image.path)
            verdict = runtime.inspect(image.path)
        except FrameError as error:
            failed.append((name, str(error)))
        else:
            if verdict.has_map:
                save_map(map_path(folder, slug), verdict.anomaly_map)
            ms = verdict.latency_ms
            mask = None if image.mask is None else str(image.mask)
            score = float(verdict.score)
            own = score, ms, verdict.has_map, verdict.found
            scored.append(Inspected(name, slug, str(image.path), image.defect, mask, *own))
        progress.update(1)
    facts = {
        "point": runtime.point,
        "engine": runtime.engine,
        "precision": runtime.precision,
        "search": runtime.search,
        "threads": runtime.threads,
        "threshold": runtime.threshold,
        "pixel_threshold": runtime.pixel_threshold,
    }
    result = Result(key, facts, tuple(scored), tuple(failed))
    _write_scores(folder / SCORES, result)
    save_result(folder, result)
    return result


def save_result(folder: Path, result: Result) -> None:
    """Writes `result.json`, all of it or nothing."""
    replace_text(folder / RESULT, json.dumps(asdict(result), indent=1))


def replace_text(path: Path, text: str) -> None:
    """Writes a text file as `write_output` does, in UTF-8: what cannot be encoded becomes a backslash escape."""
    write_output(path, [storable(text).encode()])


def finished(folder: Path, key: Key) -> Result | None:
    """The result in `folder`; None unless it has this `key` and all its maps."""
    result = load_result(folder)
    return result if result is not None and result.key == key and _has_maps(folder, result) else None


def saved(folder: Path, key: Key) -> Result:
    """The result in `folder`, made with any options. If the options differ, its row is dropped.

    Raises:
        EdgeADError: there is none, it belongs to another bundle or other images, or a map is missing.
    """
    result = load_result(folder)
    if result is None or not _has_maps(folder, result):
        got = "nothing" if result is None else "some maps are missing"
        raise EdgeADError(
            f"there are no saved maps in {folder}", expected="a finished evaluation", got=got, remedy=_RUN_FIRST
        )
    if result.key.bundle != key.bundle:
        raise EdgeADError(f"the maps in {folder} are of another bundle", expected=key.bundle, got=result.key.bundle)
    if result.key.images != key.images:
        raise EdgeADError(f"the images have changed since the maps in {folder} were made", remedy=_RUN_FIRST)
    return result if result.key.edge_ad == key.edge_ad else replace(result, row=None)


_RUN_FIRST = "Run without --from-maps first."


def load_result(folder: Path) -> Result | None:
    """The result in a folder; None if there is none that this version can read."""
    try:
        data = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        key = Key(**data.pop("key"))
        images = tuple(Inspected(**image) for image in data.pop("images"))
        failed = tuple((str(name), str(reason)) for name, reason in data.pop("failed"))
        return Result(key=key, images=images, failed=failed, notes=tuple(data.pop("notes")), **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _has_maps(folder: Path, result: Result) -> bool:
    return all(map_path(folder, image.slug).is_file() for image in result.images if image.has_map)


def map_path(folder: Path, slug: str) -> Path:
    """The file of an image's anomaly map."""
    return folder / MAPS / f"{slug}.npz"


def save_map(path: Path, amap: NDArray[np.float32]) -> None:
    """Saves a map with 16 bits between its lowest and its highest value: low + scale * level.

    It stores the differences of the levels along both axes, modulo 2^16, high bytes above low bytes, as a grey PNG.
    Maps are smooth, so the differences are small. This takes a third of the size of `np.savez_compressed`, and a tenth
    of the time.

    Raises:
        EdgeADError: it cannot be written, or exists already.
    """
    low, high = float(amap.min()), float(amap.max())
    scale = (high - low) / 65535 or 1.0
    levels = np.rint((amap - np.float32(low)) / np.float32(scale)).clip(0, 65535).astype(np.uint16)
    zero = np.uint16(0)
    steps = np.diff(np.diff(levels, axis=1, prepend=zero), axis=0, prepend=zero)
    planes = np.concatenate([(steps >> 8).astype(np.uint8), (steps & 255).astype(np.uint8)])
    png = cv2.imencode(".png", planes)[1].reshape(-1)
    file = io.BytesIO()
    np.savez(file, png=png, low=np.float32(low), scale=np.float32(scale))
    write_new(path, file.getvalue())


def load_map(path: Path) -> NDArray[np.float32]:
    """(H, W) float32: a saved map.

    Raises:
        EdgeADError: it cannot be read.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as kept:
            planes, low, scale = cv2.imdecode(kept["png"], cv2.IMREAD_GRAYSCALE), kept["low"], kept["scale"]
        if planes is None:
            raise ValueError("its PNG cannot be decoded")
        high_bytes, low_bytes = np.split(planes.astype(np.uint16), 2)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, cv2.error) as error:
        raise EdgeADError(f"the map {path} cannot be read", got=error, remedy=f"Remove {path.parents[1]}.") from error
    steps = (high_bytes << 8) | low_bytes
    amap: NDArray[np.float32] = steps.cumsum(0, np.uint16).cumsum(1, np.uint16).astype(np.float32)
    amap *= scale
    amap += low
    return amap


def _write_scores(path: Path, result: Result) -> None:
    rows: list[tuple[object, ...]] = [("image", "label", "score", "verdict", "ms", "map", "mask", "error")]
    threshold = result.facts["threshold"]
    for image in result.images:
        kept = f"{MAPS}/{image.slug}.npz" if image.has_map else ""
        verdict = int(not image.score < threshold)
        rows.append(
            (image.name, image.defect or "good", image.score, verdict, f"{image.ms:.3f}", kept, image.mask or "", "")
        )
    rows += [(name, "", "", "", "", "", "", reason) for name, reason in result.failed]
    replace_text(path, csv_text(rows))


def csv_text(rows: list[tuple[object, ...]]) -> str:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
