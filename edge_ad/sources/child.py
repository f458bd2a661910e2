"""The process that captures: one camera, and nothing else. `edge_ad.sources.process` starts it and reads from it.

It gets its settings and its orders line by line on its standard input, as JSON, and answers on its standard output.
Frames go through shared memory: the process that reads owns every slot that it was told of until it gives it back.
What is half written when this process is killed was never told of. When its input ends, its parent is dead, and it
gives the camera back and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from edge_ad.errors import EdgeADError, SourceError
from edge_ad.sources.grabber import Grabber, Picture
from edge_ad.sources.options import CameraOptions
from edge_ad.sources.watch import Eye
from edge_ad.system.shared import sized

BOOT = (
    "import json, sys; given = json.loads(sys.stdin.buffer.readline()); sys.path[:] = given['path']; "
    "from edge_ad.sources.child import main; main(given)"
)
TICK_S = 0.25  # between two signs of life
_END_S = 1.0  # for the camera to be given back at the end
_WORDS = 2000  # bytes of what libraries printed that go into a message
_PRINTED = 1 << 16  # bytes of it that are kept


def main(given: dict[str, Any]) -> None:
    """Serves until the input ends.

    Args:
        given: "module" and "name" of the grabber, its "address" and "options", the "memory" (a ticket of
            `edge_ad.system.shared`), and whether it waits for a "trigger" ("software", a name of a line, or "").
    """
    # libraries print on the standard output too: it is theirs from here on, and goes where errors go
    out = os.dup(1)
    os.dup2(2, 1)
    kind = getattr(importlib.import_module(given["module"]), given["name"])
    options = kind.Options(**given["options"])
    _Child(kind(given["address"], options), options, given, out).serve()
    os._exit(0)  # a thread may still wait for orders


class _Child:
    def __init__(self, grabber: Grabber, options: CameraOptions, given: dict[str, Any], out: int) -> None:
        self._grabber, self._options, self._given, self._out = grabber, options, given, out
        self._software = given["trigger"] == "software"
        self._free: set[int] = set()
        self._slot_bytes = self._mapped = 0
        self._memory = np.zeros(0, np.uint8)
        self._changed = threading.Condition()
        self._opens = self._ending = False
        self._triggers: deque[str] = deque()
        self._parent = os.getppid() if os.name != "nt" else 0
        self._heard = self._told = time.monotonic()
        self._eye = Eye(options)
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    # ------------------------------------------------------------------------------------------------ orders, answers

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            with self._changed:
                if "free" in order and order["of"] == self._slot_bytes:
                    self._free.add(order["free"])
                self._mapped = order.get("mapped", self._mapped)
                self._opens |= "open" in order
                if "trigger" in order:
                    self._triggers.append(order["trigger"])
                self._changed.notify_all()
        # the parent has ended, or wants this end: a camera that is not given back is refused to the next who asks
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        time.sleep(_END_S)
        os._exit(0)  # the grabber hangs in a driver

    def _say(self, **answer: Any) -> None:
        self._told = time.monotonic()
        if os.lseek(2, 0, os.SEEK_CUR) > _PRINTED:
            _forget_words()
        line = json.dumps(answer).encode() + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def _tick(self, **more: Any) -> None:
        """A sign of life, a few times a second."""
        if time.monotonic() - self._told >= TICK_S:
            self._notice_the_end()
            self._say(tick=1, **more)

    def _notice_the_end(self) -> None:
        """Of the parent: where a fork of it lives, the input does not end with it."""
        if self._parent and os.getppid() != self._parent:
            self._ending = True

    # ------------------------------------------------------------------------------------------------ the camera

    def serve(self) -> None:
        """Opens the camera whenever it is told to, and captures until it is lost."""
        self._say(ready=1)
        while not self._ending:
            with self._changed:
                if not self._changed.wait_for(lambda: self._opens or self._ending, 1.0):
                    self._notice_the_end()
                if not self._opens or self._ending:
                    continue
                self._opens = False
                self._triggers.clear()  # of before; the parent has told that they failed
            _forget_words()
            try:
                self._grabber.open()
                self._say(opened=1)
                self._heard = time.monotonic()
                while not self._ending:
                    self._step()
            except EOFError:
                self._say(ended=1)
            except Exception as error:  # whatever a driver raises: the camera is lost, and may be opened again
                self._say(lost=_reason(error))
            finally:
                self._grabber.close()

    def _step(self) -> None:
        if self._software:
            self._step_triggered()
            return
        picture = self._grabber.grab(TICK_S)
        if picture is not None:
            self._give(picture, None)
            self._heard = time.monotonic()
            return
        lost_s = max(self._options.silent_s, self._options.open_s)
        if self._options.silent_s and not self._given["trigger"] and time.monotonic() - self._heard > lost_s:
            raise SourceError(f"no frame for {lost_s:g} s")
        self._tick()

    def _step_triggered(self) -> None:
        """One trigger at a time: which frame belongs to which part is never a guess."""
        with self._changed:
            self._changed.wait_for(lambda: self._triggers or self._ending, TICK_S)
            part = self._triggers.popleft() if self._triggers else None
        while self._grabber.grab(0.0) is not None:  # nobody asked for it: a second answer to one trigger
            self._say(stray=1)
        if part is None:
            self._tick()
            return
        self._grabber.trigger()
        trigger_s = getattr(self._options, "trigger_s", 1.0)
        deadline = time.monotonic() + trigger_s
        while (left_s := deadline - time.monotonic()) > 0:
            picture = self._grabber.grab(min(left_s, TICK_S))
            if picture is not None:
                self._give(picture, part)
                return
            self._tick()
        # its frame may still come, and would be taken for that of the next part
        raise SourceError(f"no frame within {trigger_s:g} s of a trigger")

    # ------------------------------------------------------------------------------------------------ frames

    def _give(self, picture: Picture, part: str | None) -> None:
        frame = np.ascontiguousarray(picture.frame)
        if frame.nbytes > self._slot_bytes:
            self._make_room(frame.nbytes)
        slot = self._slot()
        if slot is None:
            self._say(drop=1, missed=picture.missed)
            return
        start = slot * self._slot_bytes
        self._memory[start : start + frame.nbytes] = frame.reshape(-1).view(np.uint8)
        marks = self._eye.look(frame, picture.full, picture.clock_ns / 1e9)
        self._say(
            frame=slot,
            shape=frame.shape,
            dtype=frame.dtype.str,
            missed=picture.missed,
            time_ns=picture.time_ns,
            clock_ns=picture.clock_ns,
            marks=[marks.same, marks.dark, marks.blinded],
            part=part,
        )

    def _slot(self) -> int | None:
        """A free slot; None where a frame is dropped instead of waiting for one."""
        waits = self._options.policy == "every"
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._free or self._ending, TICK_S if waits else 0.0)
                if self._free:
                    return self._free.pop()
            if not waits or self._ending:
                return None
            self._tick(full=1)

    def _make_room(self, slot_bytes: int) -> None:
        """More memory, for larger frames. The parent first saves what it has not read from the memory as it was."""
        memory = sized(self._given["memory"], slot_bytes * self._options.slots)
        self._say(memory=slot_bytes)
        with self._changed:
            while not self._changed.wait_for(lambda: self._mapped == slot_bytes or self._ending, TICK_S):
                self._tick(full=1)
            self._slot_bytes = slot_bytes
            self._free = set(range(self._options.slots))
        self._memory = np.frombuffer(memory, np.uint8)


def _reason(error: Exception) -> str:
    """What went wrong, with what the libraries printed since the camera was opened."""
    said = str(error) if isinstance(error, EdgeADError) else f"{type(error).__name__}: {error}"
    words = _words()
    return f"{said} ({words})" if words else said


def _words() -> str:
    end = os.lseek(2, 0, os.SEEK_CUR)
    start = max(0, end - _WORDS)
    os.lseek(2, start, os.SEEK_SET)
    text = os.read(2, end - start).decode(errors="replace")
    os.lseek(2, end, os.SEEK_SET)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-3:])


def _forget_words() -> None:
    os.lseek(2, 0, os.SEEK_SET)
    os.ftruncate(2, 0)
