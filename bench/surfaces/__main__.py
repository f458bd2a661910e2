"""Defects in the height of real surfaces, by depth: autoencoder, PatchCore, PaDiM and baselines. One Markdown table.

    python -m bench.surfaces ../shared/data/photometric_stereo [--ways subset elsewhere station] [--sheets docs]

Sets: readingPNG of DiLiGenT, buddha and owl of the University of Washington. `captures.py` says how good captures and
defects are made of them, `product.py` how the methods see them, `baseline.py` what there is without a network. All is
kept in `--folder`: a run that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.surfaces import product
from bench.surfaces.baseline import Anywhere, Place
from bench.surfaces.captures import GOOD, WAYS, Capture, Scene, draw_captures, open_scene
from bench.surfaces.figures import Record, keep, kept, measure
from bench.surfaces.matched import Matched
from bench.surfaces.sheet import EXAMPLES, depth_figure, sheet, write_sheet
from bench.surfaces.table import Row, table
from edge_ad.frames.photometric.sets import find_sets, is_set
from edge_ad.system.entry import run_command, say

SETS = ("readingPNG", "buddha", "owl")
BASELINES = ("baseline", "linear", "matched")
PLACES = ("linear", "matched")  # what they know belongs to places
METHODS = (*BASELINES, *product.METHODS)
MODES = 8  # principal changes of good captures that `linear` takes away


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.surfaces", description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("data", type=Path, help="folder of the sets, or of folders of them")
    add("--sets", nargs="+", default=list(SETS), help=f"default: {' '.join(SETS)}")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="how captures differ (default: all)")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-surfaces", help="where all is kept")
    add("--sheets", type=Path, metavar="DIR", help="write contact sheets and the figure by depth there")
    options = parser.parse_args(arguments)
    return run_command(lambda: _run(options), f"interrupted; the same command goes on from {options.folder}")


def _run(options: argparse.Namespace) -> int:
    places = {folder.name: folder for top in sorted(options.data.iterdir()) if top.is_dir() for folder in _sets(top)}
    rows = []
    for way in options.ways:
        for name in options.sets:
            work = Work(places[name], way, options.folder / way / name)
            own = [method for method in options.methods if way != "elsewhere" or method not in PLACES]
            rows += [Row(way, name, method, work.record(method)) for method in own]
            if options.sheets is not None:
                write_sheet(options.sheets / f"surfaces_{way}_{name}", sheet(work.folder, options.methods))
    print(table(rows))
    if options.sheets is not None:
        write_sheet(options.sheets / "surfaces_depth", depth_figure(rows))
    return 0


def _sets(top: Path) -> list[Path]:
    return [top] if is_set(top) else find_sets(top)


class Work:
    """One set in one way; nothing is made before it is asked for."""

    def __init__(self, place: Path, way: str, folder: Path) -> None:
        self._place, self._way, self.folder = place, way, folder
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, method: str) -> Record:
        """What a method sees."""
        path = self.folder / f"{method}.json"
        old = kept(path)
        if old is not None and (self.folder / f"{method}.npz").exists():
            return old
        train, tests = _captures(self._place, self._way)
        start = time.perf_counter()
        scores, maps, threshold, made = self._look(method, train, tests)
        record = measure(tests, scores, maps, threshold, (made - start, time.perf_counter() - made))
        self._keep_examples(method, tests, maps)
        keep(path, record)
        say(
            f"{self._way}, {self._place.name}, {method}: found {record.target:.2f}, image AUROC "
            f"{record.image_auroc:.3f}, pixel {record.pixel_auroc:.3f}; {sum(record.seconds):.0f} s"
        )
        return record

    def _look(self, method: str, train: list[Capture], tests: list[Capture]) -> tuple[Any, Any, float | None, float]:
        """Scores, maps, the threshold, and when the method was made."""
        if method in BASELINES:
            own = self._baseline(method, train)
            made = time.perf_counter()
            maps = np.stack([own.map(one) for one in tests])
            return maps.max(axis=(1, 2)), maps, None, made
        bundle = product.export(train, method, self._way, self.folder)
        made = time.perf_counter()
        return *product.look(bundle, tests), made

    def _baseline(self, method: str, train: list[Capture]) -> Anywhere | Place | Matched:
        if method == "matched":
            return Matched(train)
        return Anywhere(train) if self._way == "elsewhere" else Place(train, MODES if method == "linear" else 0)

    def _keep_examples(self, method: str, tests: list[Capture], maps: Any) -> None:
        """Some maps for the contact sheet; with an autoencoder, its reconstructions too."""
        chosen = [next(i for i, one in enumerate(tests) if (one.kind, one.depth_px) == wanted) for wanted in EXAMPLES]
        found = {"maps": maps[chosen], "normals": np.stack([tests[i].normals for i in chosen])}
        found["defects"] = np.stack([tests[i].defect for i in chosen])
        found["tops"] = np.array(np.percentile(maps[:GOOD], 99.9))
        if method == "autoencoder":
            found["repaired"] = product.repaired(self.folder / f"{method}.bundle", list(found["normals"]))
        np.savez_compressed(self.folder / f"{method}.npz", **found)


@cache
def _scene(place: Path, way: str) -> Scene:
    return open_scene(place, way)


_made: dict[tuple[Path, str], tuple[list[Capture], list[Capture]]] = {}


def _captures(place: Path, way: str) -> tuple[list[Capture], list[Capture]]:
    """The captures, those of the last set alone: they take a gigabyte."""
    if (place, way) not in _made:
        _made.clear()
        _made[place, way] = draw_captures(_scene(place, way), way)
    return _made[place, way]


if __name__ == "__main__":
    sys.exit(main())
