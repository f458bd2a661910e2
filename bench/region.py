"""What a region of interest found by `--roi auto` does: to scores when the background changes, to AUROC, and to time.

    python -m bench.region ../shared/data/bottle ../shared/data/alien_toy ../shared/data/hazelnut
    python -m bench.region ../shared/data/bottle --weights ../shared/weights/resnet18_to_layer3.pth

It exports each category with the whole frame, with `--roi auto`, and with margins that end inside the part. Then each
test image gets other backgrounds: crops of natural images, beyond the region of `--roi auto`, and beyond the part
itself (the flood and GrabCut of `export.roi_auto` in that image). Tables, for each category:

- good test images: by how much the score moves, median and most, and how many more are rejected; also where each frame
  comes with a mask of its own that ends inside its part;
- image AUROC over the test images as they are, and with the background exchanged beyond the region;
- milliseconds of a frame, the bundles in turn; the same with a mask of the part given to `inspect(frame, roi=mask)`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.material import shared_folder
from edge_ad import Runtime
from edge_ad.data.layouts import TestImage, load_category
from edge_ad.frames.listing import list_images
from edge_ad.metrics.image import binary_auroc
from edge_ad.spec import FrameSpec
from edge_ad.system.tables import aligned
from export.options import Options
from export.pipeline import export_bundle
from export.roi_auto import auto_region, object_in, refined, small_copy

MARGINS = (2.0, -2.0)  # percent of the longer side; the first is the default
MASK_MARGINS = (0.0, 0.04, 0.08, 0.12)  # how far inside the part a frame's own mask ends, as a share of the side
BACKGROUNDS = 3  # of each image
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """A test image: its pixels, where the region of `--roi auto` and its own part are, and its label."""

    frame: Pixels
    region: Mask
    part: Mask | None
    defect: bool


def pictures(category: Path) -> list[Picture]:
    """The test images of a category.

    Raises:
        SystemExit: `--roi auto` keeps the whole frame there.
    """
    loaded = load_category(category)
    first = cv2.imread(str(loaded.train_good[0]))
    spec = FrameSpec((first.shape[0], first.shape[1]))
    found = auto_region(loaded.train_good, spec)
    if found.region is None:
        sys.exit(f"{category.name}: {found.sentence}")
    return [_picture(image, found.region.mask, spec) for image in loaded.test]


def _picture(image: TestImage, region: Mask, spec: FrameSpec) -> Picture:
    frame = np.asarray(cv2.imread(str(image.path), cv2.IMREAD_COLOR), np.uint8)
    small = small_copy(image.path, spec)
    thing = object_in(small)
    part = None
    if not isinstance(thing, str):
        smooth = cv2.resize(refined(small, thing).astype(np.float32), frame.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        part = smooth > 0.5
    return Picture(frame, region, part, image.defect is not None)


def exchanged(frame: Pixels, kept: Mask, textures: Sequence[Path], generator: np.random.Generator) -> Pixels:
    """The frame with a crop of a natural image wherever `kept` is False."""
    texture = cv2.imread(str(textures[int(generator.integers(len(textures)))]), cv2.IMREAD_COLOR)
    height, width = frame.shape[:2]
    scale = max(height / texture.shape[0], width / texture.shape[1], 0.5)
    texture = cv2.resize(texture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    y = int(generator.integers(texture.shape[0] - height + 1))
    x = int(generator.integers(texture.shape[1] - width + 1))
    return np.where(kept[:, :, None], frame, texture[y : y + height, x : x + width]).astype(np.uint8)


def moves(
    runtime: Runtime, goods: Sequence[Picture], beyond: Callable[[Picture], Mask | None], textures: Sequence[Path]
) -> list[float | int]:
    """Median and largest relative change of the score, and the good images that are rejected: before, and after."""
    generator = np.random.default_rng(0)
    changes, rejected, more = [], 0, 0
    for picture in goods:
        before = runtime.inspect(picture.frame)
        rejected += before.is_anomalous
        kept = beyond(picture)
        for _ in range(BACKGROUNDS if kept is not None else 0):
            after = runtime.inspect(exchanged(picture.frame, kept, textures, generator))  # type: ignore[arg-type]
            changes.append(abs(after.score - before.score) / before.score)
            more += after.is_anomalous
    return [float(np.median(changes)), max(changes), rejected / len(goods), more / len(changes)]


def masked_moves(
    runtime: Runtime, goods: Sequence[Picture], margin: float, textures: Sequence[Path]
) -> list[float | int]:
    """The same for a bundle of the whole frame, and masks that end so far inside each part, a share of the side."""
    generator = np.random.default_rng(0)
    changes, rejected, more = [], 0, 0
    for picture in goods:
        if picture.part is None:
            continue
        reach = round(margin * max(picture.part.shape))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
        mask = cv2.erode(picture.part.astype(np.uint8), disc)
        before = runtime.inspect(picture.frame, roi=mask)
        rejected += before.is_anomalous
        for _ in range(BACKGROUNDS):
            other = exchanged(picture.frame, picture.part, textures, generator)
            after = runtime.inspect(other, roi=mask)
            changes.append(abs(after.score - before.score) / before.score)
            more += after.is_anomalous
    return [float(np.median(changes)), max(changes), BACKGROUNDS * rejected / len(changes), more / len(changes)]


def area(runtime: Runtime, all_of: Sequence[Picture], textures: Sequence[Path]) -> list[float]:
    """Image AUROC as the images are, and with the background exchanged beyond the region."""
    generator = np.random.default_rng(1)
    labels = np.array([picture.defect for picture in all_of])
    plain = [runtime.inspect(picture.frame).score for picture in all_of]
    other = [runtime.inspect(exchanged(p.frame, p.region, textures, generator)).score for p in all_of]
    return [binary_auroc(np.array(s)[~labels], np.array(s)[labels]) for s in (plain, other)]


def times(runtimes: dict[str, Runtime], all_of: Sequence[Picture], rounds: int) -> dict[str, float]:
    """Milliseconds of a frame, the bundles in turn; "masked": the first one, with a mask of each part.

    The fastest tenth of the frames, as other work on the machine only adds.
    """
    found: dict[str, list[float]] = {name: [] for name in (*runtimes, "masked")}
    first = next(iter(runtimes.values()))
    for number in range(rounds + 1):
        for picture in all_of:
            for name, runtime in runtimes.items():
                found[name].append(runtime.inspect(picture.frame).latency_ms)
            if picture.part is not None:
                found["masked"].append(first.inspect(picture.frame, roi=picture.part).latency_ms)
        if number == 0:
            found = {name: [] for name in found}  # the first round warms up
    return {name: float(np.percentile(values, 10)) for name, values in found.items() if values}


def measure(category: Path, options: dict[str, Any], textures: Sequence[Path], rounds: int) -> Iterator[str]:
    """The tables of a category."""
    all_of = pictures(category)
    goods = [picture for picture in all_of if not picture.defect]
    with tempfile.TemporaryDirectory() as folder:
        runtimes: dict[str, Runtime] = {}
        for name, own in {"whole": {}, **{f"auto {m:+g}%": {"roi": "auto", "roi_margin": m} for m in MARGINS}}.items():
            out = Path(folder) / f"{len(runtimes)}.bundle"
            summary = export_bundle(Options(str(category), out=out, **{**options, **own}))
            runtimes[name] = Runtime(out, profile=False)
            crop = runtimes[name].manifest.backbone.crop
            yield f"{category.name}, {name}: crop {crop}; {dict(summary.lines).get('region', 'whole frame')}"
        rows = [["good images", "beyond", "median", "most", "rejected", "then"]]
        for name, runtime in runtimes.items():
            for what, mask in (("region", lambda p: p.region), ("part", lambda p: p.part)):
                found = moves(runtime, goods, mask, textures)
                rows.append([name, what, *(f"{100 * value:.1f}%" for value in found)])
        for margin in MASK_MARGINS:
            found = masked_moves(runtimes["whole"], goods, margin, textures)
            rows.append([f"whole, roi={100 * -margin:+g}%", "part", *(f"{100 * value:.1f}%" for value in found)])
        yield aligned(rows)
        rows = [["AUROC", "as they are", "background exchanged"]]
        rows += [[name, *(f"{v:.4f}" for v in area(run, all_of, textures))] for name, run in runtimes.items()]
        yield aligned(rows)
        rows = [["ms of a frame", "fastest tenth", "of the whole"]]
        found_ms = times(runtimes, all_of[:20], rounds)
        rows += [[name, f"{ms:.2f}", f"{ms / found_ms['whole']:.2f}"] for name, ms in found_ms.items()]
        yield aligned(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.region", description=__doc__.partition("\n")[0])
    parser.add_argument("categories", nargs="+", type=Path, help="folders in MVTec AD layout, of images of one size")
    parser.add_argument("--weights", type=Path, help="state dict of resnet18; by default the embedded backbone")
    parser.add_argument("--textures", type=Path, help="folder of natural images; by default that of the shared data")
    parser.add_argument("--input-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5, help="of the times")
    given = parser.parse_args()
    shared = shared_folder()
    folder = given.textures or (shared and shared / "data" / "natural_images")
    if folder is None:
        parser.error("there is no shared data; give --textures")
    options = {"weights": given.weights, "input_size": (given.input_size,) * 2, "effort": "quick", "to": "openvino"}
    textures = list_images(folder)
    for category in given.categories:
        for text in measure(category, options, textures, given.rounds):
            print(text, flush=True)


if __name__ == "__main__":
    main()
