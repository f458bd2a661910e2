"""The table: a line a set, and one of means and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.sight.record import Figures, Record, figures, missed_at
from bench.sight.sets import LabelledSet


@dataclass(frozen=True)
class Side:
    """One side's records of a set, one for each seed, and its milliseconds a frame (None if not measured)."""

    records: Sequence[Record]
    ms: float | None


@dataclass(frozen=True)
class Row:
    """A set, as both sides see it; `theirs` is None without a peer."""

    found: LabelledSet
    ours: Side
    theirs: Side | None

    @property
    def defects(self) -> int:
        return int(self.found.defects.sum())

    @property
    def good(self) -> int:
        return len(self.found.test) - self.defects

    def figures(self, side: Side) -> list[Figures]:
        """Those of each seed."""
        return [figures(record, self.found) for record in side.records]

    @property
    def missed_alike(self) -> list[int]:
        """Defects that the peer misses with a threshold that rejects as many good images as ours, for each seed."""
        assert self.theirs is not None
        pairs = zip(self.figures(self.ours), self.theirs.records, strict=True)
        return [missed_at(record, self.found, own.rejected) for own, record in pairs]


Cell = Callable[[Row], str]
OURS = ("image AUROC", "pixel AUROC", "missed", "rejected", "stated", "ms", "export s")
THEIRS = ("anomalib: image AUROC", "pixel AUROC", "missed", "rejected", "missed at our rejects", "ms")
DIFFERENCE = ("difference: image AUROC", "pixel AUROC")


def table(rows: Sequence[Row]) -> str:
    """Markdown. A cell is the mean over seeds, with (lowest..highest) for image AUROC."""
    with_peer = all(row.theirs is not None for row in rows)
    head = ["set", *OURS, *(THEIRS + DIFFERENCE if with_peer else ())]
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(_cells(row, with_peer)) for row in rows]
    if len(rows) > 1:
        lines.append(_line(_totals(rows, with_peer)))
    return "\n".join(lines)


def _cells(row: Row, with_peer: bool) -> list[str]:
    own = row.figures(row.ours)
    seconds = [record.export_s for record in row.ours.records if record.export_s is not None]
    cells = [row.found.name, spread([each.image_auroc for each in own]), _pixel(own)]
    cells += [f"{_mean_of(own, 'missed'):.4g} of {row.defects}", _share(_mean_of(own, "rejected"), row.good)]
    cells += [_stated(row.ours.records), _ms(row.ours), f"{mean(seconds):.0f}" if seconds else "-"]
    if with_peer and row.theirs is not None:
        peer = row.figures(row.theirs)
        cells += [spread([each.image_auroc for each in peer]), _pixel(peer)]
        cells += [f"{_mean_of(peer, 'missed'):.4g}", f"{_mean_of(peer, 'rejected'):.4g}"]
        cells += [f"{mean(row.missed_alike):.4g}", _ms(row.theirs)]
        pixels = pixel_mean(own), pixel_mean(peer)
        known = None not in pixels
        cells.append(f"{_mean_of(own, 'image_auroc') - _mean_of(peer, 'image_auroc'):+.3f}")
        cells.append(f"{pixels[0] - pixels[1]:+.3f}" if known else "-")  # type: ignore[operator]
    return cells


def _totals(rows: Sequence[Row], with_peer: bool) -> list[str]:
    """Means of AUROC, sums of images; seconds and milliseconds are summed and averaged over the sets."""
    own = [row.figures(row.ours) for row in rows]
    defects, good = sum(row.defects for row in rows), sum(row.good for row in rows)
    cells = ["mean, sum", f"{mean([_mean_of(each, 'image_auroc') for each in own]):.3f}", _mean_pixel(own)]
    cells += [f"{sum(_mean_of(each, 'missed') for each in own):.4g} of {defects}"]
    cells += [_share(sum(_mean_of(each, "rejected") for each in own), good), ""]
    seconds = [mean([record.export_s or 0.0 for record in row.ours.records]) for row in rows]
    cells += [_mean_ms([row.ours for row in rows]), f"{sum(seconds):.0f}"]
    if with_peer:
        sides = [row.theirs for row in rows if row.theirs is not None]
        peer = [row.figures(side) for row, side in zip(rows, sides, strict=True)]
        cells += [f"{mean([_mean_of(each, 'image_auroc') for each in peer]):.3f}", _mean_pixel(peer)]
        cells += [f"{sum(_mean_of(each, name) for each in peer):.4g}" for name in ("missed", "rejected")]
        cells += [f"{sum(mean(row.missed_alike) for row in rows):.4g}", _mean_ms(sides)]
        images = [mean([_mean_of(each, "image_auroc") for each in side]) for side in (own, peer)]
        masked = [(a, b) for a, b in zip(map(pixel_mean, own), map(pixel_mean, peer), strict=True) if a and b]
        cells.append(f"{images[0] - images[1]:+.3f}")
        cells.append(f"{mean([a - b for a, b in masked]):+.3f}" if masked else "-")
    return cells


def mean(values: Sequence[float]) -> float:
    """Of one or more."""
    return sum(values) / len(values)


def pixel_mean(found: Sequence[Figures]) -> float | None:
    """Mean pixel AUROC over seeds; None without masks or maps."""
    values = [each.pixel_auroc for each in found if each.pixel_auroc is not None]
    return mean(values) if values else None


def _mean_of(found: Sequence[Figures], name: str) -> float:
    return mean([getattr(each, name) for each in found])


def _share(count: float, of: int) -> str:
    return f"{count:.4g} of {of}, {100 * count / of:.1f}%"


def spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f}..{max(values):.3f})"


def _pixel(found: Sequence[Figures]) -> str:
    value = pixel_mean(found)
    return "-" if value is None else f"{value:.3f}"


def _mean_pixel(found: Sequence[Sequence[Figures]]) -> str:
    values = [value for value in map(pixel_mean, found) if value is not None]
    return f"{mean(values):.3f}" if values else "-"


def _stated(records: Sequence[Record]) -> str:
    rates = {record.promised for record in records}
    return ", ".join("-" if rate is None else f"{100 * rate:.3g}%" for rate in sorted(rates, key=str))


def _ms(side: Side) -> str:
    return "-" if side.ms is None else f"{side.ms:.1f}"


def _mean_ms(sides: Sequence[Side]) -> str:
    values = [side.ms for side in sides if side.ms is not None]
    return f"{mean(values):.1f}" if len(values) == len(sides) else "-"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
