"""`edge-ad eval`, as its tests call it."""

from __future__ import annotations

import csv
from pathlib import Path

from edge_ad.cli import main

PIXELS = ("pixel_auroc", "pixel_ap", "au_pro_30", "au_pro_05", "seg_f1")
RANKING = ("image_auroc", "image_ap", "image_f1_max")


def evaluate(bundle: Path, data: Path, out: Path, *more: str) -> int:
    """The exit status."""
    return main(["eval", str(bundle), "--data", str(data), "--out", str(out), *more])


def table(out: Path) -> list[dict[str, str]]:
    """The rows of summary.csv."""
    with (out / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def line_of(text: str, start: str) -> list[str]:
    """The words of a row of the printed table."""
    return next(line for line in text.splitlines() if line.startswith(start) and "patchcore" in line).split()
