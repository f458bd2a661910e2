"""What a side saw of a set with one coreset seed, kept in a file so that it is not made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import edge_ad
import export
from bench.sight.sets import LabelledSet
from edge_ad.metrics import binary_auroc, image_metrics
from edge_ad.system.files import write_output

Identity = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What a side saw of a set with one coreset seed.

    Attributes:
        scores: of the test images, in the order of the set.
        anomalous: the verdicts at the side's default threshold.
        pixel_auroc: None without masks.
        promised: the rate of false rejects that the threshold's rule states; None if it states none.
        export_s: seconds of the export; None if they were not measured.
        facts: what else is known, for a reader of the JSON.
    """

    scores: list[float]
    anomalous: list[bool]
    pixel_auroc: float | None
    promised: float | None
    export_s: float | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class Figures:
    """The figures of a record: `missed` defects, `rejected` good images."""

    image_auroc: float
    pixel_auroc: float | None
    missed: int
    rejected: int


def figures(record: Record, found: LabelledSet) -> Figures:
    """The figures of what was seen of a set."""
    defects = found.defects
    good, bad = ([score for score, each in zip(record.scores, defects, strict=True) if each == side] for side in (0, 1))
    verdicts = list(zip(record.anomalous, defects, strict=True))
    return Figures(
        binary_auroc(good, bad),
        record.pixel_auroc,
        sum(not anomalous for anomalous, defect in verdicts if defect),
        sum(anomalous for anomalous, defect in verdicts if not defect),
    )


def best_threshold(scores: Sequence[float], defects: Sequence[bool]) -> float:
    """The lowest score that reaches the highest F1: what anomalib takes by default, from labelled images."""
    best = image_metrics(scores, list(defects), 0).f1_threshold
    assert best is not None  # a set has defects
    return best


def missed_at(record: Record, found: LabelledSet, rejected: int) -> int:
    """Defects that the side would miss if its threshold rejected as many good images."""
    good = sorted((s for s, defect in zip(record.scores, found.defects, strict=True) if not defect), reverse=True)
    if rejected == len(good):
        return 0
    limit = good[rejected]  # of the good images, this one and those below it pass
    return sum(score <= limit for score, defect in zip(record.scores, found.defects, strict=True) if defect)


def keep(path: Path, identity: Identity, record: Record) -> None:
    """Writes a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_output(path, [json.dumps({"of": identity, **asdict(record)}).encode()])


def kept(path: Path, identity: Identity) -> Record | None:
    """The record in a file, if it was made from the same data by the same means."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        same = document.pop("of") == identity
        return Record(**document) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or of another version: made anew
        return None


@cache
def code_digest() -> str:
    """Of the code that makes bundles and verdicts, so that nothing of another state of it is taken for today's."""
    digest = hashlib.blake2b(digest_size=8)
    for package in (edge_ad, export):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*")):
            part = path.relative_to(root)
            # nothing that makes a bundle imports the command line
            if part.parts[0] != "cli" and "__pycache__" not in part.parts and path.is_file():
                digest.update(f"{part.as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
