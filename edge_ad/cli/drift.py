"""`edge-ad drift STATION.toml`: what a station says of drift, and a new reference for a camera."""

from __future__ import annotations

import argparse

from edge_ad.cli import OK
from edge_ad.cli.run import add_station
from edge_ad.station.config import load_config
from edge_ad.station.drift import ask_to_renew
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal, iso
from edge_ad.system.names import printable

HELP = "Lists the drift alarms of a station; --renew takes the next good parts of a camera as its new reference."
KINDS = (EventKind.DRIFT, EventKind.REFERENCE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument(
        "--renew",
        metavar="CAMERA",
        help="the next good parts of this camera are the new normal, and its alarms end; a station that is down "
        "does it when it starts",
    )


def run(options: argparse.Namespace) -> int:
    """Prints what the journal knows of drift, the latest last, or asks for a new reference; returns 0."""
    config = load_config(options.station, files=False)
    if options.renew is not None:
        ask_to_renew(config.data, config.camera(options.renew).name)
        return OK
    with Journal(config.journal) as journal:
        for time_ns, camera, kind, text in reversed(journal.events()):
            if kind in KINDS:
                print(printable(f"{iso(time_ns)}  {camera}  {kind}  {text}"))
    return OK
