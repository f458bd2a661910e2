"""`edge-ad trigger STATION.toml CAMERA PART...`: asks a station for inspections."""

from __future__ import annotations

import argparse

from edge_ad.cli import OK
from edge_ad.cli.run import add_station
from edge_ad.errors import SpecError
from edge_ad.station.config import load_config
from edge_ad.station.triggers import write_requests

HELP = 'Triggers inspections of a camera with trigger = "software", in order; each part id once.'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("camera", help="name of the camera")
    parser.add_argument("parts", nargs="+", metavar="PART", help="part id, any text")


def run(options: argparse.Namespace) -> int:
    """Writes the request; returns 0 once it is safe on the disk. A station that is down takes it when it starts."""
    config = load_config(options.station, files=False)
    camera = config.camera(options.camera)
    if camera.trigger != "software":
        raise SpecError(f"camera {camera.name} takes no triggers", expected='trigger = "software"', got=camera.trigger)
    if not all(options.parts):
        raise SpecError("a part id is empty", expected="any text")
    write_requests(config.data, camera.name, options.parts)
    count = len(options.parts)
    print(
        f"{camera.name}: {count} inspection{'s' if count > 1 else ''} asked for; edge-ad journal shows what they give"
    )
    return OK
