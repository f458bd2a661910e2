"""What edge-ad sees of labelled sets at its defaults, beside anomalib's PatchCore R18 at its own: one table.

    python -m bench.sight ../shared/data --peer-python PEER/bin/python [--sets bottle cable] [--resnet18]

edge-ad: `python -m export SET --seed S` and no other option, then every test image by `Runtime(bundle)`. With
`--resnet18` its tables by resnet18 follow: with settings that the export chooses, and with the peer's. anomalib runs in
an environment of its own (`--peer-python`), with the settings in `bench/sight/theirs.py`. Without one, edge-ad stands
alone.

Bundles and figures are kept in `--folder`: what is there is not made again, unless the data or the code of edge-ad have
changed. Times are measured in every run, in turns. The exit code is 0 when the table is complete, and 2 after an error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.sight.ours import Ours, variants
from bench.sight.record import Record, figures
from bench.sight.sets import SETS, LabelledSet, find_sets
from bench.sight.table import Row, Side, table
from bench.sight.theirs import CORESET, Peer, Theirs
from bench.sight.times import measure
from edge_ad.errors import SpecError
from edge_ad.system.arguments import whole_number
from edge_ad.system.cpu import detect_cpu
from edge_ad.system.entry import run_command, say
from edge_ad.system.files import check_target, write_output

WEIGHTS = "resnet18_to_layer3.pth"
LEGEND = """Means of {seeds} coreset seeds (lowest..highest). Maps and masks are compared at 256 x 256. Missed: defects
below the default threshold. Rejected: good images at it or above. Stated: the rate of rejected good parts that the rule
of the threshold names. ms: median from pixels in memory to verdict, {threads} threads, edge-ad without a map."""
PEER_LEGEND = """anomalib: PatchCore R18, 256 x 256, coreset {coreset:g}{deviation}; ms by OpenVINO in f32 with its map,
the frame resized beforehand by OpenCV. Its default threshold is that of the highest F1 over the labelled test images
themselves. "Missed at our rejects" compares alike: its threshold so that it rejects as many good images as edge-ad."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    message = f"interrupted; what was made is kept in {options.folder}, and the same command goes on from there"
    return run_command(lambda: _run(options), message)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sight", description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("data", type=Path, help="folder of the sets")
    add("--sets", nargs="+", default=list(SETS), metavar="SET", help=f"default: {' '.join(SETS)}")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the coreset (default: 0 1 2)")
    add("--peer-python", type=Path, help="interpreter of an environment with anomalib")
    add(
        "--peer-coreset", type=float, default=CORESET, help=f"its fraction (default: {CORESET:g}, which is its default)"
    )
    add("--resnet18", action="store_true", help="tables of edge-ad by resnet18, too")
    add("--weights-folder", type=Path, help=f"folder of {WEIGHTS}, for both sides (default: DATA/../weights)")
    add("--no-times", action="store_true", help="leave the milliseconds out")
    add("--threads", type=int, default=2, help="where times are measured, and of the peer always (default: 2)")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-sight", help="where all is kept")
    add("--json", type=Path, help="file for the figures, with every score")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    weights = _check(options)
    ways = variants(weights if options.resnet18 else None, options.peer_coreset)
    rows: dict[str, list[Row]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="edge-ad-sight-") as scratch, contextlib.ExitStack() as stack:
        peer = None
        if options.peer_python is not None:
            peer = Peer(options.peer_python, weights, options.threads, Path(scratch), stack)
        sets = find_sets(options.sets, options.data, options.folder / "sample")
        for found in sets:
            ours = {name: Ours(found, name, changes, options.folder) for name, changes in ways.items()}
            theirs = None if peer is None else Theirs(found, peer, options.peer_coreset, options.folder)
            for name, row in _compare(found, ours, theirs, options).items():
                rows[name].append(row)
    _print(rows, options)
    if options.json is not None:
        write_output(options.json, [json.dumps(_document(rows), indent=1).encode()])
    return 0


