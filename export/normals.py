"""`python -m export.normals DIR --out DIR`: normal maps of sets of photometric stereo, N_NAME.npy and N_NAME.png each.

DIR is a set or holds sets: see `edge_ad.frames.photometric.sets` for the layouts. No torch is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.frames.photometric import METHODS, Normals, normals, read_lights
from edge_ad.frames.photometric.normal_map import normal_files, write_normals
from edge_ad.frames.photometric.sets import LightSet, find_sets, read_set
from edge_ad.native import Pool
from edge_ad.spec import LightsSpec
from edge_ad.system.arguments import whole_number
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.cpu import default_threads
from edge_ad.system.entry import OK, run_command
from edge_ad.system.files import check_outputs
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from edge_ad.system.tables import aligned

_HEAD = ("set", "pictures", "with a normal", "residual", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes normal maps; returns the exit code, as `edge_ad.system.entry` has them."""
    return run_command(lambda: _run(_parse(arguments)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m export.normals", description="Makes normal maps of sets of photometric stereo.")
    add = parser.add_argument
    add(
        "sets",
        type=given_path,
        metavar="DIR",
        help="a set, or a folder of sets: DiLiGenT, or pictures with numbers and lights",
    )
    add("--out", type=given_path, required=True, metavar="DIR", help="folder for N_NAME.npy and N_NAME.png")
    add("--lights", type=given_path, help="lights.json or lights.txt; by default those of each set")
    add("--method", choices=METHODS, default=METHODS[0], help="default: %(default)s")
    add("--ambient", type=given_path, metavar="IMAGE", help="a picture without the lights, to subtract; for one set")
    add("--white-level", type=int, default=65535, help="u16 value that is white; default: %(default)s")
    add("--truth", action="store_true", help="compare with the true normals of DiLiGenT; needs scipy")
    add("--threads", type=int, help="most threads to use; by default one for each physical core")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    folders = find_sets(options.sets)
    if options.ambient is not None and len(folders) > 1:
        raise SpecError("--ambient is for one set", expected="the folder of a set", got=f"{len(folders)} sets")
    lights = None if options.lights is None else read_lights(options.lights)
    found = [read_set(folder, lights_too=lights is None) for folder in folders]
    _check_outputs(options, found)
    threads = None if options.threads is None else whole_number("--threads", options.threads, 1, 1024)
    pool = Pool(default_threads() if threads is None else threads)
    rows: list[tuple[str, ...]] = []
    with Progress("normals", len(found), unit="sets") as progress:
        for one in found:
            result = _solve(one, one.lights if lights is None else lights, options, pool)
            write_normals(options.out, one.name, result.normals)
            rows.append(_row(one, result, truth=options.truth))
            progress.update(1)
    head = _HEAD if options.truth else _HEAD[:-1]
    print(aligned([head, *rows], [False, *[True] * (len(head) - 1)]), file=sys.stdout)
    return OK


def _check_outputs(options: argparse.Namespace, found: list[LightSet]) -> None:
    """Refuses an output that is a file that this command reads, and a folder that is none."""
    if options.out.exists() and not options.out.is_dir():
        raise SpecError("--out is no folder", expected="a folder, or a new name", got=options.out)
    outputs = [("--out", path) for one in found for path in normal_files(options.out, one.name)]
    given = [path for path in (options.lights, options.ambient) if path is not None]
    read = [path for one in found for path in (*one.pictures, *one.others)]
    check_outputs(outputs, [("a file", path) for path in (*read, *given)])


def _solve(one: LightSet, lights: LightsSpec | None, options: argparse.Namespace, pool: Pool) -> Normals:
    if lights is None:
        raise DatasetError(
            f"the lights of {one.name} are not known",
            expected="lights.txt beside it, or --lights",
            got="neither",
            remedy="Find them from a chrome sphere: edge-ad lights.",
        )
    pictures = [str(path) for path in one.pictures]
    if lights.count != len(pictures):
        raise DatasetError(
            f"{one.pictures[0].parent} does not fit the lights",
            expected=f"{lights.count} pictures, as lights",
            got=len(pictures),
        )
    kept = {"ambient": options.ambient, "white_level": options.white_level, "pool": pool}
    return normals(pictures, lights, mask=one.mask, method=options.method, **kept)


def _row(one: LightSet, result: Normals, *, truth: bool) -> tuple[str, ...]:
    share, residual = result.lit_share(one.mask), result.mean_residual()
    row = printable(one.name), f"{len(one.pictures)}", f"{100 * share:.2f}%", f"{residual:.4f}"
    if not truth:
        return row
    if one.truth is None:
        return *row, "no truth"
    true, valid = true_normals(one.truth), result.valid
    if true.shape != result.normals.shape:
        raise DatasetError("the true normals have another size", expected=result.normals.shape, got=true.shape)
    cosines = np.clip((true * result.normals).sum(axis=2)[valid], -1, 1)
    errors = np.degrees(np.arccos(cosines))
    return *row, f"{errors.mean():.2f} mean, {np.median(errors):.2f} median degrees"


def true_normals(path: Path) -> NDArray[np.float32]:
    """(H, W, 3) float32 of DiLiGenT's Normal_gt.mat, in our camera frame.

    Raises:
        DatasetError: scipy, which reads it, is not installed, or the file holds something else.
    """
    try:
        import scipy.io
    except ImportError as error:
        raise DatasetError(f"{path.name} needs scipy", got=error, remedy="Run pip install scipy.") from error
    try:
        found = np.asarray(scipy.io.loadmat(str(path))["Normal_gt"], np.float32)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise DatasetError(f"{path} holds no normals", expected="Normal_gt of a MATLAB file", got=error) from error
    if found.ndim != 3 or found.shape[2] != 3:
        raise DatasetError(f"{path} holds no normals", expected="(H, W, 3)", got=found.shape)
    return found


if __name__ == "__main__":
    sys.exit(main())
