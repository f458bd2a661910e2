"""How much normals of good captures differ from their mean, cause by cause: what bounds every method of the table.

python -m bench.surfaces.spread ../shared/data/photometric_stereo
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from bench.surfaces import captures
from bench.surfaces.baseline import high_pass
from bench.surfaces.captures import Array, Scene, capture, open_scene
from edge_ad.frames.photometric.sets import find_sets, is_set
from edge_ad.system.tables import aligned

SETS = ("readingPNG", "buddha", "owl")
CAPTURES = 10
STILL = {"SHIFT_PX": 0.0, "JITTER_DEGREES": 0.0, "GAIN": 0.0}
CAUSES = {
    "noise": {},
    "movement": {"SHIFT_PX": captures.SHIFT_PX},
    "wrong lights": {"JITTER_DEGREES": captures.JITTER_DEGREES, "GAIN": captures.GAIN},
    "subset": {},
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.surfaces.spread", description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the sets, or of folders of them")
    data = parser.parse_args(arguments).data
    tops = [top for top in sorted(data.iterdir()) if top.is_dir()]
    places = {folder.name: folder for top in tops for folder in ([top] if is_set(top) else find_sets(top))}
    rows = [("set", "cause", "degrees: median pixel", "90%", "99%", "high-passed: median", "90%", "99%")]
    for name in SETS:
        scene = open_scene(places[name], "station")
        for cause, values in CAUSES.items():
            with mock.patch.multiple(captures, **{**STILL, **values}):
                rows.append((name, cause, *_spread(scene, cause)))
    print(aligned(rows, [False, False, *[True] * 6]))
    return 0


def _spread(scene: Scene, cause: str) -> list[str]:
    generator = np.random.default_rng(0)
    own = scene if cause == "noise" else dataclasses.replace(scene, noise=np.zeros_like(scene.noise))
    count = len(scene.surface.pictures)
    kept = count - round(captures.LEFT_OUT * count) if cause == "subset" else count
    made = [capture(own, np.sort(generator.choice(count, kept, replace=False)), generator) for _ in range(CAPTURES)]
    judged = made[0].judged
    plain = np.stack([one.normals for one in made])
    fine = np.stack([high_pass(one.normals, judged) for one in made])
    return [f"{value:.2f}" for each in (plain, fine) for value in np.percentile(_degrees(each, judged), (50, 90, 99))]


def _degrees(maps: Array, judged: Array) -> Array:
    """Deviation of each judged pixel, degrees."""
    return np.degrees(np.sqrt(((maps - maps.mean(axis=0)) ** 2).sum(axis=3).mean(axis=0)))[judged]


if __name__ == "__main__":
    sys.exit(main())
