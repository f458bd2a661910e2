"""`edge-ad replay STATION.toml PART`: inspects a kept picture again, and compares to the bit."""

from __future__ import annotations

import argparse

from edge_ad.cli import ERROR, OK
from edge_ad.cli.run import add_station
from edge_ad.station.config import load_config
from edge_ad.station.replay import replay
from edge_ad.system.tables import named

HELP = "Inspects the kept picture of a part again with the bundle that judged it; 0 where the score is the same."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_station(parser)
    parser.add_argument("part", help="the part id, as edge-ad journal shows it")
    parser.add_argument("--camera", help="needed where several cameras have the part id")


def run(options: argparse.Namespace) -> int:
    """Prints both; returns 0 where they are the same to the bit, or there was no score to compare, and 2 otherwise."""
    found = replay(load_config(options.station, files=False), options.part, options.camera)
    row, now = found.row, found.decision
    same = "the same, to the bit" if found.same else "DIFFERENT"
    rows = {
        "then": _told(row.outcome, row.score, row.threshold, row.reason),
        "now": _told(now.outcome, now.score, now.threshold, now.reason),
        "bundle": f"{now.bundle}, point {now.point}, {now.engine}",
        "score": same if found.judged else "there was none to compare with",
    }
    print(named(rows.items()))
    return OK if found.same or not found.judged else ERROR


def _told(outcome: str | None, score: float | None, threshold: float | None, reason: str) -> str:
    numbers = "" if score is None else f", score {score!r}, threshold {threshold!r}"
    return f"{outcome}{numbers}{', ' if reason else ''}{reason}"
