"""`folder:PATH`: a hot folder. Each image that comes into it is a trigger.

A file is moved to the folder `done` inside once its outcome is durable; with `after = "keep"` it stays where it is, and
the journal knows what has been inspected.

The folder is listed again and again: notices of the system (inotify) tell nothing of what another PC writes to a share.
A file is read when its size and its time have not changed for `still_ms`. Where the writer renames complete files into
the folder, `still_ms = 0` reads them at once. Names that begin with a dot or end with .tmp, .part or .partial are left
alone: a writer may use them.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from base64 import b32encode
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_ad.errors import FrameError, ImageWarning, SourceError, SpecError
from edge_ad.frames.check import read_frame
from edge_ad.frames.listing import natural_key
from edge_ad.sources.base import Capture
from edge_ad.sources.resume import Resume
from edge_ad.spec import Pixels
from edge_ad.system.files import move_file
from edge_ad.system.keys import Key, options_of, whole, word
from edge_ad.system.names import printable

OPTIONS = {
    "after": Key(word("move", "keep"), "what becomes of a file whose outcome is durable", "move"),
    "still_ms": Key(whole(0, 60_000), "for so long a file must not have changed before it is read", 200),
    "poll_ms": Key(whole(1, 60_000), "between two looks at the folder", 50),
}
_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
_WRITING = (".tmp", ".part", ".partial")
_PATIENCE_S = 2.0  # for a file that cannot be read yet: a slow copy may rest for longer than `still_ms`


class _State(NamedTuple):
    size: int
    mtime_ns: int


class _Waiting(NamedTuple):
    state: _State
    since: float


class Folder:
    """A hot folder, see the module.

    Args:
        folder: what is watched; it must be there.
        moves: whether a settled file goes to the folder `done` inside.
        still_s, poll_s: seconds that a file must rest, and between two looks.
    """

    ended = False

    def __init__(
        self, camera: str, resume: Resume, folder: Path, *, moves: bool, still_s: float, poll_s: float
    ) -> None:
        self._camera, self._known, self._next = camera, resume.known, resume.first
        self._folder, self._moves = folder, moves
        self._still_s, self._poll_s = still_s, poll_s
        self._waiting: dict[str, _Waiting] = {}
        self._taken: dict[str, _State] = {}  # read, and still in the folder
        self._broken: dict[str, _Waiting] = {}  # cannot be read, as they are, since then
        self._ready: deque[tuple[str, _State]] = deque()
        self._looked = -1e9
        self._scan()  # a folder that cannot be read is said now

    @property
    def waiting(self) -> bool:
        """Whether a file still rests, or is looked at again as it cannot be read yet."""
        return bool(self._waiting or self._ready or self._broken)

    def read(self, timeout_s: float) -> Capture | None:
        """See `Source.read`."""
        until = time.monotonic() + timeout_s
        while True:
            while self._ready:
                try:
                    capture = self._take(*self._ready[0])
                finally:
                    self._ready.popleft()  # not before: `waiting` is asked meanwhile
                if capture is not None:
                    return capture
            now = time.monotonic()
            due = self._looked + self._poll_s
            if now < due:
                if due > until:
                    time.sleep(max(0.0, until - now))
                    return None
                time.sleep(due - now)
            self._scan()
            if not self._ready and time.monotonic() >= until:
                return None

    def settle(self, capture: Capture) -> None:
        """See `Source.settle`.

        Raises:
            SourceError: the file cannot be moved. It is not read again.
        """
        name = os.path.basename(capture.source)
        if not self._moves or name not in self._taken:
            return
        if _look(self._folder / name) == self._taken[name]:
            self._move(name)
        else:  # another file of the same name came meanwhile: it is the next part
            del self._taken[name]

    def close(self) -> None:
        """See `Source.close`."""
        self._ready.clear()

    def _move(self, name: str) -> None:
        try:
            move_file(self._folder / name, self._folder / "done" / name)
        except OSError as error:
            raise SourceError(
                f"{self._folder / name} cannot be moved to the folder done beside it",
                got=error.strerror or error,
                remedy='Check the permissions of the folder, or give the camera options = { after = "keep" }.',
            ) from error
        self._taken.pop(name, None)

    def _move_known(self, name: str) -> None:
        """What cannot be moved holds up no other file: it is known, and stays."""
        try:
            self._move(name)
        except SourceError as error:
            warnings.warn(ImageWarning(str(error)), stacklevel=2)

    def _is_whole(self, name: str, state: _State, fault: str) -> bool:
        """Whether what was read is the file that was listed, and not one that is still written. A clock that is wrong,
        here or where the file lies, changes nothing."""
        there, now = _look(self._folder / name), time.monotonic()
        if there is None and fault:  # it is gone, and nobody has seen it
            return False
        if there not in (None, state):
            self._waiting[name] = _Waiting(there, now)
            return False
        if fault and now - self._broken.setdefault(name, _Waiting(state, now)).since < _PATIENCE_S:
            self._waiting[name] = _Waiting(state, now)
            return False
        self._broken.pop(name, None)
        return True

    def _scan(self) -> None:
        self._looked = now = time.monotonic()
        found: dict[str, _State] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if _is_frame(entry.name) and (state := _state_of(entry)) is not None:
                        found[entry.name] = state
        except OSError as error:
            raise SourceError(
                f"the folder {self._folder} of camera {self._camera} cannot be read",
                expected="a folder of images",
                got=error.strerror or error,
                remedy="Make the folder, or check the share and its permissions.",
            ) from error
        self._taken = {name: state for name, state in self._taken.items() if found.get(name) == state}
        self._broken = {name: broken for name, broken in self._broken.items() if found.get(name) == broken.state}
        queued = {name for name, _ in self._ready}
        waiting, ready = {}, []
        for name, state in found.items():
            if name in self._taken or name in queued:
                continue
            before = self._waiting.get(name)
            since = now if before is None or before.state != state else before.since
            if now - since >= self._still_s:
                ready.append((state.mtime_ns, natural_key(Path(name)), name, state))
            else:
                waiting[name] = _Waiting(state, since)
        self._waiting = waiting
        self._ready += ((name, state) for _, _, name, state in sorted(ready))

    def _take(self, name: str, state: _State) -> Capture | None:
        """The capture of a file; None where it is not one for now: known already, gone, or not complete yet."""
        part_id = _part_id(name, state)
        path = self._folder / name
        if self._known(part_id):
            self._taken[name] = state
            if self._moves:  # a stop came between its outcome and the move
                self._move_known(name)
            return None
        time_ns, clock_ns = time.time_ns(), time.monotonic_ns()
        frame: Pixels | None = None
        fault = ""
        try:
            frame = read_frame(path)
        except FrameError as error:
            fault = str(error)
        if not self._is_whole(name, state, fault):
            return None
        self._taken[name] = state
        number, self._next = self._next, self._next + 1
        return Capture(self._camera, number, part_id, str(path), time_ns, clock_ns, frame, fault)


def check_source(address: str, camera: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options; see `edge_ad.sources.registry.check_source`."""
    if not address.partition(":")[2]:
        raise SpecError(f"the source of camera {camera} names no folder", expected="folder:PATH", got=repr(address))
    return options_of(options, OPTIONS, f"options of camera {camera}")


