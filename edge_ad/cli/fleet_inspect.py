"""`edge-ad fleet inspect BUNDLE FOLDER|MANIFEST|URL --out RESULTS`: a row for each image, in Parquet files."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_ad.cli import ANOMALOUS, ERROR, OK
from edge_ad.cli.fleet_options import add_ray, workers_of
from edge_ad.errors import SpecError
from edge_ad.fleet.crew import Crew
from edge_ad.fleet.driver import Driver
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.pool import Pool
from edge_ad.fleet.results import PARTS, SUMMARY, Identity, Results
from edge_ad.fleet.tables import require_parquet
from edge_ad.fleet.worklist import list_work
from edge_ad.registry import ENGINES
from edge_ad.system.entry import say
from edge_ad.system.names import printable, printable_lines
from edge_ad.system.progress import Progress
from edge_ad.system.tables import aligned, named

HELP = "Inspects many images with several workers, into Parquet files; a run that was stopped or killed goes on."
SHARD_SIZE = 500
_PASSED_ON = ("engine", "device", "point", "search", "threshold")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", help="the bundle file")
    parser.add_argument(
        "images",
        help="an image; a folder of images (its subfolders too); a manifest: a text file with a path or URL a line, or "
        "a .csv, .jsonl or .parquet file with a column path and, if wanted, label; or a URL of any of these, such as "
        "s3://bucket/folder",
    )
    parser.add_argument("--out", required=True, metavar="RESULTS", help="folder or URL of the results")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many inspect at once; by default one for each --threads cores"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker; default: 1")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, metavar="N", help="images in a Parquet file")
    parser.add_argument(
        "--readers",
        type=int,
        default=2,
        metavar="N",
        help="threads of a worker that read files ahead, for slow storage",
    )
    add_ray(parser)
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="as for edge-ad inspect")
    parser.add_argument("--device", default="CPU", help="as for edge-ad inspect")
    parser.add_argument("--point", help="operating point to use; default: f32")
    parser.add_argument(
        "--search", choices=("auto", "exact", "graph"), default="auto", help="how the nearest patches are found"
    )
    parser.add_argument("--threshold", type=float, help="threshold of the score, instead of the bundle's")


def run(options: argparse.Namespace) -> int:
    """Inspects what is not in the results yet; returns the exit code of `edge-ad inspect`."""
    workers_of(options)
    if not 1 <= options.shard_size <= 1_000_000:
        raise SpecError("--shard-size is out of range", expected="1..1000000", got=options.shard_size)
    require_parquet()
    passed = {name: getattr(options, name) for name in _PASSED_ON}
    inspector = Inspector(options.bundle, options.threads, readers=options.readers, **passed)
    work = list_work(options.images, stacks=inspector.takes_stacks)
    for line in (*(f"error: {error}" for error in work.errors), *(f"note: {note}" for note in work.notes)):
        say(line)
    identity = Identity(inspector.bundle_id, passed, len(work.paths), work.digest(), options.shard_size)
    results = Results(options.out)
    with results.claimed(identity):
        driver = Driver(work, identity, results, say)
        done_before = len(work.paths) - driver.images_left
        if done_before:
            say(f"{done_before} of {len(work.paths)} images were done before")
        if driver.images_left:
            _inspect(driver, inspector, options)
        summary = driver.summary()
        results.write_summary(summary)
    for note, count in driver.tally.notes.items():
        say(f"note: {note}: {count} images")
    print(_text(summary, results.out))
    failed = summary["errors"] + len(work.errors)
    return ERROR if failed else ANOMALOUS if summary["anomalous"] else OK


def _inspect(driver: Driver, inspector: Inspector, options: argparse.Namespace) -> None:
    with _crew(inspector, options, driver.images_left) as crew:
        driver.wait_for(crew)
        label = f"inspect ({crew.size} x {options.threads})"
        with Progress(label, driver.images_left, unit="images") as progress:
            driver.say = _above(progress)
            driver.run(crew, progress)


def _above(progress: Progress) -> Any:
    def tell(line: str) -> None:
        progress.wipe()
        say(line)

    return tell


@contextlib.contextmanager
def _crew(inspector: Inspector, options: argparse.Namespace, images: int) -> Iterator[Crew]:
    """The workers, at most one for each image."""
    if options.ray is None:
        with Pool(inspector, min(workers_of(options), images), options.threads) as pool:
            yield pool
        return
    from edge_ad.fleet.rays import Actors, connected

    with connected(options.ray, workers_of(options) * options.threads) as cpus:
        size = min(workers_of(options, cpus), images)
        with Actors(inspector, Path(options.bundle), size, options.threads) as actors:
            yield actors


def _text(summary: Mapping[str, Any], out: str) -> str:
    own = summary["this_run"]
    facts = [
        ("images", f"{summary['images']}"),
        ("good", f"{summary['good']}"),
        ("anomalous", f"{summary['anomalous']}"),
        ("errors", f"{summary['errors']}"),
        ("tried again", f"{summary['retries']}"),
    ]
    if own["images"]:
        rate = f"{own['images_per_s']:.1f} a second" if own["images_per_s"] else "at once"
        facts.append(("this run", f"{own['images']} images, {rate}, {own['workers_died']} workers died"))
    engines = sorted({f"{each['engine']} {each['engine_version']}" for each in own["workers"]})
    facts.append(("results", printable(f"{out}/{PARTS}, {out}/{SUMMARY}")))
    lines = [named(facts)]
    if len(engines) > 1:
        lines.append(f"note: the workers ran {' and '.join(engines)}: scores of two engines differ by rounding")
    if kinds := summary["error_kinds"]:
        rows = [("images", "error", "first"), *((str(k["images"]), k["error"], k["first"]) for k in kinds)]
        lines.append("\n" + aligned(rows, [True, False, False]))
    return printable_lines("\n".join(lines))
