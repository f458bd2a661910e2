"""`edge-ad rollback STATION.toml CAMERA`: the bundle before takes the place of the one in the configuration."""

from __future__ import annotations

import argparse
import time

from edge_ad.cli import OK, add_who
from edge_ad.cli.run import add_station
from edge_ad.station.config import load_config
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.swap import roll_back
from edge_ad.system.names import who_of

HELP = "Puts the bundle back that a camera inspected with before; a station that runs takes it over by itself."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("camera", help="name of the camera")
    add_who(parser, "who does it")
    parser.add_argument("--recipe", type=int, metavar="N", help="of this recipe; default: the one that is selected")


def run(options: argparse.Namespace) -> int:
    """Writes the bundle file of the camera, and who did it; returns 0."""
    config, who = load_config(options.station, files=False), who_of(options.who)
    camera = config.camera(options.camera)
    Journal(config.journal).close()  # it must be there: one that writes would make it
    with Journal(config.journal, writes=True) as journal:

        def tell(name: str, kind: EventKind, text: str) -> None:
            with journal.transaction():
                journal.event(time.time_ns(), name, kind, text)

        identity, path = roll_back(camera, journal, config.data, tell, who, options.recipe)
    print(f"{path} is {identity} again")
    return OK
