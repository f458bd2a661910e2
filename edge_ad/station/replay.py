"""Inspects a kept picture again, with the bundle that judged it, and compares to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.frames.check import in_declared_order, read_frame
from edge_ad.runtime import Runtime
from edge_ad.spec import Manifest
from edge_ad.station.config import Config
from edge_ad.station.journal import KEPT, Journal, Row
from edge_ad.station.kept import bundle_path, kept_mask
from edge_ad.station.outcomes import FAULT, Decision, decide
from edge_ad.system.names import storable

# by `Row.kept`
_NO_PICTURE = ("a part whose picture is not kept", "it is being written", "", "it was lost", "retention removed it")


@dataclass(frozen=True)
class Replayed:
    """A part that was inspected again.

    Attributes:
        row: what the journal says.
        decision: what it is now; its outcome does not know the deadline.
        judged: whether the journal has a score to compare with.
    """

    row: Row
    decision: Decision
    judged: bool

    @property
    def same(self) -> bool:
        """Whether score and threshold are the same, to the bit."""
        return self.row.score == self.decision.score and self.row.threshold == self.decision.threshold


def find_row(journal: Journal, part: str, camera: str | None = None) -> Row:
    """The row of a part id.

    Raises:
        SpecError: there is none, or several cameras have one.
    """
    rows = [row for row in journal.rows("part_id = ?", (storable(part),)) if camera in (None, row.camera)]
    if not rows:
        near = [
            *dict.fromkeys(row.part_id for row in journal.rows("instr(part_id, ?)", (storable(part),), "id DESC", 3))
        ]
        remedy = f"Did you mean {' or '.join(near)}? " if near else ""
        raise SpecError("the journal has no such part", got=part, remedy=f"{remedy}edge-ad journal lists them.")
    if len(rows) > 1:
        cameras = ", ".join(row.camera for row in rows)
        raise SpecError(f"several cameras have the part {part}", expected="--camera", got=cameras)
    return rows[0]


def replay(config: Config, part: str, camera: str | None = None) -> Replayed:
    """Inspects the kept picture of a part again, by the engine, point and threads that the journal names.

    Raises:
        EdgeADError: there is no such part, no picture or no bundle of it any more, or it cannot be inspected.
    """
    with Journal(config.journal) as journal:
        row = find_row(journal, part, camera)
        bundle = row.bundle or next(iter(journal.bundles_of(row.camera)), "")
    if row.kept != KEPT:
        remedy = "good_sample in [retention] sets how many pictures of good parts are kept."
        if row.outcome == FAULT and not row.picture:
            raise EdgeADError(f"there is no picture of the part {part}", got=f"the fault {row.reason}")
        raise EdgeADError(f"there is no picture of the part {part}", got=_NO_PICTURE[row.kept], remedy=remedy)
    path = bundle_path(config.data, bundle)
    if not bundle or not path.is_file():
        raise EdgeADError(f"the bundle {bundle} of the part {part} is not kept any more", expected=path)
    cores = next((each.cores for each in config.cameras if each.name == row.camera), None)
    options: dict[str, Any] = {"point": row.point or None, "threads": row.threads or None, "cores": cores}
    runtime = Runtime(path, engine=row.engine or "auto", **options)
    frame = _frame(config.data / row.picture, runtime.manifest)
    verdict = runtime.inspect(in_declared_order(frame, runtime.manifest.frame), roi=kept_mask(config.data, row.roi))
    return Replayed(row, decide(verdict, runtime.threads, row.roi), row.score is not None)


def _frame(path: Path, manifest: Manifest) -> Any:
    frame = read_frame(path)
    stack = manifest.frame.stack
    if stack is None:
        return frame
    shape: Sequence[int] = (stack.pictures, frame.shape[0] // stack.pictures, *frame.shape[1:])
    return frame.reshape(shape)