def open_source(address: str, camera: str, options: Mapping[str, Any] | None, resume: Resume) -> Folder:
    """Opens a hot folder.

    Raises:
        SpecError: an option is wrong.
        SourceError: the folder cannot be read.
    """
    values = check_source(address, camera, options)
    folder = resume.base / Path(address.partition(":")[2]).expanduser()
    _tell_left_out(folder)
    still_s, poll_s = values["still_ms"] / 1e3, values["poll_ms"] / 1e3
    return Folder(camera, resume, folder, moves=values["after"] == "move", still_s=still_s, poll_s=poll_s)


def _tell_left_out(folder: Path) -> None:
    """Warns of files that are no frames by their name."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file() and _is_other(path.name))
    except OSError:  # said when the folder is opened
        return
    if names:
        text = ", ".join(printable(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
        warnings.warn(
            ImageWarning(f"left alone in {folder}, as they are no images by their names: {text}"), stacklevel=3
        )


def _is_other(name: str) -> bool:
    return not (_is_frame(name) or name.startswith(".") or name.lower().endswith(_WRITING))


def _is_frame(name: str) -> bool:
    lower = name.lower()
    return not name.startswith(".") and not lower.endswith(_WRITING) and os.path.splitext(lower)[1] in _SUFFIXES


def _state_of(entry: os.DirEntry[str]) -> _State | None:
    try:
        return _State((found := entry.stat()).st_size, found.st_mtime_ns) if entry.is_file() else None
    except OSError:  # it went away
        return None


def _look(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(found.st_size, found.st_mtime_ns)


def _part_id(name: str, state: _State) -> str:
    """The name, and a mark of this very file: cameras use names again. The same after a restart."""
    stem = printable(os.path.splitext(name)[0])
    mark = hashlib.sha256(f"{printable(name)}|{state.size}|{state.mtime_ns}".encode()).digest()[:5]
    return f"{stem}-{b32encode(mark).decode().lower()}"
