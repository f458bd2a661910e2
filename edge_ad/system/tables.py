"""Aligned text: tables for a terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """Lines of columns, two spaces apart; a row that is shorter than the first runs on from its last cell.

    Args:
        right: for each column whether it stands to the right; by default none does.
    """
    widths = column_widths(rows)
    sides = [*right, *[False] * (len(widths) - len(right))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, sides, strict=False)
        return "  ".join(cell.rjust(width) if side else cell.ljust(width) for cell, width, side in cells).rstrip()

    return "\n".join(map(line, rows))


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column; of a row that is shorter than the first only its first cell counts."""
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    return [max(len(row[0]) for row in rows), *widths[1:]]


def named(facts: Iterable[tuple[str, str]]) -> str:
    """A line "name  value" for each fact, the values below one another."""
    return aligned([*facts])


def csv_table(path: str | Path) -> str:
    """A CSV file with a heading as a table: the first column to the left, the others to the right."""
    with Path(path).open(encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = list(csv.reader(file))
    return aligned(rows, [i > 0 for i in range(len(rows[0]))])
