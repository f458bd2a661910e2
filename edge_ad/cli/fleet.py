"""`edge-ad fleet inspect|eval|export`: many images, categories and candidates, on a PC's cores or a Ray cluster."""

from __future__ import annotations

import argparse

from edge_ad.cli import fleet_eval, fleet_export, fleet_inspect
from edge_ad.system.command_line import Parser

HELP = "Inspects, measures or exports many at once: on all cores of this PC, or on the machines of a Ray cluster."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: its sub-commands."""
    commands = parser.add_subparsers(dest="fleet_command", required=True, metavar="COMMAND", parser_class=Parser)
    for command in (fleet_inspect, fleet_eval, fleet_export):
        name = command.__name__.rpartition("_")[2]
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(sub)
        sub.set_defaults(run_fleet=command.run)


def run(options: argparse.Namespace) -> int:
    """Runs the sub-command; returns its exit code."""
    code: int = options.run_fleet(options)
    return code
