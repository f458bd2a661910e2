"""Tiles: what a seam does, and a frame of 20 megapixels with a defect of 12 pixels.

    python -m bench.tiles seams IMAGE ... [--weights FILE]
    python -m bench.tiles large FOLDER [--frame 3648,5472] [--tiles 1024,1024] [--backbone B] [--weights FILE]

`seams` compares the patches of a picture in tiles with those of the same picture as a whole, by the distance from the
nearest seam, and by overlap. The picture is an image, mirrored until it is large enough.

`large` makes frames from a folder's `train/good`: each is one of a few images, mirrored until the frame is full, moved,
lit and noisy by a seed. It exports them in tiles, and once more shrunk to the export's own size. Then both bundles
inspect good frames that were not learnt from, and the same with a defect of 12 pixels. The export and each runtime are
processes of their own; their peak memory (ru_maxrss) and the milliseconds of a frame are printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import Runtime
from edge_ad.data.layouts import find_category, load_category
from edge_ad.frames.tiles import tiles_of
from edge_ad.spec import FrameSpec, Size
from edge_ad.system.tables import aligned
from export.network import open_network
from export.options import Options
from export.pipeline import export_bundle
from export.stages import Stages, open_stages
from export.synth.defect import add_defect
from export.synth.study import study

EXTENT_PX = 12  # of a defect
CONTRAST = 0.6
KINDS = ("spot", "dent", "stain", "scratch")
WINDOW = 480  # a defect is drawn in a part of the frame
SEAM_TILE = 512
OVERLAPS = (0, 64, 128, 256, 384)
BINS = (0, 8, 32, 64, 96, 128)  # pixels from a seam

Picture = NDArray[np.uint8]


def mirrored(image: Picture, size: Size, at: tuple[int, int] = (0, 0)) -> Picture:
    """(H, W, 3) of an image, mirrored without an edge, from a place on."""
    whole = np.concatenate([image, image[::-1]])
    whole = np.concatenate([whole, whole[:, ::-1]], axis=1)
    rows = (np.arange(size[0]) + at[0]) % whole.shape[0]
    columns = (np.arange(size[1]) + at[1]) % whole.shape[1]
    found: Picture = whole[rows[:, None], columns[None, :]]
    return found


def good_frame(image: Picture, size: Size, seed: int) -> Picture:
    """A frame of one texture: moved, lit and noisy by a seed."""
    generator = np.random.default_rng(seed)
    y, x = generator.integers(0, image.shape[0]), generator.integers(0, image.shape[1])
    frame = mirrored(image, size, (int(y), int(x))).astype(np.float32)
    frame *= np.float32(generator.uniform(0.97, 1.03))
    frame += np.float32(2) * generator.standard_normal(frame.shape, dtype=np.float32)
    return np.clip(frame, 0, 255).astype(np.uint8)


def with_defect(frame: Picture, kind: str, seed: int) -> tuple[Picture, tuple[int, int]]:
    """The frame with one defect of `EXTENT_PX`, and the (y, x) of its middle."""
    generator = np.random.default_rng(seed)
    y, x = (int(generator.integers(0, length - WINDOW)) for length in frame.shape[:2])
    part = frame[y : y + WINDOW, x : x + WINDOW].copy()
    made = add_defect(study(part), kind, EXTENT_PX / WINDOW, CONTRAST, generator)
    spoiled = frame.copy()
    spoiled[y : y + WINDOW, x : x + WINDOW] = made.image
    y0, x0, y1, x1 = made.box
    return spoiled, (y + (y0 + y1) // 2, x + (x0 + x1) // 2)


# ------------------------------------------------------------------------------------------------------- seams


def seams(arguments: argparse.Namespace) -> None:
    """Prints the difference of patches by their distance from a seam, for each overlap."""
    for path in arguments.images:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        rows = [("overlap", *(f"from {low} px" for low in BINS))]
        for overlap in OVERLAPS:
            side = 3 * SEAM_TILE - 2 * overlap  # three tiles, which overlap by no more than is asked
            picture = mirrored(image, (side, side))
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "picture.png"
                cv2.imwrite(str(file), picture)
                whole = _stages(arguments, None, file, side).engine(picture[None])
                stages = _stages(arguments, (SEAM_TILE, SEAM_TILE, overlap), file, side)
            rows.append((str(overlap), *_by_distance(stages, picture, whole)))
        print(
            f"{path.name}, 3 x 3 tiles of {SEAM_TILE} pixels: largest difference of a patch, as a share of the median"
        )
        print("distance of two patches, by its distance from the nearest seam")
        print(aligned(rows), flush=True)


def _stages(arguments: argparse.Namespace, tiles: tuple[int, ...] | None, image: Path, side: int) -> Stages:
    options = _options(arguments, "seams", tiles=tiles, input_size=(side, side))
    return open_stages(options, open_network(options), FrameSpec(None), None, [image], (side, side))


def _by_distance(stages: Stages, picture: Picture, whole: NDArray[np.float32]) -> list[str]:
    unit = float(np.median(np.linalg.norm(whole - np.random.default_rng(0).permutation(whole), axis=1)))
    height, width = stages.backbone.grid
    tiles = stages.backbone.tiles
    assert tiles is not None
    found = np.empty_like(whole)
    owner = np.empty(len(whole), np.int32)
    for number, tile in enumerate(tiles_of(stages.backbone, stages.masks)):
        found[tile.numbers] = stages.engine(tile.cut(picture[None]))[tile.rows]
        owner[tile.numbers] = number
    apart = (np.linalg.norm(found - whole, axis=1) / unit).reshape(height, width)
    grid = owner.reshape(height, width)
    seam = np.zeros((height, width), np.uint8)
    seam[:, 1:] |= grid[:, 1:] != grid[:, :-1]
    seam[:, :-1] |= grid[:, 1:] != grid[:, :-1]
    seam[1:] |= grid[1:] != grid[:-1]
    seam[:-1] |= grid[1:] != grid[:-1]
    far = (cv2.distanceTransform(1 - seam, cv2.DIST_C, 3)) * tiles.stride
    return [f"{float(apart[far >= low].max()):.1e}" if (far >= low).any() else "" for low in BINS]


# ------------------------------------------------------------------------------------------------------- large


def large(arguments: argparse.Namespace) -> None:
    """Makes the frames, exports, inspects; prints what was found and what it took."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder = Path(scratch)
        category = load_category(find_category(str(arguments.folder), None))
        images = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in category.train_good[: arguments.textures]]
        for i in range(arguments.goods):
            frame = good_frame(images[i % len(images)], arguments.frame, i)
            _save(folder / "large" / "train" / "good" / f"{i:03d}.png", frame)
        places: dict[str, tuple[int, int] | None] = {}
        for i in range(arguments.tests):
            frame = good_frame(images[i % len(images)], arguments.frame, 1000 + i)
            places[f"{i}-good.png"] = None
            _save(folder / "test" / f"{i}-good.png", frame)
            for k, kind in enumerate(arguments.kinds):
                spoiled, place = with_defect(frame, kind, 2000 + 10 * i + k)
                places[f"{i}-{kind}.png"] = place
                _save(folder / "test" / f"{i}-{kind}.png", spoiled)
        (folder / "places.json").write_text(json.dumps(places), encoding="utf-8")
        for way in ("tiles", "shrunk"):
            print(f"--- {way}", flush=True)
            for stage in ("export", "inspect"):
                command = [sys.executable, "-m", "bench.tiles", stage, str(folder), "--way", way]
                subprocess.run([*command, *arguments.passed_on], check=True)


