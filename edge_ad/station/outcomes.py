"""What a trigger can end with, and how a verdict becomes it. Whatever is not surely good is rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edge_ad.verdict.verdict import Verdict

GOOD, REJECT, NO_PART, FAULT = "good", "reject", "no_part", "fault"
OUTCOMES = (GOOD, REJECT, NO_PART, FAULT)

# Why there is a fault: the first word of `Decision.reason`.
LATE, NO_FRAME, FRAME, ENGINE, RESTART = "late", "no_frame", "frame", "engine", "restart"
RECIPE = "recipe"  # the one that was selected was not in use yet


@dataclass(frozen=True)
class Decision:
    """What a trigger ends with.

    Attributes:
        outcome: one of `OUTCOMES`.
        reason: "" of a good part; else a word and a text, such as "late: ...". Of a reject: what was exceeded.
        score, threshold, p_value: of the verdict; None where there is none.
        bundle: id of the bundle; "" where no bundle was asked.
        point, engine, threads: what the bundle ran with, so that it can be run again.
        roi: id of the camera's mask; "" without.
    """

    outcome: str
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    bundle: str = ""
    point: str = ""
    engine: str = ""
    threads: int = 0
    roi: str = ""


def fault(word: str, text: str) -> Decision:
    """A fault, with the word of its reason and a text for people (one line)."""
    return Decision(FAULT, f"{word}: {' '.join(text.split())}")


def decide(verdict: Verdict, threads: int = 0, roi: str = "") -> Decision:
    """What a verdict means for the part."""
    told = Decision(
        FAULT,
        score=verdict.score,
        threshold=verdict.threshold,
        p_value=verdict.p_value,
        bundle=verdict.bundle,
        point=verdict.point,
        engine=verdict.engine,
        threads=threads,
        roi=roi,
    )
    if not (math.isfinite(verdict.score) and math.isfinite(verdict.threshold)):
        return replace(told, reason=f"{ENGINE}: the score is not a number", score=None, threshold=None, p_value=None)
    if not verdict.found:
        reason = f"the part was not found; confidence {verdict.confidence:.2f}"
        return replace(told, outcome=NO_PART, reason=reason)
    if verdict.is_anomalous:
        reason = f"score {verdict.score:.5g} >= threshold {verdict.threshold:.5g}"
        return replace(told, outcome=REJECT, reason=reason)
    return replace(told, outcome=GOOD)
