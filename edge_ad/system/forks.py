"""Forked children must not use what the parent opened. They get an error, and they can exit.

A fork copies memory, but of the threads only the calling one. In the child, locks of other threads stay locked for
ever, and engines wait for threads that do not exist, above all when they are destroyed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import weakref

from edge_ad.errors import ForkError


class Home:
    """The process that something was made in.

    Args:
        what: was made, for the message.
    """

    def __init__(self, what: str) -> None:
        self._what, self._pid = what, os.getpid()

    def is_here(self) -> bool:
        """Whether this is that process."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Refuses any other process.

        Raises:
            ForkError: this is one.
        """
        if not self.is_here():
            raise ForkError(
                f"{self._what} cannot be used after a fork",
                expected=f"the process that made it, {self._pid}",
                got=f"process {os.getpid()}",
                remedy="Open another Runtime in the child, or start processes by multiprocessing's 'spawn' and pass "
                "them the Runtime: it opens itself there.",
            )


_left: weakref.WeakSet[object] = weakref.WeakSet()


def leave_in_children(owner: object) -> None:
    """Sees to it that no forked child ever destroys `owner`, whose destructor would wait for threads of the parent.

    Its memory stays as long as the child does; pages that nobody writes to are the parent's.
    """
    _left.add(owner)
    _watch_forks()


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_hold)


def _hold() -> None:
    for owner in list(_left):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))  # a reference that nothing gives back