def export(arguments: argparse.Namespace) -> None:
    """One of the processes of `large`: exports, and prints its peak memory."""
    values = {"tiles": arguments.tiles} if arguments.way == "tiles" else {}
    out = arguments.folder / f"{arguments.way}.bundle"
    options = _options(
        arguments,
        str(arguments.folder / "large"),
        out=out,
        effort=arguments.effort,
        coreset=arguments.coreset,
        **values,
    )
    print(export_bundle(options))
    print(f"export: peak memory {_peak_mb():,.0f} MB", flush=True)


def inspect(arguments: argparse.Namespace) -> None:
    """One of the processes of `large`: inspects, and prints verdicts, times and peak memory."""
    places = json.loads((arguments.folder / "places.json").read_text(encoding="utf-8"))
    runtime = Runtime(arguments.folder / f"{arguments.way}.bundle", threads=arguments.threads, profile=False)
    rows = [("frame", "score", f"of {runtime.threshold:.4g}", "verdict", "the highest peak is off by", "ms")]
    times, before = [], 0.0
    for name, place in places.items():
        frame = cv2.imread(str(arguments.folder / "test" / name))
        verdict = runtime.inspect(frame)
        times.append(verdict.latency_ms)
        before = max(before, _peak_mb())
        off = ""
        if place is not None and verdict.is_anomalous:
            y, x = verdict.regions[0].peak_at
            off = f"{max(abs(y - place[0]), abs(x - place[1]))} px"
        share = verdict.score / verdict.threshold
        word = "anomalous" if verdict.is_anomalous else "good"
        rows.append((name, f"{verdict.score:.4g}", f"{share:.1%}", word, off, f"{verdict.latency_ms:.0f}"))
    print(aligned(rows))
    stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in verdict.timings.items())
    print(f"ms of a frame: median {np.median(times):.0f}, least {min(times):.0f} ({stages})")
    print(f"runtime: peak memory {before:,.0f} MB with scores alone, {_peak_mb():,.0f} MB with maps", flush=True)


