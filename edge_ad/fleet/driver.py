"""Inspects a work list with a crew of workers, shard by shard, and counts what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge_ad.fleet.crew import Answered, Crew, Died, Event, Ready
from edge_ad.fleet.inspector import failed_columns
from edge_ad.fleet.plan import TRIES, Finished, Piece, Plan, shards_of
from edge_ad.fleet.results import Identity, Results
from edge_ad.fleet.tables import read_columns, to_parquet
from edge_ad.fleet.worklist import WorkList
from edge_ad.system.names import printable, storable
from edge_ad.system.progress import Counts

PIECE_SIZE = 32  # images that a worker gets at once, and loses when it dies
_WAIT_S = 0.2
_SAID = 10  # images with errors that are told one by one while it runs
_KINDS = 20  # of errors in a summary


@dataclass
class Tally:
    """What a run saw beside the rows.

    Attributes:
        images: that this run inspected.
        seconds: from the first worker that was ready to the last part.
        deaths: workers that died.
        retries: pieces and images that were tried again, of all runs.
        facts: what the workers opened: each kind once.
        notes: on images.
    """

    images: int = 0
    seconds: float = 0.0
    deaths: int = 0
    retries: int = 0
    facts: list[dict[str, Any]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


class Driver:
    """Does the shards that are missing in a folder of results.

    Args:
        work: the images.
        identity: of the results.
        results: where they go; claimed by the caller.
        say: tells a person of an error; it is given a line.
    """

    def __init__(self, work: WorkList, identity: Identity, results: Results, say: Callable[[str], object]) -> None:
        self._work, self._identity, self._results, self.say = work, identity, results, say
        self._bounds = shards_of(len(work.paths), identity.shard_size)
        self._done = results.parts(identity, self._bounds)
        self._said = 0
        self.tally = Tally(retries=sum(self._done.values()))

    @property
    def images_left(self) -> int:
        """Images whose shard is not done."""
        return sum(stop - start for i, (start, stop) in enumerate(self._bounds) if i not in self._done)

    def wait_for(self, crew: Crew) -> None:
        """Waits for the first worker that is ready, so that what follows can be timed.

        Raises:
            EdgeADError: no worker can open the bundle.
        """
        while not self.tally.facts:
            for event in crew.wait(_WAIT_S):
                if isinstance(event, Ready):
                    self._know(event)
                elif isinstance(event, Died):
                    self._say_dead(event)

    def run(self, crew: Crew, progress: Counts) -> None:
        """Inspects what is left; after `wait_for`.

        Raises:
            EdgeADError: the bundle cannot be opened by a worker, or results cannot be written.
        """
        todo = [i for i in range(len(self._bounds)) if i not in self._done]
        plan = Plan(len(self._work.paths), self._identity.shard_size, todo, PIECE_SIZE, ahead=crew.size + 2)
        began = time.monotonic()
        while not plan.is_done:
            while (worker := crew.wants()) is not None and (piece := plan.next()) is not None:
                crew.give(worker, piece, list(self._work.paths[piece.start : piece.stop]))
            for event in crew.wait(_WAIT_S):
                self._took(plan, event, progress)
            progress.update(0)
        self.tally.seconds = time.monotonic() - began

    def _took(self, plan: Plan, event: Event, progress: Counts) -> None:
        finished: Finished | None = None
        if isinstance(event, Ready):
            self._know(event)
        elif isinstance(event, Answered):
            self.tally.notes.update(event.answer.notes)
            self._tell_errors(event.piece, event.answer.columns["error"])
            finished = plan.answered(event.piece, event.answer.columns)
            self._count(len(event.piece), progress)
        elif isinstance(event, Died):
            finished = self._lost(plan, event, progress)
        if finished is not None:
            self.tally.retries += finished.retries
            self._results.write(finished.shard, self._file(finished))

    def _lost(self, plan: Plan, event: Died, progress: Counts) -> Finished | None:
        for piece in reversed(event.unbegun):
            plan.put_back(piece)
        if event.piece is None:
            self._say_dead(event)
            return None
        self.tally.deaths += 1
        first, more = self._work.paths[event.piece.start], len(event.piece) - 1
        at = printable(first) + (f" and {more} more" if more else "")
        if plan.died(event.piece):
            self.say(f"note: a worker died ({event.why}) at {at}: tried again")
            return None
        error = f"{TRIES} workers died at this image, when it was alone too ({event.why})"
        facts = self.tally.facts[0]
        columns = failed_columns(len(event.piece), facts["threshold"], facts["point"], error)
        self._tell_errors(event.piece, columns["error"])
        self._count(len(event.piece), progress)
        return plan.gave_up(event.piece, columns)

    def _know(self, event: Ready) -> None:
        if dict(event.facts) not in self.tally.facts:
            self.tally.facts.append(dict(event.facts))

    def _say_dead(self, event: Died) -> None:
        self.tally.deaths += 1
        self.say(f"note: a worker died ({event.why}); another one starts")

    def _count(self, images: int, progress: Counts) -> None:
        self.tally.images += images
        progress.update(images)

    def _tell_errors(self, piece: Piece, errors: Any) -> None:
        for error, path in zip(errors, self._work.paths[piece.start : piece.stop], strict=True):
            if error:
                self._said += 1
                if self._said <= _SAID:
                    self.say(f"error: {error}" if path in error else f"error: {path}: {error}")
                elif self._said == _SAID + 1:
                    self.say("error: further images cannot be inspected; the summary counts them")

    def _file(self, finished: Finished) -> bytes:
        start, stop = self._bounds[finished.shard]
        columns: dict[str, Any] = {
            "path": [printable(path) for path in self._work.paths[start:stop]],
            "label": self._work.labels[start:stop],
            **finished.columns,
            "error": [error and storable(error) for error in finished.columns["error"]],
        }
        return to_parquet(columns, {**self._identity.facts(finished.shard), "retries": str(finished.retries)})

    def summary(self) -> dict[str, Any]:
        """Counts over all parts, one in memory at a time.

        Raises:
            EdgeADError: a part cannot be read.
        """
        counts: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        first: dict[str, str] = {}
        for number in range(len(self._bounds)):
            rows = read_columns(self._results.read(number), ("path", "is_anomalous", "error"))
            for path, anomalous, error in zip(rows["path"], rows["is_anomalous"], rows["error"], strict=True):
                counts["error" if error else "anomalous" if anomalous else "good"] += 1
                if error:
                    kind = _kind(error, path)
                    errors[kind] += 1
                    first.setdefault(kind, path)
        tally = self.tally
        return {
            "images": len(self._work.paths),
            "good": counts["good"],
            "anomalous": counts["anomalous"],
            "errors": counts["error"],
            "folders_not_read": list(map(storable, self._work.errors)),
            "retries": tally.retries,
            "this_run": {
                "images": tally.images,
                "seconds": round(tally.seconds, 3),
                "images_per_s": round(tally.images / tally.seconds, 2) if tally.seconds else None,
                "workers_died": tally.deaths,
                "workers": tally.facts,
            },
            "error_kinds": [
                {"error": kind, "images": count, "first": first[kind]} for kind, count in errors.most_common(_KINDS)
            ],
            "bundle": self._identity.bundle,
            "edge_ad": self._identity.edge_ad,
        }


def _kind(error: str, path: str) -> str:
    """The first line of an error without the image's own path, so that equal ones are counted together."""
    return error.partition("\n")[0].replace(path, "FILE")
