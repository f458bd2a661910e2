"""The choice: which of the candidates sees most within the time of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from edge_ad.spec import Size
from edge_ad.system.tables import aligned
from export.choose.trial import Seen, Setting, joined

LOCAL = ((0.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, 1.0))  # (exponent of the local scale, sigma of the smoothing)
USUAL_LOCAL = (1.0, 1.0)
SURE = 0.03  # power that a single size must have above two joined ones
SURE_NETWORK = 0.05  # power that another network must have above the preferred one
SURE_LOCAL = 0.03  # power that another scale or smoothing must have above the usual one (bench/NOTES.md)


Evidence = Mapping[Size, Mapping[Setting, Seen | None]]  # what was seen, if it was tried


@dataclass(frozen=True)
class Candidate:
    """What a trial can choose.

    Attributes:
        network: its name.
        sizes: one or two input sizes, the smaller first.
        exponent, sigma: local scale and smoothing; 0 for none.
        ms: of a frame on a small PC, by the model of `export.choose.cost`.
        power: 0 to 1, as `export.choose.trial.Seen` has it; None if it was not tried.
    """

    network: str
    sizes: tuple[Size, ...]
    exponent: float
    sigma: float
    ms: float
    power: float | None

    @property
    def name(self) -> str:
        """Its sizes, for a table."""
        return " + ".join(f"{height} x {width}" for height, width in self.sizes)


def candidates(network: str, seen: Evidence, cost_ms: Mapping[Size, float], *, fixed: bool = False) -> list[Candidate]:
    """Each size alone and each pair of sizes, with each local scale and smoothing that was tried.

    Args:
        network: its name.
        seen: what each size saw.
        cost_ms: size -> milliseconds of a frame.
        fixed: the sizes stand: all of them together are the only choice.
    """
    found = []
    every = [*((size,) for size in seen), *combinations(seen, 2)]
    for sizes in [tuple(seen)] if fixed else every:
        for local in seen[sizes[0]]:
            parts = [own for size in sizes if (own := seen[size][local]) is not None]
            answer = joined(*parts) if len(parts) == 2 else parts[0] if parts else None
            if parts and answer is None and not fixed:
                continue  # scores without a scale cannot be joined; of fixed sizes the calibration says so
            power = None if answer is None else answer.power
            found.append(Candidate(network, sizes, *local, sum(cost_ms[size] for size in sizes), power))
    return found


def choose(found: Sequence[Candidate], budget_ms: float) -> Candidate:
    """The candidate to take: two sizes joined, unless one alone sees clearly more (`SURE`), within the budget.

    Synthetic defects are of all sizes, real ones of a part are not, and nothing tells which. Two sizes joined are never
    far from the better one (bench/NOTES.md), so they are what thin evidence falls back to. The same holds for the usual
    local scale and smoothing, and for the preferred network, which is that of the first candidate (`SURE_NETWORK`). If
    nothing is within the budget, the cheapest is taken.
    """
    able = [candidate for candidate in found if candidate.ms <= budget_ms]
    if not able:
        able = [candidate for candidate in found if candidate.ms == min(c.ms for c in found)]
    by_network: dict[str, list[Candidate]] = {}
    for candidate in able:
        by_network.setdefault(candidate.network, []).append(candidate)
    chosen = {network: _of_network(own) for network, own in by_network.items()}
    best = max(chosen.values(), key=_rank)
    preferred = chosen.get(found[0].network)
    return best if preferred is None or _power(best) > _power(preferred) + SURE_NETWORK else preferred


def _of_network(able: Sequence[Candidate]) -> Candidate:
    singles = _steady(c for c in able if len(c.sizes) == 1)
    pairs = _steady(c for c in able if len(c.sizes) == 2)
    best = max(singles, key=_rank, default=None)
    pair = max(pairs, key=_rank, default=None)
    if pair is None or (best is not None and _power(best) > _power(pair) + SURE):
        assert best is not None, "there is a candidate of one size or of two"
        return best
    return pair


def _steady(found: Iterable[Candidate]) -> list[Candidate]:
    """For each size or pair the candidate with the usual local scale, or one that sees clearly more."""
    by_sizes: dict[tuple[Size, ...], list[Candidate]] = {}
    for candidate in found:
        by_sizes.setdefault(candidate.sizes, []).append(candidate)
    chosen = []
    for own in by_sizes.values():
        best = max(own, key=_rank)
        usual = next((c for c in own if (c.exponent, c.sigma) == USUAL_LOCAL), None)
        chosen.append(best if usual is None or _power(best) > _power(usual) + SURE_LOCAL else usual)
    return chosen


def _power(candidate: Candidate) -> float:
    return candidate.power or 0.0


def _rank(candidate: Candidate) -> tuple[float, float]:
    return _power(candidate), -candidate.ms


def table(found: Sequence[Candidate], best: Candidate, budget_ms: float) -> str:
    """For each network and size or pair the candidate that tells most defects apart; the one taken is marked."""
    shown: dict[tuple[str, str], Candidate] = {}
    for candidate in sorted(found, key=lambda c: (c == best, _power(c))):
        shown[candidate.network, candidate.name] = candidate
    several = len({network for network, _ in shown}) > 1
    rows = [("", *["network"] * several, "size", "scale", "smooth", "ms (model)", "told apart (synthetic)")]
    for (network, name), c in sorted(shown.items(), key=lambda item: item[1].ms):
        marks = ["*"] * (c == best) + ["over the budget"] * (c.ms > budget_ms)
        figures = (f"{c.exponent:g}", f"{c.sigma:g}", f"{c.ms:.0f}", f"{_power(c):.3f}")
        rows.append((" ".join(marks), *[network] * several, name, *figures))
    return "\n".join(["", aligned(rows)])
