"""The table of all categories and bundles: a CSV with everything, and an aligned one for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edge_ad.evaluation.run import csv_text
from edge_ad.system.tables import aligned, column_widths

Row = Mapping[str, Any]

COLUMNS = (
    *("category", "layout", "method", "backbone", "bundle", "bundle_id"),
    *("goods", "defects", "failed", "image_auroc", "image_ap", "image_f1_max", "f1_threshold"),
    *("pixel_auroc", "pixel_ap", "au_pro_30", "au_pro_05", "seg_f1"),
    *("threshold", "pixel_threshold", "tp", "fn", "fp", "tn"),
    *("false_reject", "false_reject_low", "false_reject_high", "miss", "miss_low", "miss_high"),
    *("ms_p50", "ms_p95", "ms_p99", "mb", "point", "engine", "precision", "search", "threads", "notes"),
)
# Heading in the terminal and the report, column, and which direction is better. Misses and false rejects have none, as
# fewer of one means more of the other.
SHOWN: tuple[tuple[str, str, Callable[[Iterable[float]], float] | None], ...] = (
    ("image AUROC", "image_auroc", max),
    ("AP", "image_ap", max),
    ("F1-max", "image_f1_max", max),
    ("pixel AUROC", "pixel_auroc", max),
    ("AP", "pixel_ap", max),
    ("PRO.30", "au_pro_30", max),
    ("PRO.05", "au_pro_05", max),
    ("SegF1", "seg_f1", max),
    ("missed", "miss", None),
    ("rejected", "false_reject", None),
    ("ms p50", "ms_p50", min),
    ("p95", "ms_p95", min),
    ("p99", "ms_p99", min),
    ("MB", "mb", min),
)
# Columns that a narrow terminal leaves out, in this order.
_LEAST_TELLING = (
    *("ms_p95", "pixel_ap", "seg_f1", "au_pro_05", "image_ap", "image_f1_max", "ms_p99"),
    *("miss", "false_reject", "au_pro_30"),
)
UNKNOWN = "-"


def to_csv(rows: Sequence[Row]) -> str:
    """All columns; a metric that these images cannot give is empty."""
    return csv_text([COLUMNS, *(tuple(_cell(row.get(column)) for column in COLUMNS) for row in rows)])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def shown(column: str, row: Row) -> str:
    """A value as text for people; `-` if these images cannot give it."""
    value = row.get(column)
    if value is None:
        return UNKNOWN
    if column == "miss":
        return f"{row['fn']}/{row['fn'] + row['tp']}"
    if column == "false_reject":
        return f"{row['fp']}/{row['fp'] + row['tn']}"
    return f"{value:.1f}" if column.startswith(("ms_", "mb")) else f"{value:.4f}"


def names_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns that identify a line. The bundle is one of them only if the others are not enough."""
    names = ("category", "method", "backbone")
    return names if len({tuple(row[name] for name in names) for row in rows}) == len(rows) else (*names, "bundle")


def to_text(rows: Sequence[Row], width: int | None = None) -> str:
    """An aligned table: a line for each category and bundle.

    Args:
        width: columns of the terminal. Columns that do not fit are left out, and a line says how many.
    """
    names = names_of(rows)
    columns = [[name, *(str(row[name]) for row in rows)] for name in names]
    columns += [[head, *(shown(column, row) for row in rows)] for head, column, _ in SHOWN]
    widths = column_widths([*zip(*columns, strict=True)])
    kept = list(range(len(columns)))
    places = {column: len(names) + place for place, (_, column, _) in enumerate(SHOWN)}
    for column in _LEAST_TELLING:
        if width is None or sum(widths[i] + 2 for i in kept) - 2 <= width:
            break
        kept.remove(places[column])
    lines = aligned([*zip(*(columns[i] for i in kept), strict=True)], [i >= len(names) for i in kept])
    left_out = len(columns) - len(kept)
    return f"{lines}\n({left_out} more columns in summary.csv)" if left_out else lines
