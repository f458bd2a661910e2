"""`edge-ad label STATION.toml PART good|defect|unsure`: what a person says of a part; its picture is kept for ever."""

from __future__ import annotations

import argparse

from edge_ad.cli import OK, add_who
from edge_ad.cli.run import add_station
from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.journal import LABELS, Journal
from edge_ad.station.labels import label_part
from edge_ad.station.replay import find_row
from edge_ad.system.names import who_of

HELP = "Says what a part really was; retention never removes what is labelled."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("part", help="the part id, as edge-ad journal shows it")
    parser.add_argument(
        "label", choices=(*(label for label in LABELS if label), "none"), help="none takes a label away"
    )
    parser.add_argument("--camera", help="needed where several cameras have the part id")
    add_who(parser, "who says so")


def run(options: argparse.Namespace) -> int:
    """Writes the label, and who says so; returns 0."""
    config, who = load_config(options.station, files=False), who_of(options.who)
    label = "" if options.label == "none" else options.label
    with Journal(config.journal) as journal:
        row = find_row(journal, options.part, options.camera)
    with Journal(config.journal, writes=True) as journal, journal.transaction():
        if not label_part(journal, row.camera, row.part_id, label, who):
            raise SpecError("the part is not in the journal any more", got=options.part)
    print(f"{row.camera} {row.part_id}: {row.outcome}, labelled {options.label}")
    return OK
