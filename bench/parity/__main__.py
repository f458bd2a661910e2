"""edge-ad's PatchCore and PaDiM against anomalib's, with the same weights, input size, images and coreset fraction.

    python -m bench.parity ../shared/data/bottle ../shared/data/magnetic_tile --leave-out uneven \\
        --weights ../shared/weights/resnet18_to_layer3.pth --peer-python PEER/bin/python [--out FILE.md]

anomalib needs an environment of its own (pip install anomalib); `--peer-python` is its interpreter. Its scores are raw
ones, neither normalised nor clamped; its maps and edge-ad's are compared with the masks at the input size. A first
table has both sides with random draws of their own (start and projection of the coreset, channels) and with the same
draws; then, a step at a time, the peer takes over edge-ad's stages, until nothing is left that differs.

edge-ad rounds a resized picture to 8 bits, whatever the depth of the frame; anomalib goes on with floats. So edge-ad is
measured both ways, with the same rows and channels: as it is, and with the same resize of the same pictures but without
that rounding, which is anomalib's setting and none that a bundle can have.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import shlex
import sys
import tempfile
from pathlib import Path

from bench.parity.category import EDGE, LAYERS, METHODS, OWN, PATCHCORE, PLAIN, SAME, SIZE, UNROUNDED, Category, Steps
from bench.parity.compare import Figures, ladder_lines, parity_lines
from bench.peer.process import PeerProcess, check_peer, open_peer
from edge_ad.spec import RESIZES
from edge_ad.system.cpu import detect_cpu
from edge_ad.system.entry import run_command


def report(category: Category, found: dict[str, dict[tuple[str, ...], Steps]]) -> list[str]:
    """What was found of a category, in Markdown."""
    lines = []
    good_images, images = len(category.good_images), len(category.images)
    for left_out in category.selections:
        without = f", without {', '.join(left_out)}" if left_out else ""
        lines += ["", f"## {category.path.name}{without}", ""]
        lines += [f"{good_images} good images to fit to, {images} test images, {len(category.seeds)} seeds.", ""]
        tables = {name: by_selection[left_out] for name, by_selection in found.items()}
        rows: list[tuple[str, Figures, Figures, bool]] = []
        for name, steps in tables.items():
            rows.append((f"{name}, draws of their own", steps[EDGE], steps[OWN], False))
            rows.append((f"{name}, the same draws", steps[EDGE], steps[SAME], True))
            rows.append((f"{name}, the same draws, not rounded", steps[UNROUNDED], steps[SAME], True))
        edge, anomalib = (f"PaDiM, {'+'.join(layers)}" for layers in LAYERS)
        for name, ours, theirs in (("PatchCore", PLAIN, PATCHCORE), ("PaDiM", edge, anomalib)):
            if ours in tables:
                rows.append((f"{name}, each as it comes", tables[ours][EDGE], tables[theirs][OWN], False))
        lines += parity_lines(rows)
        for name, steps in tables.items():
            lines += ["", f"{name}, from anomalib to edge-ad:", "", *ladder_lines(steps)]
    lines += ["", "Image scores of anomalib's last step and of edge-ad, not rounded, differ by at most (relative): "]
    lines[-1] += ", ".join(f"{name} {value:.1e}" for name, value in category.residuals.items()) + "."
    off = category.apart
    lines += ["", f"A resized pixel is off anomalib's by {off[UNROUNDED]:.3f} grey levels of 255 at most; "]
    lines[-1] += f"rounded to 8 bits by {off[EDGE]:.3f}."
    return lines


def header(options: argparse.Namespace, peer: PeerProcess) -> list[str]:
    """Command, machine, versions."""
    names = ("edge-ad", "numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch", "torchvision")
    ours = []
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            ours.append(f"{name} {importlib.metadata.version(name)}")
    theirs = ", ".join(f"{name} {version}" for name, version in peer.versions.items())
    return [
        "# Parity with anomalib",
        "",
        f"`python -m bench.parity {shlex.join(sys.argv[1:])}`",
        "",
        f"{datetime.date.today()}, {detect_cpu().model}, f32. Python {sys.version.split()[0]}, {', '.join(ours)}; "
        f"the peer {theirs}.",
        "",
        f"resnet18 ({options.weights.name}), {SIZE[0]} x {SIZE[1]} by {options.resize}, coreset {options.coreset:g} of "
        "layer2+layer3, "
        "PaDiM with 100 channels. A cell is the mean over seeds (lowest..highest), a difference is edge-ad less "
        "anomalib ± one standard error. Draws: projection and first pick of the coreset, PaDiM's channels. "
        "edge-ad rounds resized pictures to 8 bits, of any frames; lines 'not rounded' are without that.",
    ]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.parity", description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("categories", type=Path, nargs="+")
    add("--weights", type=Path, required=True, help="state dict of resnet18, up to layer3 at least")
    add("--peer-python", type=Path, required=True, help="interpreter of the environment with anomalib")
    add("--methods", choices=METHODS, nargs="+", default=METHODS, help="default: both")
    add("--coreset", type=float, default=0.01)
    add("--resize", choices=RESIZES, default="bilinear", help="edge-ad's filter (default: bilinear, as the peer's)")
    add("--seeds", type=int, default=3)
    add("--leave-out", nargs="*", default=[], help="kinds of defect: figures without them are given beside those with")
    add("--threads", type=int, default=2, help="of either side")
    add("--out", type=Path, help="file for the report, beside standard output")
    return parser.parse_args()


def main() -> int:
    options = parse()
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    check_peer(options.peer_python)
    with tempfile.TemporaryDirectory(prefix="edge-ad-parity-") as scratch:
        folder = Path(scratch)
        with open_peer(options.peer_python, options.weights, SIZE[0], options.threads, folder) as peer:
            lines = header(options, peer)
            for path in options.categories:
                category = Category(path, options, peer, folder)
                lines += report(category, category.run())
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
