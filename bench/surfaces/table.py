"""The table: a line for each way, set and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.surfaces.captures import DEPTHS
from bench.surfaces.figures import LINES, PLAIN, REJECTS, Record


@dataclass(frozen=True)
class Row:
    way: str
    name: str
    method: str
    record: Record


def table(rows: Sequence[Row]) -> str:
    """Markdown; the best of each way and set in bold."""
    depths = [f"{depth:g} px" for depth in DEPTHS]
    head = ["captures", "set", "method", "image AUROC", "pixel AUROC", "all depths", "AU-PRO", f"{PLAIN:g} px or more"]
    head += [*depths, "own threshold rejects", "seconds"]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(_cells(row, rows)) for row in rows)]
    legend = (
        f"AUROC and AU-PRO: defects of {PLAIN:g} px and more. Columns of depths: share of scratches and dents found "
        f"where {REJECTS:.0%} of the good captures are rejected. Seconds: making, testing."
    )
    return "\n".join([legend, "", *lines])


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    own = row.record
    best = max(each.record.target for each in rows if (each.way, each.name) == (row.way, row.name))
    found = f"{own.target:.0%}"
    cells = [row.way, row.name, row.method, f"{own.image_auroc:.3f}", f"{own.pixel_auroc:.3f}"]
    cells += [f"{own.pixel_auroc_all:.3f}", f"{own.au_pro:.3f}", f"**{found}**" if own.target == best else found]
    cells += [f"{own.found(LINES, [depth]):.0%}" for depth in DEPTHS]
    rejected = own.rejected
    return [*cells, "-" if rejected is None else f"{rejected:.0%}", f"{own.seconds[0]:.0f}, {own.seconds[1]:.0f}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