def _save(path: Path, frame: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _options(arguments: argparse.Namespace, category: str, **values: object) -> Options:
    own = {"backbone": arguments.backbone, "weights": arguments.weights, "threads": arguments.threads, "to": "both"}
    return Options(category, **{**own, **values})


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main() -> int:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--backbone")
    common.add_argument("--weights", type=Path)
    common.add_argument("--threads", type=int, default=2)
    common.add_argument("--tiles", type=_numbers, default=(1024, 1024))
    common.add_argument("--effort", default="quick")
    common.add_argument("--coreset", type=float)
    parser = argparse.ArgumentParser(description="What a seam does, and a frame of 20 megapixels.")
    parts = parser.add_subparsers(dest="part", required=True)
    of_seams = parts.add_parser("seams", parents=[common])
    of_seams.add_argument("images", type=Path, nargs="+")
    of_large = parts.add_parser("large", parents=[common])
    of_large.add_argument("folder", type=Path)
    of_large.add_argument("--frame", type=_numbers, default=(3648, 5472))
    of_large.add_argument("--goods", type=int, default=14)
    of_large.add_argument("--tests", type=int, default=3)
    of_large.add_argument("--textures", type=int, default=4)
    of_large.add_argument("--kinds", nargs="+", default=KINDS)
    of_large.add_argument("--scratch", type=Path)
    for name in ("export", "inspect"):
        of_one = parts.add_parser(name, parents=[common])
        of_one.add_argument("folder", type=Path)
        of_one.add_argument("--way", choices=("tiles", "shrunk"), required=True)
    arguments = parser.parse_args()
    kept = {"--backbone": arguments.backbone, "--weights": arguments.weights, "--effort": arguments.effort}
    kept |= {"--coreset": arguments.coreset}
    kept |= {"--threads": arguments.threads, "--tiles": ",".join(map(str, arguments.tiles))}
    arguments.passed_on = [part for flag, value in kept.items() if value is not None for part in (flag, str(value))]
    {"seams": seams, "large": large, "export": export, "inspect": inspect}[arguments.part](arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
