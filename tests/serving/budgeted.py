"""Frames served by a runtime."""

from __future__ import annotations

from edge_ad import Runtime
from tests.tiny import good_frame

FRAME = good_frame(1001)


def serve(runtime: Runtime, count: int) -> list[str]:
    """Points of the verdicts on so many frames."""
    return [runtime.inspect(FRAME).point for _ in range(count)]
