"""Methods of edge-ad on the normal maps of captures, by the way that users go: export of stacks, bundle, Runtime.

Each capture has lights of its own, and a bundle has one set of lights. So a normal map goes in as three pictures of a
white matt surface with those normals, under three fixed lights near the camera, in 16 bits. From these the product's
own photometric stereo finds the normals again, to some hundredths of a degree.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.surfaces.captures import Array, Capture
from edge_ad import Runtime
from edge_ad.frames.photometric import make_lights
from edge_ad.frames.photometric.lights import directions_of, lights_to_json
from edge_ad.serving.reconstruct import Reconstructor
from edge_ad.system.files import write_output
from export.options import Options
from export.pipeline import export_bundle

TILT_DEGREES, GAIN = 3.0, 60000.0  # so little: a normal that is steeper than 87 degrees is dark under one of them
METHODS = ("autoencoder", "patchcore", "padim", "relief")  # relief: PaDiM on the backbone of that name
STEPS = 300  # of the autoencoder
ENLARGED = 2  # times, for the backbone: a scratch is one pixel wide


def carriers() -> Any:
    """Three lights around the camera."""
    turn, tilt = np.arange(3) * 2 * np.pi / 3, np.radians(TILT_DEGREES)
    return make_lights(
        np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.full(3, np.cos(tilt))], 1)
    )


def as_stack(normals: Array) -> Array:
    """(3, h, w) u16 pictures that carry (h, w, 3) normals."""
    shades = np.maximum(np.einsum("lc,hwc->lhw", directions_of(carriers()), normals), 0)
    return np.rint(GAIN * shades).astype(np.uint16)


def write_stack(folder: Path, normals: Array) -> None:
    """Writes the pictures of a normal map into a folder."""
    for name, picture in enumerate(as_stack(normals)):
        write_output(folder / f"{name}.png", [cv2.imencode(".png", picture)[1].tobytes()])


def export(train: Sequence[Capture], method: str, way: str, folder: Path, **options: Any) -> Path:
    """The bundle of a method, of good captures alone. A stopped training goes on."""
    category, out = folder / "part", folder / f"{method}.bundle"
    for number, one in enumerate(train):
        place = category / "train" / "good" / f"{number:03}"
        place.mkdir(parents=True, exist_ok=True)
        write_stack(place, one.normals)
    (folder / "lights.json").write_bytes(lights_to_json(carriers()))
    size = train[0].normals.shape[:2]
    given: dict[str, Any] = {"input_size": size, "steps": STEPS} if method == "autoencoder" else {}
    if method == "relief":
        given = {"backbone": method, "input_size": size}
    elif method != "autoencoder":
        given["input_size"] = (ENLARGED * size[0], ENLARGED * size[1])
    if way != "elsewhere":
        assert cv2.imwrite(str(folder / "judged.png"), 255 * train[0].judged.astype(np.uint8))
        given["roi"] = str(folder / "judged.png")
    given |= {"input": "photometric", "lights": folder / "lights.json", "normals": "least_squares"}
    with contextlib.redirect_stdout(sys.stderr):
        own = "padim" if method == "relief" else method
        export_bundle(Options(str(category), method=own, out=out, to="onnx", **given, **options))
    return out


def look(bundle: Path, tests: Sequence[Capture]) -> tuple[Array, Array, float]:
    """(n,) scores and (n, h, w) float32 maps of captures, judged where they are to be; and the bundle's threshold."""
    runtime = Runtime(bundle)
    scores, maps = [], []
    for one in tests:
        verdict = runtime.inspect(as_stack(one.normals), roi=one.judged)
        scores.append(verdict.score)
        maps.append(np.where(one.judged, verdict.anomaly_map, 0))
    return np.array(scores), np.stack(maps).astype(np.float32), float(runtime.threshold)


def repaired(bundle: Path, normals: Sequence[Array]) -> Array:
    """(n, h, w, 3) u8 pictures of normal maps as an autoencoder's bundle would have them."""
    own = Reconstructor(bundle)
    found = []
    for one in normals:
        with tempfile.TemporaryDirectory(prefix="edge-ad-surfaces-") as scratch:
            write_stack(Path(scratch), one)
            found.append(own(scratch))
    return np.stack(found)
