"""`edge-ad doctor STATION.toml`: what would keep this station from running well, and what to do about it."""

from __future__ import annotations

import argparse

from edge_ad.cli import ERROR, OK
from edge_ad.cli.run import add_station
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, examine
from edge_ad.system.names import printable_lines

HELP = "Checks sources, bundles, lessons, disk, clock, cores and permissions of a station, and says what to do."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)


def run(options: argparse.Namespace) -> int:
    """Prints a line for each check; returns 0, or 2 where one says BAD."""
    worst = OK
    for finding in examine(load_config(options.station, files=False)):
        print(printable_lines(f"{finding.mark:4} {finding.what}: {finding.told}"))
        worst = ERROR if finding.mark == BAD else worst
    return worst
