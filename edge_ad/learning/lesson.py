"""A lesson: good images that were rejected -> a new bundle in place of the old one, and a record of it.

    images -> what is new, what is locked -> lock -> audit: begun -> new bundle, figures before and after -> limits
           -> new bundle kept, audit: ready -> it takes the place of the old one -> audit: completed

Killed at any moment, there is the old bundle or the new one, and the next command ends what the audit has begun.
What makes the new bundle is given: edge_ad has no code that fits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.errors import DatasetError, LearningError
from edge_ad.learning import entries as kinds
from edge_ad.learning.entries import Entry, chain_of, is_known, locked_in
from edge_ad.learning.policy import check_power
from edge_ad.learning.report import (
    ACCEPTED,
    DEFECT,
    HELD_BACK,
    OFFERED,
    TAUGHT,
    Figures,
    Picture,
    Report,
)
from edge_ad.learning.sorting import Sorted, look_at, sort_images
from edge_ad.learning.store import Store, refuse_store
from edge_ad.learning.task import Asked, Made, Maker, Task
from edge_ad.system.files import folder_beside, replace_file
from edge_ad.system.names import storable, who_of
from edge_ad.system.versions import timestamp


def learn(asked: Asked, maker: Maker) -> Report:
    """A lesson.

    Raises:
        LearningError: it is refused; nothing has changed but the lock and the audit.
        EdgeADError: an image or the bundle cannot be used, or something cannot be written.
    """
    began = time.monotonic()
    who = who_of(asked.who)
    timestamp()  # refuses a bad SOURCE_DATE_EPOCH
    if not asked.good and not asked.defects:
        raise DatasetError(
            "there is nothing to learn", expected="good images by --good, or defects by --defects", got="none"
        )
    for option, path in (("BUNDLE", asked.bundle), ("--out", asked.out)):
        if path is not None:
            refuse_store(option, path)
    store = Store(asked.store)
    with Bundle.open(asked.bundle, points=()) as bundle:
        before, frame, taught = bundle.id, bundle.manifest.frame, bundle.manifest.taught
    maker.check(asked.bundle)
    digests = look_at(asked, frame)
    with store.held():
        notes = store.settle(asked.bundle)
        if taught and not is_known(store.entries, before):
            notes.append(
                f"{asked.bundle.name} was taught before, of which {store.folder} knows nothing: what it locked then is "
                "not tested by, and how much it may learn counts from here. Is its store elsewhere (--store)?"
            )
        kept = store.keep(asked.bundle, before)
        found = sort_images(asked, store, before, digests, maker)
        names = {path: path.name for path in (*asked.good, *asked.defects)}
        for role, own in ((HELD_BACK, found.goods), (DEFECT, found.defects)):
            for digest, path in own.items():
                store.lock(role, path, digest)
        goods, defects = store.locked(HELD_BACK), store.locked(DEFECT)
        told = {digest: each.name for digest, each in locked_in(store.entries).items()}
        for digest, path in (*found.goods.items(), *found.defects.items()):
            # a locked good image that proved to be a defect keeps its name
            told[digest] = names.setdefault(path, told.get(digest, path.name))
        names |= {path: told.get(digest, path.name) for own in (goods, defects) for digest, path in own.items()}
        entry = _begin(store, asked, who, before, found, (goods, defects), names)
        task = Task(
            kept,
            store.bundle(_first(store.entries, before)),
            tuple(found.offered.values()),
            tuple(goods.values()),
            tuple(defects.values()),
            names,
            asked.limits,
            asked.threads,
            store.folder / "refused",
        )
        return _carry_out(store, asked, entry, task, maker, found, (began, notes))


def _first(entries: Sequence[Entry], bundle: str) -> str:
    """The id of the first bundle of the chain."""
    chain = chain_of(entries, bundle)
    return chain[0].before if chain else bundle


def _begin(
    store: Store,
    asked: Asked,
    who: str,
    before: str,
    found: Sorted,
    locked: tuple[Mapping[str, Path], Mapping[str, Path]],
    names: Mapping[Path, str],
) -> int:
    """The first record; its number. Locked pictures that no record names are named here: the lesson that locked them
    was killed."""
    known = locked_in(store.entries)
    pictures = [*_pictures(found, None, names)]
    named = {each.sha256 for each in pictures} | known.keys()
    for role, own in zip((HELD_BACK, DEFECT), locked, strict=True):
        pictures += [Picture(d, storable(names[path]), role) for d, path in own.items() if d not in named]
    target = "" if asked.out is None else os.path.abspath(asked.out)
    record = {"kind": kinds.LESSON, "state": kinds.BEGUN, "time": timestamp(), "who": storable(who), "before": before}
    more = {"bundle": storable(asked.bundle.name), "target": storable(target), "pictures": [*map(asdict, pictures)]}
    return int(store.audit.append({**record, **more})["number"])


def _pictures(found: Sorted, taught: frozenset[Path] | None, names: Mapping[Path, str]) -> list[Picture]:
    """All of them; `taught` is None while nobody knows which are."""
    pictures = [
        Picture(digest, storable(path.name), OFFERED if taught is None else TAUGHT if path in taught else ACCEPTED)
        for digest, path in found.offered.items()
    ]
    for role, own in ((HELD_BACK, found.goods), (DEFECT, found.defects)):
        pictures += [Picture(digest, storable(names[path]), role) for digest, path in own.items()]
    return [*pictures, *found.left_out]


def _carry_out(
    store: Store,
    asked: Asked,
    entry: int,
    task: Task,
    maker: Maker,
    found: Sorted,
    told: tuple[float, list[str]],
) -> Report:
    """Makes, judges, and puts in place; whatever happens is recorded."""
    began, notes = told
    figures: tuple[Figures, ...] = ()
    try:
        with folder_beside(store.folder / "bundles" / "new") as folder:
            made = maker.make(task, folder)
            figures = made.figures
            _judge(made, task)
            after = "" if made.path is None else store.id_or_error(made.path)
            pictures = _pictures(found, made.taught, task.names)
            state = kinds.NOTHING if made.path is None else kinds.READY
            record = {"of": entry, "state": state, "after": after, "pictures": [*map(asdict, pictures)]}
            result = {"figures": [*map(asdict, figures)], "notes": [*made.notes]}
            store.audit.append({**record, **result})
            if made.path is not None:  # named by the audit before it is kept: so it can be removed if this is killed
                _keep_new(store, made.path, after)
        if after:
            store.put(after, asked.out or asked.bundle)
            store.audit.append({"of": entry, "state": kinds.COMPLETED})
    except LearningError as error:
        record = {"of": entry, "state": kinds.REFUSED, "why": storable(str(error))}
        store.audit.append({**record, "figures": [*map(asdict, figures)]})
        raise
    except Exception as error:
        _record_failure(store, entry, error)
        raise
    own = store.entries[-1]
    return Report(
        state="learned" if after else "nothing",
        bundle=str(asked.out or asked.bundle),
        store=str(store.folder),
        before=own.before,
        after=after or own.before,
        who=own.who,
        time=own.time,
        number=entry,
        pictures=own.pictures,
        figures=figures,
        notes=(*notes, *made.notes),
        seconds=round(time.monotonic() - began, 3),
    )


def _judge(made: Made, task: Task) -> None:
    """Refuses what would cost too much.

    Raises:
        LearningError: a known defect would pass, or power is lost.
    """
    if made.lost:
        names = [task.names[path] for path in made.lost]
        first, drawn = next(iter(made.lost.items()))
        more = "" if len(names) == 1 else f", and {len(names) - 1} more: {', '.join(names[1:6])}"
        raise LearningError(
            f"a known defect would pass: {task.names[first]}{more}",
            expected="every locked defect that is found today to be found afterwards",
            got=f"it is drawn, before and after, in {drawn}",
            remedy="Is one of the good images a defect, or does one look like it? Leave it out. One that is locked as "
            "good: give it by --defects.",
            pictures=tuple(map(str, made.lost.values())),
        )
    check_power(made.figures, task.limits)


def _keep_new(store: Store, path: Path, identity: str) -> None:
    """The new bundle among those that are kept."""
    replace_file(path, store.bundle(identity))


def _record_failure(store: Store, entry: int, error: Exception) -> None:
    """That it failed; where not even that can be written, the next command sees that it was interrupted."""
    try:
        if not store.entries[-1].open:
            return
        # a bundle that is in place already is told of by the next command, which looks
        if store.entries[-1].state == kinds.READY:
            return
        store.audit.append({"of": entry, "state": kinds.FAILED, "why": storable(" ".join(str(error).split()))})
    except Exception as second:  # such as a full disk; the first error is the one to tell
        error.__context__ = second
