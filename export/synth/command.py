"""`python -m export.synth GOOD_IMAGES --out DIR`: good images with synthetic defects, in the layout of MVTec AD.

    DIR/test/good/NAME                                           the good images that were used, byte for byte
    DIR/test/synthetic_KIND/synthetic_KIND_0000.png              one defect each
    DIR/ground_truth/synthetic_KIND/synthetic_KIND_0000_mask.png
    DIR/synthetic.json                                           kind, size, contrast, seed and image of each
    DIR/sheets/synthetic_KIND.png                                with --sheet

With --heights it takes stacks of pictures under several lights instead: see `export.synth.stacks`.

The word synthetic stands in every name, so that it stands wherever a figure of these images does. DIR appears when it
is complete, or not at all.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.data.layouts import expand_home, look_at_images, subfolders
from edge_ad.errors import DatasetError
from edge_ad.frames.check import read_frame
from edge_ad.frames.listing import list_images
from edge_ad.spec import Size
from edge_ad.system.entry import run_command
from edge_ad.system.files import write_new
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from export.roi import read_roi
from export.synth import stacks
from export.synth.defect import Defect, add_defect
from export.synth.folder import filled, png, require_free
from export.synth.options import SynthOptions, parse_options
from export.synth.sheet import Sample, contact_sheet, sample
from export.synth.study import Study, study, white_level

RECORD = "synthetic.json"
_ABOUT = "Synthetic defects on good images. Figures from them are not measured on real defects."
_VERSION = 1  # of the drawing: counts up when the same seed gives other pictures


@dataclass(frozen=True)
class _Item:
    """One defect to make; `number` counts within its kind."""

    kind: str
    size: float
    contrast: float
    number: int
    seed: tuple[int, ...]

    @property
    def folder(self) -> str:
        return f"synthetic_{self.kind}"

    @property
    def name(self) -> str:
        return f"{self.folder}_{self.number:04}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes synthetic defects; returns the exit code, as `edge_ad.system.entry` has them."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if stacks.FLAG in given:  # stacks of pictures under several lights, and options of their own
        given.remove(stacks.FLAG)
        return run_command(lambda: stacks.run(given), "interrupted; nothing was written")
    return run_command(lambda: _run(parse_options(given)), "interrupted; nothing was written")


def _run(options: SynthOptions) -> int:
    began = time.monotonic()
    out = expand_home(str(options.out))
    require_free(out)
    work = _shared_out(options, _images_of(options.images))
    with Progress("reading", len(work)) as progress:
        looks, _ = look_at_images(list(work), progress=progress)
    regions = _regions(options.roi, {look.size for look in looks.values()})
    white = white_level(max(look.max_value for look in looks.values()))
    with filled(out) as staging:
        rows = _write_all(staging, options, work, regions, white)
    made = sum("file" in row for row in rows)
    print(
        f"{printable(out)}: {made} synthetic defects of {len(options.kinds)} kinds on {len(work)} good images; "
        f"{time.monotonic() - began:.1f} s"
    )
    for row in rows:
        if "left_out" in row:
            print(f"left out: {row['left_out']}")
    print(f"next: edge-ad eval BUNDLE --data {printable(shlex.quote(str(out)))}")
    return 0


def _images_of(given: Path) -> list[Path]:
    """The good images of a folder.

    Raises:
        DatasetError: it is none, or holds no images.
    """
    folder = expand_home(str(given))
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise DatasetError(f"{folder} is not a folder", expected="a folder of good images", got=got)
    try:
        images = list_images(folder)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read", got=error.strerror or error) from error
    if not images:
        inside = [folder / part for part in ("test/good", "train/good", "test/ok", "train/ok", "good")]
        near = next((path for path in inside if path.is_dir()), None)
        names = ", ".join(path.name for path in subfolders(folder)[:8])
        raise DatasetError(
            f"there are no images in {folder}",
            expected="PNG, JPEG, BMP, TIFF or WebP images of good parts",
            got=f"folders {names}" if names else "none",
            remedy=f"Give the folder of the good images: {near}" if near else None,
        )
    return images


def _shared_out(options: SynthOptions, images: Sequence[Path]) -> dict[Path, list[_Item]]:
    """The defects to make, by image: each kind takes the images in an order of its own, one after the other."""
    work: dict[Path, list[_Item]] = defaultdict(list)
    for kind in options.kinds:
        number = 0
        order = np.random.default_rng([options.seed, zlib.crc32(kind.encode())]).permutation(len(images))
        for size in options.sizes:
            for contrast in options.contrasts:
                cell = (options.seed, zlib.crc32(kind.encode()), round(size * 1e6), round(contrast * 1e6))
                for again in range(options.count):
                    image = images[int(order[number % len(order)])]
                    work[image].append(_Item(kind, size, contrast, number, (*cell, again)))
                    number += 1
    return {image: work[image] for image in images if image in work}


def _regions(roi: str | None, sizes: set[Size]) -> dict[Size, NDArray[np.bool_]]:
    return {} if roi is None else {size: read_roi(roi, size).mask for size in sizes}


def _write_all(
    root: Path,
    options: SynthOptions,
    work: dict[Path, list[_Item]],
    regions: dict[Size, NDArray[np.bool_]],
    white: int,
) -> list[dict[str, Any]]:
    """Writes everything into an empty folder; the rows of the record, by kind and number."""
    for kind in options.kinds:
        (root / f"test/synthetic_{kind}").mkdir(parents=True)
        (root / f"ground_truth/synthetic_{kind}").mkdir(parents=True)
    (root / "test/good").mkdir()
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    samples: dict[str, dict[int, Sample]] = {kind: {} for kind in options.kinds}
    with Progress("making synthetic defects", sum(map(len, work.values())), "defects") as progress:
        for path, items in work.items():
            write_new(root / "test/good" / path.name, path.read_bytes())
            frame = read_frame(path)
            size = (frame.shape[0], frame.shape[1])
            picture = study(frame, regions.get(size), white if frame.dtype == np.uint16 else None)
            for item in items:
                row, made = _make(picture, item, path)
                rows[options.kinds.index(item.kind), item.number] = row
                if made is not None:
                    _write(root, item, made)
                    if options.sheet:
                        samples[item.kind][item.number] = _sample(item, picture, made)
                progress.update()
    if options.sheet:
        _write_sheets(root, samples, len(options.contrasts) * min(options.count, 2))
    ordered = [rows[key] for key in sorted(rows)]
    asked = {name: getattr(options, name) for name in ("kinds", "sizes", "contrasts", "count", "seed", "roi")}
    record = {"synthetic": True, "about": _ABOUT, "version": _VERSION, "asked": asked, "defects": ordered}
    write_new(root / RECORD, f"{json.dumps(record, indent=1)}\n".encode())
    return ordered


def _make(picture: Study, item: _Item, path: Path) -> tuple[dict[str, Any], Defect | None]:
    """The row of the record, and the defect; None where the picture cannot show it."""
    row = {"kind": item.kind, "size": item.size, "contrast": item.contrast, "seed": item.seed, "image": path.name}
    try:
        made = add_defect(picture, item.kind, item.size, item.contrast, np.random.default_rng(item.seed))
    except DatasetError as error:  # told at the end, and written down
        return {**row, "left_out": f"{path.name}: {error.what}"}, None
    files = {
        "file": f"test/{item.folder}/{item.name}.png",
        "mask": f"ground_truth/{item.folder}/{item.name}_mask.png",
    }
    return {**files, **row, "reached": round(made.reached, 4), "box": made.box}, made


def _write(root: Path, item: _Item, made: Defect) -> None:
    write_new(root / f"test/{item.folder}/{item.name}.png", png(made.image))
    write_new(root / f"ground_truth/{item.folder}/{item.name}_mask.png", png(made.mask))


def _sample(item: _Item, picture: Study, made: Defect) -> Sample:
    title = f"size {item.size:g}  contrast {item.contrast:g} (has {made.reached:.2f})"
    return sample(title, picture.image, made.image, made.box, picture.white)


def _write_sheets(root: Path, samples: dict[str, dict[int, Sample]], columns: int) -> None:
    (root / "sheets").mkdir()
    for kind, found in samples.items():
        if found:
            ordered = [found[number] for number in sorted(found)]
            heading = f"synthetic {kind}: good image left, with the defect right"
            write_new(root / f"sheets/synthetic_{kind}.png", png(contact_sheet(heading, ordered, columns)))
