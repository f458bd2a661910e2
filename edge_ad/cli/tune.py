"""`edge-ad tune BUNDLE`: measures this machine and saves the results for `Runtime`."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.cli import ERROR, OK, given_path
from edge_ad.errors import SpecError
from edge_ad.frames.listing import list_images
from edge_ad.serving.fidelity import best_first
from edge_ad.serving.profile import (
    Entry,
    Profile,
    check_profile_path,
    profile_to_json,
    save_profile,
    this_machine,
)
from edge_ad.serving.settings import Fixed
from edge_ad.serving.timing import read_frames, sample_frames
from edge_ad.serving.tuning import Tuned, candidates, steps, tune
from edge_ad.spec import REFERENCE, Manifest
from edge_ad.system.files import check_outputs
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from edge_ad.system.tables import aligned

HELP = "Measures every operating point, engine, number of threads, cores and search on this PC, for Runtime to use."
SECONDS = (5.0, 150.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("bundle", help="the bundle file")
    parser.add_argument(
        "--budget-ms", type=float, metavar="MS", help="time limit; the table shows which points keep it"
    )
    parser.add_argument(
        "--frames",
        type=given_path,
        metavar="DIR",
        help="images of the camera to measure with; by default the bundle's golden probes, enlarged",
    )
    parser.add_argument(
        "--threads-max", type=int, metavar="N", help="most threads to try; by default the physical cores"
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="seconds to measure for, 5..150; default: 120")
    parser.add_argument("--json", action="store_true", help="print the whole profile as JSON")


def run(options: argparse.Namespace) -> int:
    """Measures, writes the profile and prints it; returns 0, or 2 if no operating point keeps the budget."""
    low, high = SECONDS
    _check("--seconds", options.seconds, low <= options.seconds <= high, f"{low:g}..{high:g}")
    _check("--threads-max", options.threads_max, options.threads_max is None or options.threads_max >= 1, "1 or more")
    budget = options.budget_ms
    _check("--budget-ms", budget, budget is None or 0 < budget < float("inf"), "a finite number above 0")
    with Bundle.open(options.bundle) as bundle:
        spec = bundle.manifest
        frames = read_frames(options.frames, spec.frame) if options.frames else sample_frames(bundle)
        count = steps(candidates(bundle, options.threads_max)[0])
        machine = this_machine(bundle.id)
        check_outputs([("the profile", check_profile_path(machine))], _inputs(options))
        with Progress("tune", count, unit="measurements") as progress:
            tuned = tune(bundle, frames, options.seconds, options.threads_max, lambda: progress.update(1))
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    profile = Profile(machine, now, tuple(tuned.entries), tuned.refused)
    path = save_profile(profile)
    taken = _taken(profile, spec, budget)
    if options.json:
        print(profile_to_json(profile, path=str(path), left_out=tuned.left_out, taken=taken))
    else:
        print(_report(profile, spec, budget, taken))
        _say(tuned, path)
    return OK if taken is not None else ERROR


def _inputs(options: argparse.Namespace) -> list[tuple[str, Path]]:
    images = list_images(options.frames) if options.frames and options.frames.is_dir() else []
    return [("the bundle", Path(options.bundle)), *(("an image", path) for path in images)]


def _check(name: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        raise SpecError(f"{name} is out of range", expected=expected, got=value)


def _taken(profile: Profile, spec: Manifest, budget_ms: float | None) -> str | None:
    """The operating point that `Runtime` takes; None if none keeps the budget, or f32 cannot run here."""
    best = [profile.best(name, Fixed(), budget_ms) for name in best_first(spec)]
    if budget_ms is None:
        return next((entry.point for entry in best if entry and entry.point == REFERENCE), None)
    return next((entry.point for entry in best if entry and entry.timing.p99_ms <= budget_ms), None)


def _report(profile: Profile, spec: Manifest, budget_ms: float | None, taken: str | None) -> str:
    """The Pareto table: a line for each operating point with its best settings, in the order of `best_first`."""
    call = "Runtime(path)" if budget_ms is None else f"Runtime(path, budget_ms={budget_ms:g})"
    head = ["", "point", "rank corr", "score err", "AUROC", "engine", "threads", "cores", "search"]
    rows = [[*head, "p50 ms", "p95", "p99", "after idle", "" if budget_ms is None else "fits", "taken by"]]
    fastest = float("inf")
    for name in best_first(spec):
        entry = profile.best(name, Fixed(), budget_ms)
        if entry is None:
            reasons = {why for what, why in profile.refused.items() if what.startswith(f"{name} by ")}
            rows.append(["", name, f"not run: {', '.join(sorted(reasons)) or 'no engine for it is installed'}"])
            continue
        mark, fastest = ("*" if entry.timing.p50_ms < fastest else ""), min(fastest, entry.timing.p50_ms)
        fits = "" if budget_ms is None else "yes" if entry.timing.p99_ms <= budget_ms else "no"
        rows.append([mark, name, *_fidelity(spec, name), *_facts(entry), fits, call if name == taken else ""])
    lines = [aligned(rows), "* no operating point as faithful is faster"]
    if taken is None:
        lines.append(f"no operating point keeps it: {call} raises BudgetError" if budget_ms else f"{call}: cannot run")
    return "\n".join(lines)


def _fidelity(spec: Manifest, name: str) -> Sequence[str]:
    point = spec.find_point(name)
    if point is None:
        areas = [p.fidelity.reference_auroc for p in spec.points if p.fidelity.reference_auroc is not None]
        return ("1", "0", f"{areas[0]:.4f}" if areas else "-")
    own = point.fidelity
    return (f"{own.rank_correlation:.4f}", f"{own.score_error:.2%}", "-" if own.auroc is None else f"{own.auroc:.4f}")


def _facts(entry: Entry) -> Sequence[str]:
    own = entry.settings
    times = (entry.timing.p50_ms, entry.timing.p95_ms, entry.timing.p99_ms)
    idle = "-" if entry.idle_ms is None else f"{entry.idle_ms:.1f}"
    return (own.engine, str(own.threads), own.cores_text, own.search, *(f"{ms:.1f}" for ms in times), idle)


def _say(tuned: Tuned, path: Path) -> None:
    if tuned.left_out:
        print(f"note: {tuned.left_out} less likely settings were not measured; raise --seconds", file=sys.stderr)
    print(f"profile: {printable(path)}")
