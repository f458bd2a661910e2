"""The picture of the README: a frame beside its overlay, for some images of a category.

python -m bench.picture cable.bundle data/cable/test docs/verdicts.jpg good/000.png missing_core/001.png ...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from edge_ad import Runtime
from edge_ad.frames.check import read_frame

SIDE = 300  # pixels of each image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("images", nargs="+")
    options = parser.parse_args()
    runtime = Runtime(options.bundle)
    columns = []
    for name in options.images:
        frame = read_frame(options.folder / name)
        pair = (frame, runtime.inspect(frame).overlay(frame))
        columns.append(np.vstack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in pair]))
    if not cv2.imwrite(str(options.out), np.hstack(columns)):
        raise SystemExit(f"cannot write {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
