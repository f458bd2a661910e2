"""What the commands of `edge-ad fleet` share: workers, and where they run."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence

from edge_ad.errors import SpecError
from edge_ad.system.cpu import default_threads
from edge_ad.system.processes import Ended, Task, children_can_be_stopped, run_all


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Adds --ray."""
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="use a Ray cluster: HOST:PORT, auto (the one that this PC is part of), or local (starts one here); "
        "pip install 'edge-ad[ray]'",
    )


def workers_of(options: argparse.Namespace, cpus: int | None = None) -> int:
    """--workers, or by default as many as have a physical core (in a cluster, a CPU) for each of their --threads.

    Raises:
        SpecError: an option is out of range.
    """
    for name in ("workers", "threads"):
        value = getattr(options, name)
        if value is not None and not 1 <= value <= 10_000:
            raise SpecError(f"--{name} is out of range", expected="1..10000", got=value)
    if options.workers is not None:
        return int(options.workers)
    return max(1, (default_threads() if cpus is None else cpus) // options.threads)


@contextlib.contextmanager
def side_by_side(
    options: argparse.Namespace,
) -> Iterator[Callable[[Sequence[Task], Callable[[], object]], Iterator[Ended]]]:
    """What runs commands, --workers at a time: on this PC, or with --ray on the cluster."""
    if options.ray is None:
        with children_can_be_stopped():
            yield lambda tasks, tick: run_all(tasks, workers_of(options), tick)
        return
    from edge_ad.fleet.rays import connected, run_all_on_ray

    with connected(options.ray, workers_of(options) * options.threads) as cpus:
        jobs = workers_of(options, cpus)
        yield lambda tasks, tick: run_all_on_ray(tasks, jobs, tick, threads=options.threads)
