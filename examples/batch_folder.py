"""Inspects a folder of images and writes a CSV table; an image that cannot be inspected has its error in it.

python examples/batch_folder.py cable.bundle images/ > verdicts.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from edge_ad import FrameError, Runtime

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main(bundle: str, folder: str) -> int:
    """Returns 0 when all are good, 1 when some are anomalous, 2 when some could not be inspected."""
    runtime = Runtime(bundle)
    table = csv.writer(sys.stdout)
    table.writerow(["file", "score", "anomalous", "error"])
    failed = anomalous = 0
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            verdict = runtime.inspect(path)
        except FrameError as error:
            failed += 1
            table.writerow([path, "", "", error])
        else:
            anomalous += verdict.is_anomalous
            table.writerow([path, f"{verdict.score:.6g}", int(verdict.is_anomalous), ""])
    return 2 if failed else 1 if anomalous else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
