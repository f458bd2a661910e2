"""The state machine of a vision system (OPC 40100-1, 8.2 and 8.3): which transition may follow, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_ad.station.plc.opcua_model import (
    ERROR,
    HALTED,
    INITIALIZED,
    OPERATIONAL,
    PREOPERATIONAL,
    READY,
    TRANSITIONS,
)

_TOP = (PREOPERATIONAL, HALTED, ERROR, OPERATIONAL)


class NotNow(Exception):  # noqa: N818 - it is an answer
    """The state does not allow it; the text says what is there and what must be."""


@dataclass(frozen=True)
class Step:
    """A transition that was made.

    Attributes:
        name: of the transition.
        before, after: states of the machine in which it was made.
        inner: whether that is the machine of the automatic mode.
    """

    name: str
    before: str
    after: str
    inner: bool


class States:
    """The states of both machines. Used by one thread.

    Args:
        told: called with each transition, after it.
    """

    def __init__(self, told: Callable[[Step], None]) -> None:
        self.top, self.inner = PREOPERATIONAL, ""
        self._told = told

    @property
    def now(self) -> str:
        """The state, of the inner machine where that runs."""
        return self.inner or self.top

    def need(self, *states: str) -> None:
        """Raises:
        NotNow: it is in none of these states.
        """
        if self.now not in states:
            raise NotNow(f"the vision system is in the state {self.now}; this needs {' or '.join(states)}")

    def go(self, state: str, way: str = "") -> None:
        """Makes a transition of the specification.

        Args:
            way: the end of its name, such as "Auto" or "Stop".

        Raises:
            NotNow: there is no such transition from here.
        """
        inner = state not in _TOP
        before = self.inner if inner else self.top
        name = f"{before}To{state}{way}"
        if name not in TRANSITIONS:
            raise NotNow(f"there is no way from the state {before or self.top} to {state}")
        if inner:
            self.inner = state
        else:
            self.top, self.inner = state, INITIALIZED if state == OPERATIONAL else ""
        self._told(Step(name, before, state, inner))

    @property
    def is_ready(self) -> bool:
        """Whether a job may start."""
        return self.inner == READY
