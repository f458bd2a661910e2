"""`python -m export.synth --heights STACKS --out DIR`: stacks relit with defects in their height, in MVTec AD layout.

    DIR/test/good/NAME/0000.png ...                                the stacks as they are, picture by picture; and
                                                                   ambient.png where a stack has one
    DIR/test/synthetic_KIND/synthetic_KIND_0000/0000.png ...       relit: a picture under each light
    DIR/ground_truth/synthetic_KIND/synthetic_KIND_0000_mask.png
    DIR/normals/N_NAME.npy, .png and L_NAME.json                   normals of a good stack, and its lights
    DIR/normals/A_synthetic_KIND_0000.npy, .png                    normals that stereo finds in the relit one
    DIR/normals/M_synthetic_KIND_0000.npy, .png                    where the height changed
    DIR/synthetic.json                                             kind, extent, depth, seed and stack of each
    DIR/sheets/synthetic_KIND.png                                  with --sheet

STACKS is a set or a folder of sets, in the layouts of `edge_ad.frames.photometric.sets`: folders of numbered pictures
are such. DIR appears when it is complete, or not at all.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.data.layouts import expand_home
from edge_ad.errors import DatasetError, FrameError, SpecError
from edge_ad.frames.capture import AMBIENT
from edge_ad.frames.photometric import normals, read_lights
from edge_ad.frames.photometric.lights import lights_to_json
from edge_ad.frames.photometric.normal_map import to_frame
from edge_ad.frames.photometric.pictures import read_picture
from edge_ad.frames.photometric.sets import LightSet, find_sets, read_set
from edge_ad.frames.photometric.solve import require_light
from edge_ad.frames.picture import to_u8
from edge_ad.spec import FrameSpec, LightsSpec, Pixels
from edge_ad.spec.base import Range
from edge_ad.spec.frame import WHITE_LEVELS
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.files import write_new
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from export.synth.folder import filled, png, require_free
from export.synth.options import COUNT, list_of
from export.synth.relief import DEPTHS, RELIEF_KINDS, draw_extent, relief
from export.synth.relight import Surface, open_surface, relit
from export.synth.sheet import Sample, contact_sheet, sample

FLAG = "--heights"
RECORD = "synthetic.json"
_ABOUT = "Synthetic defects in the height of surfaces. Figures from them are not measured on real defects."
_VERSION = 1  # of the drawing: counts up when the same seed gives other pictures
_INSET_PX, _STEEP = 3, 0.35  # from the outline; z of a normal: a place beyond them shows too little of its surface


@dataclass(frozen=True)
class _Item:
    kind: str
    depth_px: float
    number: int
    stack: int
    seed: tuple[int, ...]

    @property
    def folder(self) -> str:
        return f"synthetic_{self.kind}"

    @property
    def name(self) -> str:
        return f"{self.folder}_{self.number:04}"


def run(arguments: Sequence[str]) -> int:
    """Makes stacks with defects; returns the exit code 0.

    Raises:
        EdgeADError: an option, a stack or the folder cannot be used.
    """
    options = _parser().parse_args(arguments)
    _check(options)
    began, out = time.monotonic(), expand_home(str(options.out))
    require_free(out)
    sets = [read_set(folder, lights_too=options.lights is None) for folder in find_sets(options.stacks)]
    given = None if options.lights is None else read_lights(options.lights)
    with filled(out) as staging:
        rows = _write_all(staging, options, sets, given)
    print(
        f"{printable(out)}: {len(rows)} synthetic defects in height of {len(options.kinds)} kinds on {len(sets)} "
        f"stacks; {time.monotonic() - began:.1f} s"
    )
    print(f"next: edge-ad eval BUNDLE --data {printable(shlex.quote(str(out)))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"python -m export.synth {FLAG}",
        description="Relights stacks of photometric stereo with defects in the height of their surface.",
    )
    add = parser.add_argument
    add("stacks", type=given_path, metavar="STACKS", help="a stack of a good part, or a folder of them")
    add("--out", type=given_path, required=True, metavar="DIR", help="folder to write; it must be new or empty")
    add("--lights", type=given_path, help="lights.json or lights.txt; by default those of each stack")
    names = ", ".join(RELIEF_KINDS)
    add(
        "--kinds",
        type=list_of(str, "kinds"),
        default=tuple(RELIEF_KINDS),
        metavar="A,B",
        help=f"kinds of defects, out of {names}; by default all",
    )
    add(
        "--depths",
        type=list_of(float, "numbers"),
        default=(0.25, 0.5, 1.0, 2.0),
        metavar="X,Y",
        help=f"depths in pixels, {DEPTHS.text}: one pixel of height is as long as one of the picture",
    )
    add("--count", type=int, default=1, help="defects of each kind and depth")
    add("--seed", type=int, default=0, help="other places and shapes; same seed, same bytes")
    add("--white-level", type=int, default=65535, help="u16 value that is white; default: %(default)s")
    add("--sheet", action="store_true", help="write a contact sheet of each kind too, to look at")
    return parser


def _check(options: argparse.Namespace) -> None:
    for kind in options.kinds:
        if kind not in RELIEF_KINDS:
            raise SpecError("--kinds names no kind of relief", expected=", ".join(RELIEF_KINDS), got=repr(kind))
    for depth in options.depths:
        DEPTHS.check(depth, "--depths")
    COUNT.check(options.count, "--count")
    Range(0, 2**32 - 1).check(options.seed, "--seed")
    WHITE_LEVELS.check(options.white_level, "--white-level")
    for name in ("kinds", "depths"):
        values = getattr(options, name)
        if len(set(values)) < len(values) or not values:
            got = ",".join(map(str, values)) or "nothing"
            raise SpecError(f"--{name} names one twice, or none", expected="each once", got=got)


def _items(options: argparse.Namespace, stacks: int) -> list[_Item]:
    """The defects to make, each on a stack by chance."""
    found = []
    for kind in options.kinds:
        number = 0
        for depth in options.depths:
            for again in range(options.count):
                seed = (options.seed, zlib.crc32(kind.encode()), round(depth * 1e6), again)
                found.append(_Item(kind, depth, number, int(np.random.default_rng(seed).integers(stacks)), seed))
                number += 1
    return found


def _write_all(
    root: Path, options: argparse.Namespace, sets: Sequence[LightSet], given: LightsSpec | None
) -> list[dict[str, Any]]:
    """Writes everything into an empty folder; the rows of the record, by kind and number."""
    items = _items(options, len(sets))
    for part in ("test", "ground_truth"):
        for kind in options.kinds:
            (root / part / f"synthetic_{kind}").mkdir(parents=True)
    (root / "test/good").mkdir()
    (root / "normals").mkdir()
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    samples: dict[str, list[Sample]] = {kind: [] for kind in options.kinds}
    with Progress("making synthetic defects", len(items), "defects") as progress:
        for number, one in enumerate(sets):
            surface = _opened(one, given, options.white_level)
            _write_stack(root / "test/good" / one.name, surface.pictures, surface.ambient)
            _write_normals(root, f"N_{one.name}", surface.found.normals)
            write_new(root / f"normals/L_{one.name}.json", lights_to_json(surface.lights))
            room = _room(surface, one)
            for item in (each for each in items if each.stack == number):
                row, seen = _make(root, item, one, surface, room, options.white_level)
                rows[item.kind, item.number] = row
                samples[item.kind].append(seen)
                progress.update()
    if options.sheet:
        (root / "sheets").mkdir()
        for kind, found in samples.items():
            heading = f"synthetic {kind}: normals of the good stack left, with the defect right"
            sheet = contact_sheet(heading, found, min(4, len(found)))
            write_new(root / f"sheets/synthetic_{kind}.png", png(sheet))
    ordered = [rows[item.kind, item.number] for item in items]
    asked = {name: getattr(options, name) for name in ("kinds", "depths", "count", "seed")}
    record = {"synthetic": True, "about": _ABOUT, "version": _VERSION, "asked": asked, "defects": ordered}
    write_new(root / RECORD, f"{json.dumps(record, indent=1)}\n".encode())
    return ordered


def _opened(one: LightSet, given: LightsSpec | None, white_level: int) -> Surface:
    lights = one.lights if given is None else given
    if lights is None:
        raise DatasetError(
            f"the lights of {one.name} are not known",
            expected="lights.txt or lights.json beside it, or --lights",
            got="neither",
            remedy="Find them from a chrome sphere: edge-ad lights.",
        )
    spec = FrameSpec(None, "bgr", 16, white_level)
    pictures = [read_picture(path, spec) for path in one.pictures]
    ambient = None if (without := _ambient_of(one)) is None else read_picture(without, spec)
    try:
        surface = open_surface(pictures, lights, one.mask, ambient, white_level)
        require_light(pictures)
    except FrameError as error:
        what = f"{one.pictures[0].parent}: {error.what}"
        raise FrameError(what, expected=error.expected, got=error.got, remedy=error.remedy) from error
    return surface


def _ambient_of(one: LightSet) -> Path | None:
    """The file of the picture without the lights; None where the stack has none.

    Raises:
        DatasetError: there are several.
    """
    folder = one.pictures[0].parent
    found = sorted(path for path in folder.iterdir() if path.stem.lower() == AMBIENT and path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DatasetError(f"{folder} has several pictures without the lights", expected="one at most", got=names)
    return found[0] if found else None


def _room(surface: Surface, one: LightSet) -> NDArray[np.float32]:
    """(H, W) float32: how far a place lies inside the part of the surface that can have a defect; 0 outside.

    Raises:
        DatasetError: no part can.
    """
    usable = surface.found.valid & (surface.found.normals[..., 2] >= _STEEP)
    if one.mask is not None:
        usable &= cv2.erode(one.mask.astype(np.uint8), np.ones((2 * _INSET_PX + 1,) * 2, np.uint8)) > 0
    if not usable.any():
        what = f"{one.pictures[0].parent} has no place for a defect"
        raise DatasetError(what, expected="pixels that face the camera", got="none")
    return cv2.distanceTransform(np.pad(usable.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32)


def _make(
    root: Path, item: _Item, one: LightSet, surface: Surface, room: NDArray[np.float32], white_level: int
) -> tuple[dict[str, Any], Sample]:
    """Writes one defect; its row of the record, and what a sheet shows of it."""
    generator = np.random.default_rng(item.seed)
    extent = draw_extent(item.kind, generator)
    height, mask = place(relief(item.kind, extent, item.depth_px, generator), extent, room, generator)
    pictures = relit(surface, height)
    solved = normals(pictures, surface.lights, mask=one.mask, ambient=surface.ambient, white_level=white_level)
    found = solved.normals
    marked = mask.astype(np.uint8) * 255
    _write_stack(root / f"test/{item.folder}/{item.name}", pictures, surface.ambient)
    write_new(root / f"ground_truth/{item.folder}/{item.name}_mask.png", png(marked))
    _write_normals(root, f"A_{item.name}", found)
    _write_pair(root, f"M_{item.name}", mask, marked)
    y, x = np.nonzero(mask)
    box = int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1
    before, after = (to_u8(to_frame(each), 255) for each in (surface.found.normals, found))
    row = {
        "file": f"test/{item.folder}/{item.name}",
        "mask": f"ground_truth/{item.folder}/{item.name}_mask.png",
        "kind": item.kind,
        "extent_px": round(extent, 2),
        "depth_px": item.depth_px,
        "seed": item.seed,
        "stack": one.name,
        "box": box,
    }
    return row, sample(f"depth {item.depth_px:g} px, extent {extent:.0f} px", before, after, box, 255)


def place(
    form: tuple[NDArray[np.float32], NDArray[np.bool_]],
    extent_px: float,
    room: NDArray[np.float32],
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A relief put on a surface: (H, W) float32 height, and (H, W) bool where it is. Outside the room nothing changes.

    Args:
        form: what `relief` gives.
        extent_px: of the relief.
        room: (H, W) float32, how far a place lies inside what may change; 0 outside, and above 0 somewhere.
        generator: the place comes from it.
    """
    height, where = form
    spots = np.argwhere(room >= min(extent_px / 3, 0.7 * float(room.max())))
    y, x = (int(at) for at in spots[int(generator.integers(len(spots)))])
    n, size = len(height), room.shape
    planes = []
    for given, dtype in ((height, np.float32), (where, np.bool_)):
        wide = np.zeros((size[0] + 2 * n, size[1] + 2 * n), dtype)
        wide[y - n // 2 + n : y - n // 2 + 2 * n, x - n // 2 + n : x - n // 2 + 2 * n] = given
        planes.append(wide[n : n + size[0], n : n + size[1]] * (room > 0).astype(dtype))
    return planes[0], planes[1]


def _write_stack(folder: Path, pictures: Sequence[Pixels], ambient: Pixels | None) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        write_new(folder / f"{number:04}.png", png(picture))
    if ambient is not None:
        write_new(folder / f"{AMBIENT}.png", png(ambient))


def _write_normals(root: Path, name: str, found: NDArray[np.float32]) -> None:
    _write_pair(root, name, found, to_u8(to_frame(found), 255))


def _write_pair(root: Path, name: str, array: NDArray[Any], picture: NDArray[np.uint8]) -> None:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    write_new(root / f"normals/{name}.npy", data.getvalue())
    write_new(root / f"normals/{name}.png", png(picture))
