"""What a method saw of the captures of one set in one way, kept in a file so that it is not made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.surfaces.captures import DEPTHS, GOOD, Array, Capture
from edge_ad import __version__
from edge_ad.metrics import PixelSample, binary_auroc, pixel_metrics
from edge_ad.system.files import write_output

ROOT = Path(__file__).parents[2]
_MADE_BY = tuple(f"bench/surfaces/{name}.py" for name in ("captures", "baseline", "matched", "product"))
_MADE_BY += ("export/relief.py", *(f"export/autoencoder/{name}.py" for name in ("graph", "training", "unet")))
_MADE_BY += tuple(f"export/synth/{name}.py" for name in ("relief", "relight", "surface", "shapes"))
PLAIN = 0.5  # pixels of depth, from which on image and pixel figures count a defect
REJECTS = 0.05  # of the good captures of the test
LINES = ("scratch", "dent")  # kinds that the target is about


@dataclass(frozen=True)
class Record:
    """Figures of a method.

    Attributes:
        scores, kinds, depths: of each capture of the test, the good ones first.
        pixel_auroc: over the judged pixels of good captures and defects of depth `PLAIN` or more.
        pixel_auroc_all: the same with all defects.
        au_pro: over whole frames, as `edge_ad.metrics` has it, up to 30% false positives; of depth `PLAIN` or more.
        threshold: of the bundle; None for a baseline.
        seconds: of making it, and of the test.
    """

    scores: list[float]
    kinds: list[str]
    depths: list[float]
    pixel_auroc: float
    pixel_auroc_all: float
    au_pro: float
    threshold: float | None
    seconds: tuple[float, float]

    @property
    def limit(self) -> float:
        """The score that `REJECTS` of the good captures are above."""
        good = sorted(self.scores[:GOOD])
        return good[GOOD - 1 - int(REJECTS * GOOD)]

    @property
    def image_auroc(self) -> float:
        bad = [score for score, depth in zip(self.scores, self.depths, strict=True) if depth >= PLAIN]
        return binary_auroc(self.scores[:GOOD], bad)

    def found(self, kinds: Sequence[str], depths: Sequence[float], limit: float | None = None) -> float:
        """The share of defects above a limit, by default that of `REJECTS`."""
        level = self.limit if limit is None else limit
        rows = zip(self.scores, self.kinds, self.depths, strict=True)
        own = [score > level for score, kind, depth in rows if kind in kinds and depth in depths]
        return sum(own) / len(own)

    @property
    def target(self) -> float:
        """The share of scratches and dents of depth `PLAIN` or more that is found."""
        return self.found(LINES, [depth for depth in DEPTHS if depth >= PLAIN])

    @property
    def rejected(self) -> float | None:
        """The share of the good captures that the bundle's own threshold rejects."""
        return None if self.threshold is None else float(np.mean(np.array(self.scores[:GOOD]) >= self.threshold))


def measure(
    tests: Sequence[Capture], scores: Array, maps: Array, threshold: float | None, seconds: tuple[float, float]
) -> Record:
    """The figures of scores and (n, h, w) maps."""
    plain = [i for i, one in enumerate(tests) if one.kind == "good" or one.depth_px >= PLAIN]
    samples = [PixelSample(f"{i}", maps[i], tests[i].defect, tests[i].kind != "good") for i in plain]
    kinds, depths = [one.kind for one in tests], [one.depth_px for one in tests]
    aucs = [_pixel_auroc(tests, maps, chosen) for chosen in (plain, list(range(len(tests))))]
    pro = pixel_metrics(samples, 0.0).au_pro_30
    assert pro is not None
    return Record(scores.tolist(), kinds, depths, *aucs, pro, threshold, seconds)


def _pixel_auroc(tests: Sequence[Capture], maps: Array, chosen: Sequence[int]) -> float:
    good = np.concatenate([maps[i][tests[i].judged & ~tests[i].defect] for i in chosen])
    return binary_auroc(good, np.concatenate([maps[i][tests[i].defect] for i in chosen]))


def keep(path: Path, record: Record) -> None:
    """Writes a record, whole or not at all."""
    write_output(path, [json.dumps({"made_by": code_digest(), **asdict(record)}).encode()])


def kept(path: Path) -> Record | None:
    """The record in a file, if the same code made it."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("made_by") != code_digest():
            return None
        return Record(**{**document, "seconds": tuple(document["seconds"])})
    except (OSError, ValueError, KeyError, TypeError):  # not there, or of another version: made anew
        return None


@cache
def code_digest() -> str:
    """Of what decides captures and methods; the rest of the product counts by its version."""
    parts = [(ROOT / name).read_bytes() for name in _MADE_BY]
    return hashlib.blake2b(__version__.encode() + b"".join(parts), digest_size=8).hexdigest()
