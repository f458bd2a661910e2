"""The store: a folder beside a bundle, with what its lessons are tested by, and what they were.

locked/good/       good images that were held back; by the SHA-256 of the file, and never taught
locked/defect/     confirmed defects, likewise
bundles/           each bundle that was in use, by its id
refused/           pictures of known defects that would have passed
audit.jsonl        who did what when: `edge_ad.learning.audit`
learning.lock      held by the process that works on the folder
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleError, EdgeADError, LearningError, SpecError
from edge_ad.learning import entries as kinds
from edge_ad.learning.audit import Audit
from edge_ad.learning.entries import Entry, entries_of
from edge_ad.learning.report import DEFECT, HELD_BACK
from edge_ad.system.files import write_file, write_output
from edge_ad.system.inputs import read_input
from edge_ad.system.locks import locked
from edge_ad.system.names import listed

_SUFFIX = ".bundle"
_MOST = 2**32  # bytes of a bundle
_LOCK = "learning.lock"
_PARTS = ("locked", "bundles", "refused", "audit.jsonl", _LOCK)
_FOLDERS = {HELD_BACK: "good", DEFECT: "defect"}
_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?")
_LISTED = 5


def store_of(bundle: Path) -> Path:
    """The folder of a bundle's lessons, if no other is named: NAME.learning beside NAME.bundle."""
    return bundle.with_name(f"{bundle.name.removesuffix(_SUFFIX)}.learning")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        EdgeADError: it cannot be read.
    """
    try:
        return hashlib.sha256(read_input(path)).hexdigest()
    except (OSError, ValueError) as error:
        got = (error.strerror if isinstance(error, OSError) else None) or error
        raise EdgeADError(f"{path} cannot be read", got=got) from error


def refuse_store(option: str, path: Path) -> None:
    """Refuses a file that a lesson would write, where it is part of a store, of this or another bundle: the lock, the
    audit and the bundles that were in use have no other copy.

    Raises:
        SpecError: it is.
    """
    try:
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):  # whoever opens it says what it is
        return
    part = real.name
    for above in real.parents:
        if part in _PARTS and (above / _LOCK).is_file():
            raise SpecError(
                f"{option} lies in a store of lessons, which would lose what it keeps",
                expected="a file elsewhere",
                got=path,
                remedy="Copy a bundle out of the store to use it.",
            )
        part = above.name


class Store:
    """The folder; it need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.audit = Audit(folder / "audit.jsonl")

    @property
    def entries(self) -> list[Entry]:
        """What the audit says.

        Raises:
            LearningError: it was changed.
        """
        return entries_of(self.audit.sound().records)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, and keeps other processes from working on it.

        Raises:
            LearningError: one works on it.
            EdgeADError: it cannot be made.
        """
        try:
            for name in ("bundles", *(f"locked/{each}" for each in _FOLDERS.values())):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise EdgeADError(
                f"the folder {self.folder} cannot be made",
                got=(error.strerror if isinstance(error, OSError) else None) or error,
                remedy="Check its owner and its disk, or give another --store.",
            ) from error
        busy = LearningError(
            f"another lesson is at work in {self.folder}", expected="one at a time", remedy="Wait until it is done."
        )
        with locked(self.folder / _LOCK, busy):
            self._tidy()
            yield

    def _tidy(self) -> None:
        """Removes what a process that was killed had half written."""
        for folder in ("bundles", "locked/good", "locked/defect"):
            for half in (self.folder / folder).glob(".*.tmp"):
                if half.is_dir():
                    shutil.rmtree(half, ignore_errors=True)
                else:
                    with contextlib.suppress(OSError):
                        half.unlink()

    # ------------------------------------------------------------------------------------------------ locked pictures

    def locked(self, role: str) -> dict[str, Path]:
        """Digest -> file of the locked pictures of a role, each as it was locked. A good image that was found to be a
        defect later lies in both folders, and is a defect.

        Raises:
            LearningError: one is gone or was changed.
        """
        folder = self.folder / "locked" / _FOLDERS[role]
        found = self._files(role)
        changed = [path.name for digest, path in found.items() if sha256_of(path) != digest]
        named = (each for entry in self.entries for each in entry.pictures if each.role == role)
        gone = [each.name for each in {each.sha256: each for each in named}.values() if each.sha256 not in found]
        if changed or gone:
            raise LearningError(
                f"the lock {folder} does not hold what was locked",
                expected="each picture as it was",
                got=f"{'changed' if changed else 'gone'}: {listed(changed or gone, _LISTED)}",
                remedy="Put it back from a copy. To go on without, move the folder of the store away.",
            )
        defects = self._files(DEFECT) if role == HELD_BACK else {}
        return {digest: path for digest, path in found.items() if digest not in defects}

    def _files(self, role: str) -> dict[str, Path]:
        """Digest -> file in the folder of a role."""
        folder = self.folder / "locked" / _FOLDERS[role]
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return {path.name[:64]: path for path in files if _NAME.fullmatch(path.name)}

    def lock(self, role: str, path: Path, digest: str) -> Path:
        """Copies a picture into the lock.

        Raises:
            EdgeADError: it cannot be written, or it has changed meanwhile.
        """
        suffix = path.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,8}", path.suffix.lower()) else ""
        target = self.folder / "locked" / _FOLDERS[role] / f"{digest}{suffix}"
        if not target.is_file():
            try:
                data = read_input(path)
            except OSError as error:  # such as a picture of a station that retention has removed meanwhile
                raise EdgeADError(f"{path} cannot be read", got=error.strerror or error) from error
            if hashlib.sha256(data).hexdigest() != digest:
                raise EdgeADError(f"{path} has changed while it was read", remedy="Give it again.")
            _write(target, data)
        return target

    # ------------------------------------------------------------------------------------------------ bundles

    def bundle(self, identity: str) -> Path:
        """Where a bundle is kept."""
        return self.folder / "bundles" / f"{identity}{_SUFFIX}"

    def keep(self, path: Path, identity: str) -> Path:
        """Keeps a copy of a bundle that is in use.

        Raises:
            BundleError: it is another one now.
            EdgeADError: it cannot be copied.
        """
        kept = self.bundle(identity)
        if id_of(kept) != identity:
            try:
                data = read_input(path, most=_MOST)
            except OSError as error:
                raise BundleError(f"{path} cannot be read", got=error.strerror or error) from error
            _write(kept, data)
            if id_of(kept) != identity:
                kept.unlink()
                raise BundleError(
                    f"{path} was replaced while it was in use", expected=identity, remedy="Give the command again."
                )
        return kept

    def put(self, identity: str, target: Path) -> None:
        """A kept bundle takes the place of a file, whole or not at all.

        Raises:
            LearningError: it is not kept any more, or was changed.
            EdgeADError: it cannot be written.
        """
        kept = self.bundle(identity)
        if id_of(kept) != identity:
            raise LearningError(
                f"the bundle {identity} is not kept in {self.folder} any more",
                expected=kept,
                got="another file" if kept.exists() else "nothing there",
            )
        write_output(target, [read_input(kept, most=_MOST)])

    def id_or_error(self, path: Path) -> str:
        """The id of a bundle, verified.

        Raises:
            BundleError: it cannot be used.
        """
        with Bundle.open(path, points=()) as bundle:
            return bundle.id

    # ------------------------------------------------------------------------------------------------ interrupted work

    def settle(self, bundle: Path) -> list[str]:
        """Ends, in the audit, what was interrupted: it is completed if its bundle is in place, and else abandoned.

        Returns:
            A line for each, for a reader.
        """
        said = []
        for entry in self.entries:
            if not entry.open:
                continue
            target = Path(entry.target) if entry.target else bundle
            there = bool(entry.after) and id_of(target) == entry.after
            why = "interrupted; the bundle was in place" if there else "interrupted; the bundle stayed as it was"
            state = kinds.COMPLETED if there else kinds.ABANDONED
            self.audit.append({"of": entry.number, "state": state, "why": why})
            said.append(f"record {entry.number} was {why}: it is {state}")
            if not there and entry.kind == kinds.LESSON:
                self._forget(entry.after)
        return said

    def _forget(self, identity: str) -> None:
        """Removes the bundle of a lesson that was abandoned, where no other record needs it: none piles up."""
        needed = any(identity == each.before or (each.done and identity == each.after) for each in self.entries)
        if identity and not needed:
            with contextlib.suppress(OSError):  # the next lesson does without the space
                self.bundle(identity).unlink()


def id_of(path: Path) -> str | None:
    """The id of a bundle; None where there is no sound one."""
    try:
        with Bundle.open(path, points=()) as bundle:
            return bundle.id
    except (BundleError, OSError):
        return None


def _write(target: Path, data: bytes) -> None:
    try:
        write_file(target, [data])
    except OSError as error:
        got = error.strerror or error
        raise EdgeADError(f"cannot write {target}", got=got, remedy="Check the folder and its space.") from error
