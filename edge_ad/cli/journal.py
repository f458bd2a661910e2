"""`edge-ad journal STATION.toml`: what became of each trigger."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timedelta, timezone

from edge_ad.cli import OK
from edge_ad.cli.run import add_station
from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row, iso
from edge_ad.station.outcomes import OUTCOMES, REJECT
from edge_ad.system.names import printable, storable

HELP = "Lists the outcomes of a station, the oldest first; also while it runs."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("--camera", help="only of this camera")
    parser.add_argument("--part", help="only of this part id")
    parser.add_argument(
        "--since", help="only from this time on: 2026-11-29, 2026-11-29T14:30 (UTC), or an age such as 90m, 8h, 3d"
    )
    parser.add_argument("--outcome", choices=OUTCOMES, action="append", help="only these; may be given again")
    parser.add_argument("--last", type=int, metavar="N", help="only the N latest")
    parser.add_argument("--events", action="store_true", help="list starts, bundles, refusals and failures instead")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Prints a line for each trigger; returns 0."""
    config = load_config(options.station, files=False)
    if options.camera is not None:
        config.camera(options.camera)
    if options.last is not None and options.last < 1:
        raise SpecError("--last is out of range", expected="1 or more", got=options.last)
    with Journal(config.journal) as journal:
        if options.events:
            for time_ns, camera, kind, text in reversed(journal.events(options.last or -1)):
                told = {"time": iso(time_ns), "camera": camera, "kind": kind, "text": text}
                print(json.dumps(told) if options.json else printable("  ".join(v for v in told.values() if v)))
            return OK
        where, values = _condition(options)
        order = "id DESC" if options.last else "id"
        count = 0
        rows = journal.rows(where, values, order, options.last or -1)
        for row in reversed([*rows]) if options.last else rows:
            print(json.dumps(row.to_dict()) if options.json else _line(row), flush=options.last is not None)
            count += 1
        if not count:
            total = journal.one("SELECT count(*) FROM triggers")
            why = f"none of the {total} triggers in the journal fits" if total else "the journal has no trigger yet"
            print(why, file=sys.stderr)
    return OK


def _condition(options: argparse.Namespace) -> tuple[str, list[object]]:
    parts, values = ["1"], list[object]()
    for column, value in (("camera = ?", options.camera), ("part_id = ?", options.part)):
        if value is not None:
            parts.append(column)
            values.append(storable(value))
    if options.since is not None:
        parts.append("time_ns >= ?")
        values.append(since(options.since))
    if options.outcome:
        parts.append(f"outcome IN ({', '.join('?' * len(options.outcome))})")
        values += options.outcome
    return " AND ".join(parts), values


def since(text: str) -> int:
    """Nanoseconds since 1970 of a time in UTC, or of an age before now.

    Raises:
        SpecError: it is neither.
    """
    units = {"m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            moment = datetime.now(timezone.utc) - timedelta(**{units[text[-1]]: int(text[:-1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
        time_ns = round(moment.timestamp() * 1e9)
        if abs(time_ns) >= 2**63:  # more than the journal can hold
            raise OverflowError
        return time_ns
    except (ValueError, OverflowError) as error:
        expected = "2026-11-29, 2026-11-29T14:30 or an age such as 90m, 8h, 3d"
        raise SpecError("--since is no time", expected=expected, got=repr(text)) from error


def _line(row: Row) -> str:
    score = "" if row.score is None else f"score {row.score:.5g} of {row.threshold:.5g}"
    latency = "" if row.latency_ms is None else f"{row.latency_ms:.1f} ms"
    reason = "" if row.outcome == REJECT else row.reason  # of a reject it is the score once more
    parts = (iso(row.time_ns), row.camera, row.part_id, row.outcome or "open", score, latency, reason)
    return printable("  ".join(part for part in parts if part))
