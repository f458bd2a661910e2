"""The bundle before comes back; again and again, down to the first."""

from __future__ import annotations

import time
from pathlib import Path

from edge_ad.errors import LearningError
from edge_ad.learning import entries as kinds
from edge_ad.learning.entries import chain_of, is_known
from edge_ad.learning.report import Report
from edge_ad.learning.store import Store, refuse_store
from edge_ad.system.names import storable, who_of
from edge_ad.system.versions import timestamp


def undo(bundle: Path, folder: Path, who: str = "") -> Report:
    """Puts back the bundle that the latest lesson of the one in place has learned from.

    Raises:
        LearningError: it is the first, or one that the store does not know, or the audit was changed.
        EdgeADError: it cannot be written. Then nothing has changed.
    """
    began, name = time.monotonic(), who_of(who)
    refuse_store("BUNDLE", bundle)
    store = Store(folder)
    if not store.audit.path.exists():
        raise LearningError(
            f"{bundle} has learned nothing that could be undone",
            expected=f"an audit of its lessons, {store.audit.path}",
            got="nothing there",
        )
    with store.held():
        notes = store.settle(bundle)
        there = store.id_or_error(bundle)
        chain = chain_of(store.entries, there)
        if not chain:
            known = is_known(store.entries, there)
            raise LearningError(
                f"there is no lesson to undo: {bundle} is the first bundle"
                if known
                else f"{bundle} holds a bundle that the store {folder} does not know",
                expected="a bundle that a lesson of this store has made",
                got=there,
                remedy=None if known else "It was copied there by hand. Nothing was changed.",
            )
        lesson = chain[-1]
        record = {"kind": kinds.UNDO, "state": kinds.BEGUN, "time": timestamp(), "who": storable(name)}
        more = {"before": there, "after": lesson.before, "bundle": storable(bundle.name), "undoes": lesson.number}
        entry = store.audit.append({**record, **more})
        store.put(lesson.before, bundle)
        store.audit.append({"of": entry["number"], "state": kinds.COMPLETED})
    return Report(
        state="undone",
        bundle=str(bundle),
        store=str(folder),
        before=there,
        after=lesson.before,
        who=name,
        time=str(entry["time"]),
        number=int(entry["number"]),
        notes=tuple(notes),
        seconds=round(time.monotonic() - began, 3),
    )
