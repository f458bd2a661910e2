"""`edge-ad log BUNDLE`: what a bundle was taught, by whom, and what that changed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_ad.cli import OK
from edge_ad.cli.learn import add_store, place_of
from edge_ad.errors import LearningError
from edge_ad.learning.entries import UNDO, Entry, chain_of, entries_of, is_known
from edge_ad.learning.report import picture_lines
from edge_ad.learning.store import Store, id_of
from edge_ad.system.names import printable_lines
from edge_ad.system.tables import named

HELP = "Tells what a bundle was taught since its export: who, when, which pictures, and what changed; checks the audit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_store(parser)
    parser.add_argument("--json", action="store_true", help="print all of it as JSON, with the digest of each picture")


def run(options: argparse.Namespace) -> int:
    """Prints the audit; returns 0.

    Raises:
        LearningError: there is none, or a record was changed; what is before it is printed.
    """
    bundle, folder = place_of(options)
    store = Store(folder)
    if not store.audit.path.exists():
        raise LearningError(
            f"{bundle} has no audit", expected=store.audit.path, got="nothing there", remedy="edge-ad learn begins one."
        )
    trail = store.audit.read()
    entries = entries_of(trail.records)
    there = id_of(bundle)
    states = _states(bundle, there, entries, trail.torn)
    if options.json:
        found = {
            "bundle": str(bundle),
            "store": str(folder),
            "id": there,
            "chain": [lesson.number for lesson in chain_of(entries, there or "")],
            "known": there is not None and is_known(entries, there),
            "broken": trail.broken,
            "torn": trail.torn,
            "entries": [entry.to_dict() for entry in entries],
        }
        print(json.dumps(found))
    else:
        for entry in entries:
            print(printable_lines(_told(entry)), end="\n\n")
        print(printable_lines("\n".join(states)))
    store.audit.sound()
    return OK


def _states(bundle: Path, there: str | None, entries: list[Entry], torn: int) -> list[str]:
    """What the bundle is now, and what is odd."""
    if there is None:
        said = [f"{bundle} is no bundle now"]
    elif not is_known(entries, there):
        said = [f"{bundle} is {there}, of which this audit knows nothing: it was copied there, or records are missing"]
    else:
        count = len(chain_of(entries, there))
        said = [f"{bundle} is {there}, with {count} lesson{'' if count == 1 else 's'}"]
    said += [f"record {each.number} is unfinished: it was interrupted, or is at work" for each in entries if each.open]
    if torn:
        said.append(f"the last line of the audit was cut off while it was written ({torn} bytes)")
    return said


def _told(entry: Entry) -> str:
    what = "undone" if entry.kind == UNDO else "lesson"
    state = "unfinished" if entry.open else entry.state
    where = f" in {entry.target}" if entry.target else ""
    rows = [(f"{entry.number}", f"{what}, {state}; {entry.time}, {entry.who}")]
    rows.append(("bundle", f"{entry.before} -> {entry.after}{where}" if entry.after else entry.before))
    rows += picture_lines(entry.pictures)
    for figures in entry.figures:
        name = "" if len(entry.figures) == 1 else f"{figures.point}: "
        rows += [(what, name + text) for what, text in figures.lines()]
    rows += [("note", note) for note in entry.notes]
    return named(rows + ([("why", entry.why)] if entry.why else []))
