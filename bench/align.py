"""What `--align` does to accuracy when parts move, and what it takes.

    python -m bench.align ../shared/data --category bottle --category alien_toy
    python -m bench.align ../shared/data --only-time

Each category is exported without `--align`, with each of its motions, and with a region too. Each test image is
inspected as it is, and moved at random in each of the draws: shifted by up to 10% of each side, turned by up to 15
degrees and scaled by up to 5%; the border is repeated, and masks move alike. With `--room 0.15` all images are first
widened, so that the part stays in the frame. Tables: image AUROC, pixel AUROC where
there are masks, and in how many frames the part was not found. Then the milliseconds of finding the part, and of moving
the frame, at 1024 x 1024.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import Runtime, native
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from edge_ad.data.layouts import load_category
from edge_ad.frames.align import pose_of
from edge_ad.frames.crop import Crop
from edge_ad.frames.place import Place
from edge_ad.metrics import PixelSample, binary_auroc, pixel_metrics
from edge_ad.system.percentiles import percentiles
from edge_ad.system.tables import aligned
from export.options import Options
from export.pipeline import export_bundle

SHIFT, TURN_DEG, SCALE = 0.10, 15.0, 0.05
WAYS: dict[str, dict[str, object]] = {
    "no --align": {},
    "--align shift": {"align": "shift"},
    "--align similarity": {"align": "similarity"},
    "--align similarity --roi auto": {"align": "similarity", "roi": "auto"},
}
FIXED = {"input_size": (256, 256), "coreset": 0.02, "effort": "quick", "to": "openvino"}
CAMERA = (1024, 1024)
FRAMES = 300  # that are timed
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A test frame with its label, and its mask if there is one."""

    frame: Pixels
    defect: bool
    mask: NDArray[np.bool_] | None

    def moved(self, generator: np.random.Generator) -> Shown:
        """The same, moved at random."""
        place = drawn(generator, (self.frame.shape[0], self.frame.shape[1]))
        frame = cv2.warpAffine(
            self.frame, place.matrix, self.frame.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return Shown(
            np.asarray(frame, np.uint8), self.defect, None if self.mask is None else place.mask_in_frame(self.mask)
        )


def drawn(generator: np.random.Generator, size: tuple[int, int]) -> Place:
    """A place within the limits of this bench."""
    dy, dx, turn, scale = generator.uniform(-1, 1, 4)
    return pose_of(TURN_DEG * turn, 1 + SCALE * scale, SHIFT * dy, SHIFT * dx, size)


def shown(folder: Path, every: int) -> list[Shown]:
    """Every so many of the test images of a category."""
    found = []
    for image in load_category(folder).test[::every]:
        frame = np.asarray(cv2.imread(str(image.path), cv2.IMREAD_COLOR), np.uint8)
        mask = None
        if image.mask is not None:
            mask = np.asarray(cv2.imread(str(image.mask), cv2.IMREAD_GRAYSCALE) > 0)
        elif image.defect is None:
            mask = np.zeros(frame.shape[:2], np.bool_)
        found.append(Shown(frame, image.defect is not None, mask))
    return found


def measure(runtime: Runtime, images: Sequence[Shown]) -> tuple[float, float | None, int, int]:
    """Image AUROC, pixel AUROC or None, and how many good frames and defects the part was not found in."""
    scores: dict[bool, list[float]] = {False: [], True: []}
    samples, lost = [], [0, 0]
    for number, image in enumerate(images):
        verdict = runtime.inspect(image.frame)
        scores[image.defect].append(verdict.score)
        lost[image.defect] += not verdict.found
        if image.mask is not None:
            small = cv2.resize(verdict.anomaly_map, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            mask = cv2.resize(image.mask.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
            samples.append(PixelSample(str(number), small, mask, image.defect))
    masks = all(image.mask is not None for image in images)
    pixel = pixel_metrics(samples, runtime.pixel_threshold or 1.0).auroc if masks else None
    return binary_auroc(scores[False], scores[True]), pixel, lost[0], lost[1]


def roomy(folder: Path, scratch: Path, room: float) -> None:
    """Writes a copy of a category with that share of each side more around its images: the border is repeated."""
    for path in sorted(folder.rglob("*.*")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            continue
        down, across = (round(room * side) for side in image.shape[:2])
        target = scratch / folder.name / path.relative_to(folder).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_REPLICATE))


def accuracy(data: Path, names: Sequence[str], draws: int, every: int, room: float) -> None:
    """Prints the table of each category."""
    for name in names:
        images = shown(data / name, every)
        moved = [
            [image.moved(np.random.default_rng([draw, n])) for n, image in enumerate(images)] for draw in range(draws)
        ]
        rows: list[tuple[str, ...]] = [("export", "frames", "image AUROC", "pixel AUROC", "not found: good, defects")]
        for way, options in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "part.bundle"
                with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                    export_bundle(Options(str(data / name), out=out, **FIXED, **options))
                runtime = Runtime(out)
                rows.append((way, "as they are", *_cells([measure(runtime, images)])))
                rows.append((way, "moved", *_cells([measure(runtime, those) for those in moved])))
        good = sum(not image.defect for image in images)
        print(
            f"\n{name}: {good} good images and {len(images) - good} defects, {draws} draws\n\n{aligned(rows)}",
            flush=True,
        )


def _cells(found: Sequence[tuple[float, float | None, int, int]]) -> tuple[str, ...]:
    images, pixels, good, defects = zip(*found, strict=True)
    pixel = "-" if None in pixels else " ".join(f"{value:.3f}" for value in pixels)
    return " ".join(f"{value:.3f}" for value in images), pixel, f"{sum(good)}, {sum(defects)}"


def times(data: Path, name: str, threads: int) -> None:
    """Prints the milliseconds of finding the part and of moving the frame."""
    cv2.setNumThreads(threads)
    pool = native.Pool(threads)
    large = [cv2.resize(image.frame, CAMERA[::-1], interpolation=cv2.INTER_CUBIC) for image in shown(data / name, 10)]
    generator = np.random.default_rng(0)
    frames = [Shown(np.asarray(frame, np.uint8), False, None).moved(generator).frame for frame in large]
    rows: list[tuple[str, ...]] = [("motion", "part", "median ms", "p95 ms", "p99 ms")]
    for motion in ("shift", "similarity"):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "part.bundle"
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                export_bundle(Options(str(data / name), out=out, align=motion, **FIXED))
            with Bundle.open(out) as bundle:
                spec, aligner = bundle.manifest, open_aligner(bundle, pool)
        assert aligner is not None
        crop, find = Crop(spec.frame, spec.backbone, None, None, pool, aligner.picture), aligner.find
        places = [find(frame) for frame in frames]
        still = [crop(frame) is not None for frame in frames]
        parts: dict[str, Callable[[int], object]] = {
            "find the part": lambda n, find=find: find(frames[n]),
            "crop, moved": lambda n, crop=crop, places=places: crop(frames[n], place=places[n]),
            "crop, as it is": lambda n, crop=crop: crop(frames[n]),
        }
        assert all(still)
        rows += [(motion, part, *_timed(run, len(frames))) for part, run in parts.items()]
    print(f"\n{name} at {CAMERA[0]} x {CAMERA[1]}, {threads} threads, {FRAMES} frames\n\n{aligned(rows)}", flush=True)


def _timed(run: Callable[[int], object], count: int) -> tuple[str, ...]:
    found = []
    for number in range(FRAMES + 20):
        start = time.perf_counter()
        run(number % count)
        found.append(1e3 * (time.perf_counter() - start))
    return tuple(f"{value:.2f}" for value in percentiles(found[20:]))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of categories")
    parser.add_argument("--category", action="append", help="default: bottle and alien_toy")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take every so many of the test images")
    parser.add_argument("--room", type=float, default=0.0, help="first widen each image by that share of each side")
    parser.add_argument("--threads", type=int, default=2, help="for the times")
    parser.add_argument("--only-time", action="store_true")
    options = parser.parse_args()
    names = options.category or ["bottle", "alien_toy"]
    if not options.only_time:
        with tempfile.TemporaryDirectory() as scratch:
            data = options.data
            if options.room:
                for name in names:
                    roomy(data / name, Path(scratch), options.room)
                data = Path(scratch)
            accuracy(data, names, options.draws, options.every, options.room)
    times(options.data, names[0], options.threads)


if __name__ == "__main__":
    main()
