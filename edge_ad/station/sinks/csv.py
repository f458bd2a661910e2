"""`kind = "csv"`: a table with a line for each outcome."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from edge_ad.station.sinks.base import Message, Sink, SinkOpening
from edge_ad.station.sinks.lines import LineFile, is_key
from edge_ad.system.keys import Key, text
from edge_ad.system.names import printable

KEYS = {"path": Key(text, "the file that lines are added to", required=True)}
_COLUMNS = (
    *("number", "time", "camera", "part_id", "outcome", "reason", "score", "threshold", "p_value"),
    *("bundle", "point", "latency_ms", "source", "sequence", "picture", "key"),
)


def open_sink(opening: SinkOpening) -> Sink:
    """Opens the file.

    Raises:
        EdgeADError: it cannot be opened.
    """
    return LineFile(Path(opening.options["path"]), _row(_COLUMNS), _line, _key)


def _line(message: Message) -> bytes:
    told = {**message.row.to_dict(), "key": message.key}
    return _row([_cell(told[name]) for name in _COLUMNS])


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    shown = printable(value)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown  # a sheet would compute it


def _row(cells: object) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)  # type: ignore[arg-type]
    return out.getvalue().encode()


def _key(line: bytes) -> str:
    last = line.rstrip().rpartition(b",")[2].decode(errors="replace")  # the column "key"
    return last if is_key(last) else ""
