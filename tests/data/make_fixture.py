"""Makes the golden bundles of a format: `SOURCE_DATE_EPOCH=1700000000 python -m tests.data.make_fixture`.

Run it once for a new format version, under a new name, and commit what it writes; the bundles of older formats stay
as they are, because they must load for ever. Needs the export's packages, but not torch; with the word `trained` it
makes the bundle whose network is trained, which needs it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from edge_ad import Runtime
from export.importers.command import main as import_model
from export.pipeline import export_bundle
from tests.export.importers.graphs import gaussians, padim_graph
from tests.stacks import stack, stack_options, write_stacks
from tests.tiny import bad_frame, good_frame, tiny_options, write_backbone, write_material

DATA = Path(__file__).parent
CHANGES: dict[str, dict[str, object]] = {
    "format-2": {"roi": "20,18,46,44", "halo": 2, "to": "onnx", "reweight": 5, "local_scale": 0.75, "smooth": 0.7},
    "format-2-second": {"second_size": (48, 48), "to": "onnx"},
    "format-2-drift": {"to": "onnx"},
    "format-2-scale": {"to": "onnx", "local_scale": 1.0, "smooth": 1.0, "rule": "tail"},
    "format-3": {"align": "similarity", "roi": "10,10,54,54", "to": "onnx"},
}  # what is new in a format; a bundle without that is written in the one before
TRAINED: dict[str, dict[str, object]] = {
    "format-3-autoencoder": {
        "method": "autoencoder",
        "backbone": None,
        "layers": None,
        "threads": 1,
        "steps": 200,
        "width": 4,
        "to": "onnx",
    }
}


def main(wanted: dict[str, dict[str, object]] = CHANGES) -> int:
    frames = {f"good-{i}": good_frame(9000 + i) for i in range(2)} | {f"bad-{i}": bad_frame(9002 + i) for i in range(2)}
    stacks = {"stack-good": stack(9000), "stack-bad": stack(9002, dent=True)}
    for name, frame in frames.items():
        cv2.imwrite(str(DATA / f"{name}.png"), frame)
    for name, pictures in stacks.items():  # one below the other
        cv2.imwrite(str(DATA / f"{name}.png"), np.concatenate(list(pictures)))
    with tempfile.TemporaryDirectory() as name:
        folder = write_material(Path(name), tests=1)
        made = {
            stem: _made(stem, partial(_exported, tiny_options, folder, changes), frames)
            for stem, changes in wanted.items()
        }
    if wanted is TRAINED:
        (DATA / "format-3-autoencoder.json").write_text(json.dumps(made, indent=2) + "\n")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_stacks(folder / "part", tests=1)
        write_backbone(folder / "backbone.onnx")
        made["format-4"] = _made("format-4", partial(_exported, stack_options, folder, {"to": "onnx"}), stacks)
    made["format-5"] = _made("format-5", _imported, frames)
    for version in (2, 3, 4, 5):
        own = {stem: answers for stem, answers in made.items() if stem.startswith(f"format-{version}")}
        (DATA / f"format-{version}.json").write_text(json.dumps(own, indent=2) + "\n")
    return 0


def _exported(options: Callable[..., Any], folder: Path, changes: dict[str, object], out: Path) -> None:
    export_bundle(options(folder, out=out, **{"rule": "percentile", **changes}))  # the default when most were made


def _imported(out: Path) -> None:
    """A PaDiM as anomalib exports it, whose score is the peak of its map."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_material(Path(name), tests=1)
        onnx.save(padim_graph(folder, *gaussians(folder)), str(folder / "model.onnx"))
        words = [folder / "model.onnx", "--data", folder / "part", "--out", out, "--to", "onnx", "--false-reject", 0.05]
        import_model([str(word) for word in words])


def _made(stem: str, make: Callable[[Path], None], frames: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Makes a bundle; its answers."""
    make(out := DATA / f"{stem}.bundle")
    runtime = Runtime(out, search="exact")
    verdicts = {frame: runtime.inspect(pixels) for frame, pixels in frames.items()}
    for frame, verdict in verdicts.items():
        if verdict.is_anomalous != ("bad" in frame):
            raise SystemExit(f"{stem}: {frame} scores {verdict.score} at threshold {verdict.threshold}")
    return {
        frame: {"score": verdict.score, "peak": float(verdict.anomaly_map.max())} for frame, verdict in verdicts.items()
    }


if __name__ == "__main__":
    sys.exit(main(TRAINED if sys.argv[1:] == ["trained"] else CHANGES))
