"""`edge-ad check BUNDLE`: hashes, golden probes by each installed engine, and parity between the engines."""

from __future__ import annotations

import argparse

from edge_ad.bundle import Bundle
from edge_ad.cli import ERROR, OK
from edge_ad.cli.info import table
from edge_ad.engines import installed_engines
from edge_ad.errors import EngineError, EngineUnavailableError, ParityError
from edge_ad.probes import load_probes, relative_difference
from edge_ad.runtime import Runtime

HELP = "Proves that this PC gives the answers that the bundle expects."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", help="the bundle file")
    parser.add_argument("--threads", type=int, help="by default one for each physical core")


def run(options: argparse.Namespace) -> int:
    """Prints a line for each proof; returns 0 when all hold and 2 otherwise."""
    with Bundle.open(options.bundle) as bundle:
        tolerance = bundle.manifest.probes.tolerance
        frames = [probe.frame for probe in load_probes(bundle)]
        rows = {"hashes": f"ok, {len(bundle.manifest.members)} members, id {bundle.id}"}
    runtimes: list[Runtime] = []
    passed = True
    for engine in installed_engines():
        try:
            runtime = Runtime(options.bundle, engine=engine, threads=options.threads)  # type: ignore[arg-type]
            worst = runtime.check()
        except EngineUnavailableError as error:
            rows[engine] = f"not run: {error.what}"
        except (EngineError, ParityError) as error:
            rows[engine], passed = f"FAILED: {error}", False
        else:
            rows[engine] = "ok, largest deviations " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
            runtimes.append(runtime)
    if not runtimes and passed:  # nothing ran, so that nothing is proven
        Runtime(options.bundle, threads=options.threads)
    if len(runtimes) == 2:
        first, second = ([runtime.probe(frame) for frame in frames] for runtime in runtimes)
        apart = max(relative_difference(b.patches, a.patches) for a, b in zip(first, second, strict=True))
        rows["parity"] = f"{'ok' if apart <= tolerance else 'FAILED'}, patches {apart:.1e} between the engines"
        passed = passed and apart <= tolerance
    print(table(rows))
    return OK if passed else ERROR
