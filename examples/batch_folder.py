"""Inspects a folder of images and writes a CSV table; an image that cannot be inspected has its error in it.

python examples/batch_folder.py cable.bundle images/ > verdicts.csv

Exit codes: 0 all good, 1 some anomalous, 2 an error.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from edge_ad import EdgeADError, FrameError, Runtime

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main(bundle: str, folder: str) -> int:
    """Returns the exit code."""
    try:
        runtime = Runtime(bundle)
    except EdgeADError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = csv.writer(sys.stdout)
    table.writerow(["file", "score", "anomalous", "error"])
    failed = anomalous = 0
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in SUFFIXES]
    for path in paths:
        try:
            verdict = runtime.inspect(path)
        except FrameError as error:
            failed += 1
            table.writerow([path, "", "", error])
        else:
            anomalous += verdict.is_anomalous
            table.writerow([path, f"{verdict.score:.6g}", int(verdict.is_anomalous), ""])
    if not paths:
        print(f"error: there are no images in {folder}", file=sys.stderr)
    return 2 if failed or not paths else 1 if anomalous else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
