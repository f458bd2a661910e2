"""Scores of imported models beside those of the tools that trained them, on the same pixels and on the same files.

    python -m bench.imported ../shared/data/bottle --weights ../shared/weights/resnet18_to_layer3.pth --peer-python PY

anomalib trains and exports in its own environment (`bench.peer`); the importers read what it has written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.peer import peer_environment
from bench.peer.process import check_peer
from edge_ad import Runtime
from edge_ad.engines import installed_engines
from edge_ad.frames.capture import open_frame
from edge_ad.frames.crop import Crop
from edge_ad.system.command_line import given_path
from export.importers.command import main as import_model

MODELS = {  # name -> (the peer's kind, the file for the importer, the file for the peer)
    "patchcore-inspection": ("inspection", "inspection", "inspection"),
    **{
        f"anomalib {name}, {form}": (kind, f"{kind}/{file}", f"{kind}/model.ckpt")
        for kind, name in (("patchcore", "PatchCore"), ("padim", "PaDiM"))
        for form, file in (
            ("checkpoint", "model.ckpt"),
            ("ONNX", "weights/onnx/model.onnx"),
            ("IR", "weights/openvino/model.xml"),
        )
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of imported models beside those of their tools")
    parser.add_argument("category", type=given_path, help="category in MVTec AD layout")
    parser.add_argument("--weights", type=given_path, required=True, help="state dict of resnet18 up to layer3")
    parser.add_argument("--peer-python", type=given_path, required=True, help="Python with anomalib")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    version = check_peer(asked.peer_python)
    weights = str(asked.weights.absolute())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _ask(asked.peer_python, folder, "make", str(asked.category.absolute()), weights, name)
        print(f"anomalib {version}\n\n| model | engine | same pixels: largest, mean | own resize: largest, mean |")
        print("|---|---|---|---|")
        for title, (kind, ours, theirs) in MODELS.items():
            bundle = folder / f"{kind}.bundle"
            given = [
                folder / ours,
                "--data",
                folder / "part",
                "--out",
                bundle,
                "--to",
                "both",
                "--threads",
                asked.threads,
            ]
            given += ["--weights", weights] if kind == "inspection" else []
            import_model([str(word) for word in given])
            answers = _look(bundle, sorted((folder / "part/test").glob("*/*")), asked.threads, folder / "seen.npz")
            told = folder / "told.json"
            _ask(asked.peer_python, folder, "score", kind, folder / theirs, weights, folder / "seen.npz", told)
            expected = json.loads(told.read_text())
            for engine, scores in answers.items():
                cells = [_apart(scores, np.array(expected[way])) for way in ("same", "own")]
                print(f"| {title} | {engine} | {' | '.join(cells)} |")


def _ask(python: Path, folder: Path, *words: object) -> None:
    command = [str(python.absolute()), "-m", "bench.peer.imported", *map(str, words)]
    subprocess.run(command, check=True, cwd=folder, env=peer_environment(), stdout=subprocess.DEVNULL)


def _look(bundle: Path, files: Sequence[Path], threads: int, out: Path) -> dict[str, NDArray[np.float64]]:
    """Scores by each engine; the tensors go into `out`."""
    found = {}
    for engine in installed_engines():
        runtime = Runtime(bundle, engine=engine, threads=threads)
        found[engine] = np.array([runtime.inspect(path).score for path in files])
    manifest = runtime.manifest
    crop = Crop(manifest.frame, manifest.backbone, None, None)
    pixels = np.concatenate([crop(open_frame(path, manifest.frame)[0], from_file=True) for path in files])
    np.savez(out, pixels=pixels, files=np.array([str(path) for path in files]))
    return found


def _apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    relative = np.abs(ours - theirs) / theirs
    return f"{relative.max():.1e}, {relative.mean():.1e}"


if __name__ == "__main__":
    main()
