"""`edge-ad check BUNDLE`: checks the hashes, runs the golden probes of each operating point with each of its engines,
and compares the engines."""

from __future__ import annotations

import argparse

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes, relative_difference
from edge_ad.cli import ERROR, OK
from edge_ad.engines import installed_engines
from edge_ad.errors import EngineError, EngineUnavailableError, ParityError
from edge_ad.frames.check import in_declared_order
from edge_ad.runtime import Runtime
from edge_ad.spec import REFERENCE, PointSpec
from edge_ad.system.tables import named

HELP = "Proves that this PC gives the answers that the bundle expects, at every operating point that it can run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", help="the bundle file")
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")


def run(options: argparse.Namespace) -> int:
    """Prints a line for each check; returns 0 if all pass and 2 if not."""
    with Bundle.open(options.bundle) as bundle:
        manifest = bundle.manifest
        rows = {"hashes": f"ok, {len(manifest.members)} members, id {bundle.id}"}
        passed, ran = True, False
        for name in manifest.point_names:
            found, runtimes, holds = _prove(options, name, manifest.find_point(name))
            if len(runtimes) > 1:
                found["parity"], agree = _parity(bundle.at(name), runtimes)
                holds = holds and agree
            prefix = "" if name == REFERENCE else f"{name} "
            rows |= {prefix + label: text for label, text in found.items()}
            passed, ran = passed and holds, ran or bool(runtimes)
    if not ran and passed:  # nothing ran, so nothing is proven
        Runtime(options.bundle, threads=options.threads)
    print(named(rows.items()))
    return OK if passed else ERROR


def _prove(
    options: argparse.Namespace, name: str, point: PointSpec | None
) -> tuple[dict[str, str], list[Runtime], bool]:
    """A line for each engine of the point, the runtimes that passed, and whether none failed."""
    rows: dict[str, str] = {}
    runtimes: list[Runtime] = []
    passed = True
    for engine in installed_engines() if point is None or point.engine == "any" else (point.engine,):
        try:
            runtime = Runtime(options.bundle, engine=engine, point=name, threads=options.threads)
            worst = runtime.check()
        except EngineUnavailableError as error:
            rows[engine] = f"not run: {error.what}"
        except (EngineError, ParityError) as error:
            rows[engine], passed = f"FAILED: {error}", False
        else:
            rows[engine] = "ok, largest deviations " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items())
            runtimes.append(runtime)
    return rows, runtimes, passed


def _parity(bundle: Bundle, runtimes: list[Runtime]) -> tuple[str, bool]:
    """The difference between the patches of the first engine and the others, and whether it is small enough."""
    asked = [(in_declared_order(probe.frame, bundle.manifest.frame), probe.rows) for probe in load_probes(bundle)]
    first, *others = ([runtime.probe(*each).patches for each in asked] for runtime in runtimes)
    apart = max(relative_difference(b, a) for other in others for a, b in zip(first, other, strict=True))
    agree = apart <= bundle.manifest.probes.tolerance
    return f"{'ok' if agree else 'FAILED'}, patches {apart:.1e} between the engines", agree
