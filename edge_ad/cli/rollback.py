"""`edge-ad rollback STATION.toml CAMERA`: the bundle before takes the place of the one in the configuration."""

from __future__ import annotations

import argparse

from edge_ad.cli import OK
from edge_ad.cli.run import add_station
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal
from edge_ad.station.swap import roll_back

HELP = "Puts the bundle back that a camera inspected with before; a station that runs takes it over by itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("camera", help="name of the camera")
    parser.add_argument("--recipe", type=int, metavar="N", help="of this recipe; default: the one that is selected")


def run(options: argparse.Namespace) -> int:
    """Writes the bundle file of the camera; returns 0."""
    config = load_config(options.station, files=False)
    camera = config.camera(options.camera)
    with Journal(config.journal) as journal:
        identity, path = roll_back(camera, journal, config.data, options.recipe)
    print(f"{path} is {identity} again")
    return OK
