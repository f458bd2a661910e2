"""`edge-ad run STATION.toml`: cameras to outcomes, until it is stopped."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
from pathlib import Path

from edge_ad.cli import OK, given_path
from edge_ad.errors import EdgeADError
from edge_ad.station.config import Config, load_config
from edge_ad.station.logs import FORMS, LEVELS, start_logs
from edge_ad.station.page.auth import read_tokens
from edge_ad.station.page.extra import missing

HELP = "Runs a station: an outcome for each trigger, journalled, and given to sinks."


def add_station(parser: argparse.ArgumentParser) -> None:
    """The argument of all commands of a station."""
    parser.add_argument("station", type=given_path, metavar="STATION.toml", help="the station's configuration")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("--check", action="store_true", help="check the configuration, say all that is wrong, and end")
    parser.add_argument("--until-idle", action="store_true", help="process what is there, and end")
    parser.add_argument("--log", choices=FORMS, default="text", help="form of the lines on stderr; default: text")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="least level of a line; default: info")


def run(options: argparse.Namespace) -> int:
    """Runs the station; returns 0 where it ended by itself, and 128 and the number of the signal that stopped it."""
    if options.check:
        print(_told(load_config(options.station)))
        return OK
    from edge_ad.station.process import run_station

    start_logs(options.log_level, options.log)
    with contextlib.suppress(Exception):  # a process without stderr
        faulthandler.enable()  # a fault in a library is told before the process is gone
    number = run_station(Path(options.station), batch=options.until_idle)
    return 128 + number if number else OK


def _told(config: Config) -> str:
    cameras = ", ".join(f"{camera.name} ({camera.address})" for camera in config.cameras)
    sinks = ", ".join(sink.kind for sink in config.sinks) or "none"
    right = f"{config.path} is right: cameras {cameras}; sinks {sinks}; data in {config.data}"
    if config.http is not None:
        right += f"; page at {config.http.url}"
        told = missing()
        if told:
            raise EdgeADError("[station] http cannot be served", got=told)
        read_tokens({role: path for role, path in config.http.tokens.items() if path is not None})
    return f"{right}\nnext: edge-ad doctor opens the sources and bundles"
