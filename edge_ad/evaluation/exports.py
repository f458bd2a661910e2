"""Makes bundles that do not exist yet: those of a grid, or of a fleet.

Beside each NAME.bundle are NAME.json and NAME.log. NAME.json says what the bundle was made from; it is written last, so
that an interrupted export runs again. NAME.log holds what the export printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleError, EdgeADError
from edge_ad.evaluation.run import replace_text
from edge_ad.system.cpu import default_threads
from edge_ad.system.processes import THREAD_VARIABLES, Ended, Task, run_all, threads_of

_JOB_BYTES = 2**31  # an export keeps up to 2 GiB of patches in memory, and is seldom larger on the whole


Run = Callable[[Sequence[Task], Callable[[], object]], Iterator[Ended]]


class Making(Protocol):
    """How a bundle is made."""

    def command(self, out: Path, threads: int) -> list[str]:
        """The command that makes it."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that it depends on, ready for JSON."""


@dataclass(frozen=True)
class Order:
    """A bundle to make.

    Attributes:
        recipe: how.
        out: its file.
        labels: digest of the labelled images, as a threshold may be chosen from them.
    """

    recipe: Making
    out: Path
    labels: str


@dataclass(frozen=True)
class Done:
    """An order that is done; `error` says why there is no bundle."""

    order: Order
    error: str | None
    seconds: float


def is_made(order: Order, fingerprint: Mapping[str, Any]) -> bool:
    """Whether the bundle exists, is whole, and was made from this order."""
    try:
        record = json.loads(_record(order.out).read_text(encoding="utf-8"))
        if record["recipe"] != fingerprint:
            return False
        with Bundle.open(order.out) as bundle:
            manifest = bundle.manifest
            uses_labels = manifest.calibration.defect_scores or any(p.fidelity.labelled for p in manifest.points)
            return bundle.id == record["bundle"] and (not uses_labels or order.labels == record["labels"])
    except (OSError, ValueError, TypeError, KeyError, BundleError):
        return False


def make(
    orders: Sequence[Order],
    jobs: int,
    tick: Callable[[], object],
    *,
    threads: int | None = None,
    run: Run | None = None,
) -> Iterator[Done]:
    """Makes the bundles, `jobs` at a time, and yields each order when it is done. After a failure the others go on.

    Args:
        tick: called a few times a second.
        threads: of each; by default the cores are shared.
        run: what runs the commands, in place of processes of this PC; it has its own number of jobs.
    """
    threads = threads_of(jobs) if threads is None else threads
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads))
    # made before the work: if an input changes during the work, the record does not fit and the bundle is made again
    prints = [order.recipe.fingerprint() for order in orders]
    tasks = []
    for order in orders:
        _record(order.out).unlink(missing_ok=True)
        tasks.append(Task(order.recipe.command(order.out, threads), order.out.with_suffix(".log"), environment))
        order.out.parent.mkdir(parents=True, exist_ok=True)
    for ended in run_all(tasks, jobs, tick) if run is None else run(tasks, tick):
        order, error = orders[ended.number], ended.error
        if error is None:
            error = _write_down(order, prints[ended.number])
        yield Done(order, error, ended.seconds)


def _write_down(order: Order, fingerprint: Mapping[str, Any]) -> str | None:
    try:
        with Bundle.open(order.out) as bundle:
            record = {"recipe": fingerprint, "bundle": bundle.id, "labels": order.labels}
        replace_text(_record(order.out), json.dumps(record, indent=1))
    except EdgeADError as error:
        return str(error)
    return None


def _record(bundle: Path) -> Path:
    return bundle.with_suffix(".json")


def default_jobs() -> int:
    """How many exports to run at once: one for each core that has 2 GiB of memory.

    About half of an export uses one thread (the network's graph, reading images). So two exports at once with one
    thread each are faster than two exports in turn with two threads.
    """
    return max(1, min(default_threads(), _memory() // _JOB_BYTES))


def _memory() -> int:
    """Free bytes of memory, within the container's limit (cgroup v2); a very large number if unknown."""
    found = [1 << 50]
    info = Path("/proc/meminfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    bound = Path("/sys/fs/cgroup/memory.max")
    text = bound.read_text().strip() if bound.exists() else "max"
    return min([*found, int(text)] if text != "max" else found)
