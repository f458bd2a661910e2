"""The bundle of a camera, and its exchange while parts go by.

A file that changed is verified, copied, opened beside the one in use, proven by its golden probes and warmed. Then it
takes over between two triggers. One that fails any of this is refused, the journal says why, and the old one goes on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.errors import BundleError, SpecError
from edge_ad.frames.check import in_declared_order
from edge_ad.runtime import Runtime
from edge_ad.station.config import Camera
from edge_ad.station.events import EventKind, Tell
from edge_ad.station.journal import Journal
from edge_ad.station.kept import Mask, bundle_path, keep_bundle, keep_mask
from edge_ad.station.outcomes import Decision, decide
from edge_ad.system.files import write_output
from edge_ad.system.inputs import read_input
from edge_ad.verdict.verdict import Verdict

_log = logging.getLogger("edge_ad.station")
_POLL_S = 0.25
_STILL_S = 0.5  # that a changed file must rest

Stamp = tuple[int, int, int] | None  # of a file; None where there is none


@dataclass(frozen=True)
class Seen:
    """What was seen in a frame. Called, it draws the verdict.

    Attributes:
        frame: in the order of colours that the bundle declares.
    """

    verdict: Verdict
    frame: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.verdict.overlay(self.frame)


@dataclass(frozen=True)
class InUse:
    """A bundle that is open, with the camera's mask."""

    runtime: Runtime
    roi: str = ""
    mask: Mask | None = None

    def inspect(self, frame: np.ndarray) -> tuple[Decision, Seen]:
        """The decision on a BGR frame, and what draws it.

        Raises:
            EdgeADError: there is no verdict.
        """
        runtime = self.runtime
        given = in_declared_order(frame, runtime.manifest.frame)
        verdict = runtime.inspect(given, roi=self.mask)
        return decide(verdict, runtime.threads, self.roi), Seen(verdict, given)


def open_bundle(camera: Camera, path: Path, roi: tuple[str, Mask] | None) -> InUse:
    """Opens a kept bundle for a camera, proves it by its golden probes, and warms it.

    Raises:
        EdgeADError: it cannot be used.
    """
    runtime = Runtime(path, threads=camera.threads, cores=camera.cores, budget_ms=camera.budget_ms)
    if camera.align and runtime.manifest.align is None:
        raise SpecError(
            f"the bundle {runtime.bundle_id} does not look for the part, and camera {camera.name} has align = true",
            remedy="Export it with --align.",
        )
    runtime.check()
    with Bundle.open(path) as bundle:
        probes = load_probes(bundle)
    opened = InUse(runtime, *(roi or ("", None)))
    for probe in probes[:1]:  # through the very calls that parts will take
        runtime.inspect(in_declared_order(probe.frame, runtime.manifest.frame))
    return opened