def _check(options: argparse.Namespace) -> Path:
    """Refuses before any work what cannot be done. Returns the file of resnet18's weights, which a run may not need."""
    whole_number("--threads", options.threads, 1, 1024)
    for seed in options.seeds:
        whole_number("--seeds", seed, 0, 2**32 - 1)
    if not 0 < options.peer_coreset <= 1:
        raise SpecError("--peer-coreset is out of range", expected="above 0, at most 1", got=options.peer_coreset)
    weights: Path = (options.weights_folder or options.data / ".." / "weights") / WEIGHTS
    if (options.resnet18 or options.peer_python is not None) and not weights.is_file():
        remedy = "Name its folder by --weights-folder."
        raise SpecError("the weights of resnet18 are missing", expected="a file", got=f"no {weights}", remedy=remedy)
    if options.json is not None:
        check_target("--json", options.json)
    return weights


def _compare(
    found: LabelledSet, ours: dict[str, Ours], theirs: Theirs | None, options: argparse.Namespace
) -> dict[str, Row]:
    """The rows of a set, one for each way to export."""
    own = {name: _records(each.record, found, f"edge-ad {name}", options.seeds) for name, each in ours.items()}
    peer = _records(theirs.record, found, "anomalib", options.seeds) if theirs is not None else None
    ms: list[float] | list[None] = [None] * len(ours)
    peer_ms = None
    if not options.no_times:
        seed = options.seeds[0]
        ms, peer_ms = measure([each.bundle(seed) for each in ours.values()], theirs, seed, found, options.threads)
    their_side = None if peer is None else Side(peer, peer_ms)
    return {name: Row(found, Side(own[name], each), their_side) for name, each in zip(ours, ms, strict=True)}


def _records(make: Callable[[int], Record], found: LabelledSet, side: str, seeds: list[int]) -> list[Record]:
    """What a side sees with each seed; says so on stderr."""
    records = []
    for seed in seeds:
        start = time.perf_counter()
        records.append(make(seed))
        seen = figures(records[-1], found)
        pixel = "" if seen.pixel_auroc is None else f", pixel {seen.pixel_auroc:.3f}"
        text = f"image AUROC {seen.image_auroc:.3f}{pixel}, {seen.missed} missed, {seen.rejected} rejected"
        say(f"{found.name}, seed {seed}, {side}: {text}; {time.perf_counter() - start:.0f} s")
    return records


def _print(rows: dict[str, list[Row]], options: argparse.Namespace) -> None:
    legend = LEGEND.format(seeds=len(options.seeds), threads=options.threads)
    if options.peer_python is not None:
        deviation = "" if options.peer_coreset == CORESET else f" (its default is {CORESET:g})"
        legend += "\n" + PEER_LEGEND.format(coreset=options.peer_coreset, deviation=deviation)
    print(f"{detect_cpu().model}, {_versions(rows)}.\n{legend}")
    for name, found in rows.items():
        print(f"\nedge-ad, {name}:\n\n{table(found)}", flush=True)


def _versions(rows: dict[str, list[Row]]) -> str:
    first = next(iter(rows.values()))[0]
    sides = [("", first.ours)] + ([("the peer ", first.theirs)] if first.theirs is not None else [])
    return "; ".join(
        prefix + ", ".join(f"{name} {version}" for name, version in side.records[0].facts["versions"].items())
        for prefix, side in sides
    )


def _document(rows: dict[str, list[Row]]) -> list[dict[str, object]]:
    """A dict for each set and way to export, with every record."""
    return [
        {
            "set": row.found.name,
            "variant": name,
            "defects": row.found.defects.tolist(),
            "edge_ad": _side(row, row.ours),
            "anomalib": None if row.theirs is None else _side(row, row.theirs),
        }
        for name, found in rows.items()
        for row in found
    ]


def _side(row: Row, side: Side) -> dict[str, object]:
    seeds = [
        {**dataclasses.asdict(seen), **dataclasses.asdict(record)}
        for seen, record in zip(row.figures(side), side.records, strict=True)
    ]
    return {"ms": side.ms, "seeds": seeds}


if __name__ == "__main__":
    sys.exit(main())
