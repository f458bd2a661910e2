"""What a lesson brings and costs: good parts of a new lot that are rejected are taught, and defects are counted.

    python -m bench.learning ../shared/data/bottle

A bundle is made of every second good image (`--quick`, one input size). The others are photographed "on another day":
each change of `CHANGES` is a lot of its own. `OFFERED` of a lot and `USUAL` unchanged ones are offered to
`edge-ad learn`, with every second defect of the test set as a confirmed one. What is told afterwards is of images that
no lesson saw: the rest of the lot, the good images of the test set, and the other defects. `edge-ad teach` learns from
the same images, to compare.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.data.layouts import Category, load_category
from edge_ad.errors import LearningError
from edge_ad.learning.lesson import learn
from edge_ad.learning.policy import Limits
from edge_ad.learning.store import store_of
from edge_ad.learning.task import Asked
from edge_ad.runtime import Runtime
from export.learn import make
from export.options import Options
from export.pipeline import export_bundle
from export.summary import Summary
from export.teach.again import teach_again

OFFERED, USUAL = 24, 12
Picture = np.ndarray


def _darker(gain: float) -> Callable[[Picture], Picture]:
    return lambda frame: np.clip(frame.astype(np.float32) * gain, 0, 255).astype(np.uint8)


def _warmer(frame: Picture) -> Picture:
    return np.clip(frame.astype(np.float32) * np.array([0.8, 1.0, 1.15], np.float32), 0, 255).astype(np.uint8)


def _marked(frame: Picture) -> Picture:
    """A grey print on the ground, in the corner, that no part had before."""
    frame, (height, width) = frame.copy(), frame.shape[:2]
    where = (int(0.03 * width), int(0.96 * height))
    cv2.putText(frame, "LOT 7", where, cv2.FONT_HERSHEY_SIMPLEX, height / 500, (120, 120, 120), max(1, height // 200))
    return frame


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "print": _marked,
    "15% darker": _darker(0.85),
    "25% darker": _darker(0.75),
    "warmer light": _warmer,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("category", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--change", choices=CHANGES, action="append", help="only these; by default all")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return _run(given, Path(folder))


def _run(given: argparse.Namespace, folder: Path) -> int:
    category = load_category(given.category)
    made, others = category.train_good[::2], category.train_good[1::2]
    bundle = folder / "part.bundle"
    size = {"effort": "quick", "input_size": (given.size, given.size), "threads": given.threads, "to": "onnx"}
    export_bundle(Options("part", out=bundle, **size), Category("part", "files", tuple(made), ()))
    defects = [image.path for image in category.test if image.defect is not None]
    goods = [image.path for image in category.test if image.defect is None]
    for name in given.change or CHANGES:
        lot = _lot(folder / name.replace(" ", "_"), others, CHANGES[name])
        offered, rest = [*lot[:OFFERED], *others[-USUAL:]], lot[OFFERED:-USUAL]
        told: dict[str, Any] = {"change": name, "offered": len(offered)}
        told["before"] = _counts(bundle, rest, goods, defects[1::2], given.threads)
        target = folder / name.replace(" ", "_") / "part.bundle"
        shutil.copy(bundle, target)
        began = time.monotonic()
        try:
            asked = Asked(target, offered, defects[::2], store_of(target), threads=given.threads, limits=Limits())
            report = learn(asked, make)
        except LearningError as error:
            told["refused"] = str(error)
        else:
            told["figures"] = [figures.lines() for figures in report.figures]
            told["pictures"] = {role: sum(each.role == role for each in report.pictures) for role in _roles(report)}
        told["seconds"] = round(time.monotonic() - began, 1)
        told["learn"] = _counts(target, rest, goods, defects[1::2], given.threads)
        by_teach = target.with_name("teach.bundle")
        with Bundle.open(bundle) as opened:
            options = Options("", effort="quick", threads=given.threads)
            teach_again(opened, list(offered), by_teach, options, Summary(by_teach))
        told["teach"] = _counts(by_teach, rest, goods, defects[1::2], given.threads)
        print(json.dumps(told), flush=True)
    return 0


def _roles(report: Any) -> set[str]:
    return {each.role for each in report.pictures}


def _lot(folder: Path, paths: Sequence[Path], change: Callable[[Picture], Picture]) -> list[Path]:
    folder.mkdir()
    found = []
    for path in paths:
        frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
        found.append(folder / f"{path.stem}.png")
        cv2.imwrite(str(found[-1]), change(frame))
    return found


def _counts(
    bundle: Path, lot: Sequence[Path], goods: Sequence[Path], defects: Sequence[Path], threads: int | None
) -> dict[str, Any]:
    """How many of each are rejected, and of how many."""
    runtime = Runtime(bundle, threads=threads, profile=False)
    found = {
        name: f"{sum(runtime.inspect(path).is_anomalous for path in paths)}/{len(paths)}"
        for name, paths in (("lot rejected", lot), ("good rejected", goods), ("defects found", defects))
    }
    index = runtime.manifest.index
    return {**found, "threshold": round(runtime.threshold, 4), "rows": None if index is None else index.size}


if __name__ == "__main__":
    sys.exit(main())