class Slot:
    """The bundle of one camera. Any thread may use it and select a recipe; a thread of its own opens bundles.

    Recipe 0 is the camera's `bundle`, the others are its `recipes`. While the one that is selected is not in use (it is
    being opened, or cannot be opened) there is no bundle to inspect with: no part is judged by another recipe's.

    Args:
        tell: journals an event.
        adopted: journals that the camera inspects with a bundle of a recipe from now on.
        chosen: journals which recipe is selected.
        before: id of the bundle that a recipe was inspected with last; it goes on where the file cannot be used.
        number: of the recipe that was selected last.

    Attributes:
        current: what is open.
        number: of its recipe.
        refused: whether its file cannot be used, and what was opened goes on.

    Raises:
        EdgeADError: neither the file of recipe 0 nor the bundle before can be used.
    """

    def __init__(
        self,
        camera: Camera,
        data: Path,
        tell: Tell,
        adopted: Callable[[str, int, str], None],
        chosen: Callable[[str, int], None] = lambda camera, number: None,
        before: Callable[[int], str | None] = lambda number: None,
        number: int = 0,
    ) -> None:
        self.camera, self._data, self._tell = camera, data, tell
        self._adopted, self._chosen, self._before = adopted, chosen, before
        self._roi = None if camera.roi is None else keep_mask(data, camera.roi)
        self._paths = (camera.bundle, *camera.recipes)
        self._seen: dict[int, Stamp] = {}  # of each recipe's file when it was looked at last
        count = len(self._paths)
        self._bundles = {at: (before(at) or "") if count > 1 else "" for at in range(count)}  # in use last, by recipe
        self._lock = threading.Lock()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._wanted, self._why = number, ""  # why there is nothing to inspect with
        self.refused = False
        self.number = number if number < len(self._paths) else 0
        if number != self.number:
            self._missing(number)
        try:
            self.current, refusal = self._open(self.number)
        except Exception as error:  # an engine may raise anything
            if self.number == 0:
                raise
            self._failed(self.number, error)
            self.number = 0
            self.current, refusal = self._open(0)
        if refusal:
            self._refuse(refusal)
        self._bundles[self.number] = self.current.runtime.bundle_id
        self._thread = threading.Thread(target=self._watch, name=f"edge-ad-bundle-{camera.name}", daemon=True)

    def start(self) -> None:
        """From now on parts are inspected with the bundle, and the file is looked at."""
        self._adopted(self.camera.name, self.number, self.current.runtime.bundle_id)
        self._thread.start()

    def close(self) -> None:
        """Looks at the file no more. May be called twice."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def use(self, recipe: int | None = None) -> InUse | str:
        """What a part that comes now is inspected with, or why with nothing.

        Args:
            recipe: the only one that will do.
        """
        with self._lock:
            if self._why:
                return self._why
            if recipe is not None and recipe != self.number:
                return f"recipe {recipe} was asked for, and {self.number} is in use"
            return self.current

    def select(self, number: int) -> None:
        """From now on parts are to be inspected with this recipe; one that could not be opened is tried again.

        Raises:
            SpecError: there is none of that number.
        """
        most = len(self._paths) - 1
        if not 0 <= number <= most:
            expected = f"a recipe from 0 to {most}" if most else "0: the camera has no recipes"
            raise SpecError(f"camera {self.camera.name} has no recipe {number}", expected=expected, got=number)
        with self._lock:
            if number == self._wanted and (number == self.number or self._why == _opening(number)):
                return
            changed, self._wanted = number != self._wanted, number
            self._why = "" if number == self.number else _opening(number)
        if changed:
            self._chosen(self.camera.name, number)
        self._wake.set()

    def known(self) -> list[tuple[Path, str]]:
        """Of each recipe its file, and the id of the bundle that was in use with it last; "" where none was."""
        with self._lock:
            return [(path, self._bundles[at]) for at, path in enumerate(self._paths)]

    @property
    def opens(self) -> bool:
        """Whether the recipe that is selected is being opened, and there is no bundle to inspect with meanwhile."""
        with self._lock:
            return self._why == _opening(self._wanted)

    # ------------------------------------------------------------------------------------------------ opening

    def _open(self, number: int) -> tuple[InUse, str]:
        """From the file, or where that cannot be used, from the copy of what the recipe was inspected with before; and
        then why, else ""."""
        path = self._paths[number]
        self._seen[number] = _stamp(path)
        try:
            return self._opened(keep_bundle(self._data, path)[1]), ""
        except Exception as error:  # an engine may raise anything
            before = self._before(number)
            kept = None if before is None else bundle_path(self._data, before)
            if kept is None or not kept.is_file():
                raise
            with contextlib.suppress(Exception):  # the error that people can mend is that of the file
                return self._opened(kept), _refusal(path, error, f"{before}, which is kept, goes on")
            raise

    def _opened(self, kept: Path) -> InUse:
        return open_bundle(self.camera, kept, self._roi)

    def _watch(self) -> None:
        watched, candidate, since = self._wanted, self._seen.get(self._wanted), 0.0
        while True:
            self._wake.wait(_POLL_S)
            self._wake.clear()
            if self._stop.is_set():
                return
            wanted = self._wanted
            if self._why == _opening(wanted):
                self._change(wanted)
            if not wanted < len(self._paths):
                continue
            if wanted != watched:
                watched, candidate = wanted, self._seen.get(wanted)
            found, now = _stamp(self._paths[wanted]), time.monotonic()
            if found != candidate:
                candidate, since = found, now
            elif found != self._seen.get(wanted) and found is not None and now - since >= _STILL_S:
                self._seen[wanted] = found
                if wanted == self.number:
                    self._swap()
                else:
                    self._change(wanted)

    def _change(self, number: int) -> None:
        """Opens another recipe beside the one in use, which parts that were accepted before are finished with."""
        name, began = self.camera.name, time.monotonic()
        try:
            opened, refusal = self._open(number)
        except Exception as error:  # an engine may raise anything
            self._failed(number, error)
            return
        with self._lock:
            if number != self._wanted:  # another one was selected meanwhile
                return
            old, self.number, self.current, self._why = self.number, number, opened, ""
            self._bundles[number] = opened.runtime.bundle_id
        self._adopted(name, number, opened.runtime.bundle_id)
        took = f"bundle {opened.runtime.bundle_id}, proven and opened in {time.monotonic() - began:.1f} s"
        _log.info("camera %s: recipe %d -> %d, %s", name, old, number, took)
        self._tell(name, EventKind.RECIPE, f"{old} -> {number}: {took}")
        if refusal:
            self._refuse(refusal)
        elif self.refused:  # of the recipe before
            self._took(f"{self._paths[number]} is sound, and the file of recipe {old} is not asked for any more")

    def _failed(self, number: int, error: Exception) -> None:
        text = f"recipe {number} cannot be opened: {' '.join(str(error).split())}"
        with self._lock:
            if number == self._wanted:
                self._why = text
        told = f"{text}. No part is inspected until it can, or another one is selected"
        _log.error("camera %s: %s", self.camera.name, told)
        self._tell(self.camera.name, EventKind.RECIPE, told)

    def _missing(self, number: int) -> None:
        """The recipe that was selected is in the configuration no more."""
        text = f"recipe {number} was selected, and the camera has none of that number now"
        if self.camera.recipes:
            self._why = text
            text += ". No part is inspected until another one is selected"
        else:
            self._wanted = 0
        _log.warning("camera %s: %s", self.camera.name, text)
        self._tell(self.camera.name, EventKind.RECIPE, text)

    def _swap(self) -> None:
        name, path, old = self.camera.name, self._paths[self.number], self.current.runtime.bundle_id
        began = time.monotonic()
        try:
            identity, kept = keep_bundle(self._data, path)
            if identity == old:
                if self.refused:
                    self._took(f"{path} holds {old} again, which is in use")
                return
            opened = self._opened(kept)
        except Exception as error:  # an engine may raise anything; the bundle after this one must still be seen
            self._refuse(_refusal(path, error, f"{old} goes on"))
            return
        with self._lock:
            self.current = opened  # the next trigger is inspected with it
            self._bundles[self.number] = identity
        self._adopted(name, self.number, identity)
        self._took(f"{old} -> {identity}, proven and opened in {time.monotonic() - began:.1f} s")

    def _took(self, text: str) -> None:
        """The file is in use."""
        self.refused = False
        _log.info("camera %s: bundle %s", self.camera.name, text)
        self._tell(self.camera.name, EventKind.BUNDLE, text)

    def _refuse(self, text: str) -> None:
        self.refused = True
        _log.error("camera %s: %s", self.camera.name, text)
        self._tell(self.camera.name, EventKind.REFUSED, text)


def _refusal(path: Path, error: Exception, then: str) -> str:
    return f"{path} is refused, and {then}: {' '.join(str(error).split())}"


def _opening(number: int) -> str:
    return f"recipe {number} is being opened"


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def roll_back(
    camera: Camera, journal: Journal, data: Path, tell: Tell, who: str, number: int | None = None
) -> tuple[str, Path]:
    """Puts the bundle before into the place of a recipe's; returns its id and the file. A station that runs takes it
    over.

    Args:
        tell: journals an event of it, once it is done.
        who: does it.
        number: of the recipe; None takes the one in use.

    Raises:
        EdgeADError: there is none, or it cannot be written.
    """
    number = journal.recipe_of(camera.name) if number is None else number
    target = bundle_file(camera, number)
    kept = bundle_before(camera, journal, data, number)
    write_output(target, [read_input(kept, most=2**32)])
    tell(camera.name, EventKind.ROLLBACK, f"{kept.stem} by {who}")
    return kept.stem, target


def bundle_file(camera: Camera, number: int) -> Path:
    """The bundle file of a recipe.

    Raises:
        SpecError: the camera has none of that number.
    """
    files = (camera.bundle, *camera.recipes)
    if not 0 <= number < len(files):
        raise SpecError(f"camera {camera.name} has no recipe {number}", expected=f"0 to {len(files) - 1}", got=number)
    return files[number]


def bundle_before(camera: Camera, journal: Journal, data: Path, number: int = 0) -> Path:
    """The kept bundle of a recipe that `edge-ad rollback` puts back: the one in use where the file holds another (one
    that was refused, or not yet adopted), else the one that was in use before.

    Raises:
        SpecError: there is none.
    """
    used = journal.bundles_of(camera.name, number)
    try:
        with Bundle.open(bundle_file(camera, number), points=()) as bundle:
            there: str | None = bundle.id
    except BundleError:
        there = None
    for identity in used:
        if identity != there and bundle_path(data, identity).is_file():
            return bundle_path(data, identity)
    raise SpecError(
        f"camera {camera.name} has no bundle to go back to",
        expected="one that it inspected with before",
        got=", ".join(used) or "none",
    )
