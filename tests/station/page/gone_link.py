"""A kind of link whose controller is not there."""

from __future__ import annotations

from typing import Any

from edge_ad.station.plc.base import LinkState

KEYS: dict[str, Any] = {}


class Gone:
    def state(self) -> LinkState:
        return LinkState(False, "no answer from 10.0.0.7")

    def close(self) -> None:
        pass


def open_link(opening: Any) -> Gone:
    return Gone()
