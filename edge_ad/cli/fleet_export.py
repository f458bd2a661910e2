"""`edge-ad fleet export CATEGORY... --candidate NAME=OPTIONS --out BUNDLES`: a bundle of each with each."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.cli import ERROR, OK, given_path
from edge_ad.cli.fleet_options import add_ray, side_by_side, workers_of
from edge_ad.errors import EdgeADError
from edge_ad.evaluation.exports import Done, Order, Run, is_made, make
from edge_ad.fleet.exports import Export, orders_of, read_candidates
from edge_ad.metrics.power import detection_power
from edge_ad.system.entry import say
from edge_ad.system.names import printable_lines
from edge_ad.system.progress import Progress
from edge_ad.system.tables import aligned

HELP = "Makes a bundle of each category with each candidate, several at a time; bundles that are there stay."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "categories", nargs="+", metavar="CATEGORY", help="folders of good images, as export takes them"
    )
    parser.add_argument("--out", type=given_path, required=True, metavar="BUNDLES", help="folder of the bundles")
    parser.add_argument(
        "--candidate",
        action="append",
        default=[],
        metavar="NAME=OPTIONS",
        help='a name and options of the export, such as "small=--quick --input-size 256"; once for each; without '
        "any, one is made by the export's defaults",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many exports run at once; by default one for each --threads cores"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each export; default: 1")
    add_ray(parser)


def run(options: argparse.Namespace) -> int:
    """Exports what is not there; returns 0, or 2 if an export failed."""
    workers_of(options)
    if importlib.util.find_spec("onnx") is None:
        raise EdgeADError(
            "fleet export makes bundles and needs the export", got="no onnx", remedy="pip install 'edge-ad[demo]'"
        )
    orders = orders_of(options.categories, read_candidates(options.candidate), options.out)
    said: dict[Path, str] = {}
    missing = []
    for order in orders:
        if is_made(order, order.recipe.fingerprint()):
            said[order.out] = "done before"
        else:
            missing.append(order)
    if missing:
        with side_by_side(options) as run_tasks:
            again = _make(missing, options, run_tasks, said)
            if again:  # killed, perhaps for memory: once more, when less runs beside them
                say(f"{len(again)} exports were killed: tried again")
                for order in _make(again, options, run_tasks, said):
                    say(f"error: {order.out.name}: {said[order.out]}")
    rows = [_row(order, said[order.out]) for order in orders]
    print(
        printable_lines(aligned([("category", "candidate", "MB", "power", "how"), *rows], [False, False, True, True]))
    )
    return ERROR if any(said[order.out].startswith(_FAILED) for order in orders) else OK


_FAILED = "failed: "


def _make(orders: Sequence[Order], options: argparse.Namespace, run_tasks: Run, said: dict[Path, str]) -> list[Order]:
    """Makes the bundles; returns the orders whose process was killed."""
    killed = []
    with Progress("export", len(orders), unit="bundles") as progress:
        for done in make(orders, 1, lambda: progress.update(0), threads=options.threads, run=run_tasks):
            said[done.order.out] = _how(done)
            if done.error is not None and done.error.startswith("killed "):
                killed.append(done.order)
            elif done.error is not None:
                progress.wipe()
                say(f"error: {done.order.out.parent.name}/{done.order.out.name}: {done.error}")
            progress.update(1)
    return killed


def _how(done: Done) -> str:
    return f"{_FAILED}{done.error}" if done.error is not None else f"made in {done.seconds:.0f} s"


def _row(order: Order, how: str) -> tuple[str, ...]:
    assert isinstance(order.recipe, Export)
    names = order.recipe.title, order.recipe.candidate.name
    if how.startswith(_FAILED):
        return (*names, "-", "-", how)
    with Bundle.open(order.out, points=()) as bundle:
        power, threshold = bundle.manifest.power, bundle.manifest.calibration.threshold
    megabytes = order.out.stat().st_size / 1e6
    return (*names, f"{megabytes:.1f}", "-" if power is None else f"{detection_power(power, threshold):.1%}", how)
