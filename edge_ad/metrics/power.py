"""Detection power: the share of synthetic defects that a threshold finds. Never mixed with figures of real defects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.spec.power import PowerSpec

FOUND = 0.9  # share of the defects of a size that counts as "found"
PLAIN = 0.12  # contrast from which a defect is plain to a person: weaker ones do not count for `smallest_found`


def detection_rates(spec: PowerSpec, threshold: float) -> NDArray[np.float64]:
    """(K, S, C) share of the synthetic defects of each kind, size and contrast that score at least the threshold.

    NaN where no defect was made: not every kind can reach every contrast on every part.
    """
    shape = (len(spec.kinds), len(spec.sizes), len(spec.contrasts))
    cells, found = np.asarray(spec.cells, np.int64), np.asarray(spec.scores) >= threshold
    made = np.bincount(cells, minlength=int(np.prod(shape))).astype(np.float64)
    hits = np.bincount(cells, weights=found, minlength=len(made))
    with np.errstate(invalid="ignore"):
        return (hits / made).reshape(shape)


def detection_power(spec: PowerSpec, threshold: float) -> float:
    """One number from 0 to 1: the mean of `detection_rates` over the cells that hold defects."""
    return float(np.nanmean(detection_rates(spec, threshold)))


def smallest_found(spec: PowerSpec, threshold: float) -> dict[str, float | None]:
    """Kind -> the smallest size from which on at least `FOUND` of its plain defects are found; None for no size.

    Plain are those with a contrast of `PLAIN` or more. A kind of which none was made is left out.
    """
    rates = detection_rates(spec, threshold)[:, :, np.asarray(spec.contrasts) >= PLAIN]
    answer: dict[str, float | None] = {}
    for kind, own in zip(spec.kinds, rates, strict=True):
        made = [np.nanmean(cell) if np.isfinite(cell).any() else None for cell in own]
        if all(rate is None for rate in made):
            continue
        answer[kind] = None
        for size, rate in zip(reversed(spec.sizes), reversed(made), strict=True):
            if rate is not None and rate < FOUND:
                break
            if rate is not None:
                answer[kind] = size
    return answer


def describe_power(spec: PowerSpec, threshold: float) -> str:
    """In words: the number, and what it is of."""
    return (
        f"{detection_power(spec, threshold):.1%} of {len(spec.scores)} synthetic defects "
        f"on {spec.images} held-out good image{'' if spec.images == 1 else 's'}"
    )


def describe_seen(spec: PowerSpec, threshold: float) -> str:
    """In words: what the threshold finds, by kind, as a part of the frame's shorter side."""
    found = smallest_found(spec, threshold)
    seen = [f"{kind} from {size:.0%}" for kind, size in found.items() if size is not None]
    unseen = [kind for kind, size in found.items() if size is None]
    if not seen:
        return f"no kind reliably, at any size up to {spec.sizes[-1]:.0%} of the shorter side"
    text = ", ".join(seen)
    return f"{text} of the shorter side" + (f"; not reliably: {', '.join(unseen)}" if unseen else "")
