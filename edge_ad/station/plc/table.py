"""The kinds of links. A new one is a file beside this one, with `KEYS` and `open_link(opening)`, and a line here.

It may also have `FILES`, the keys that name files which it reads, and `problems(values)`, which says what does not go
together, and `ALONE`: whether it asks for the parts of a camera, so that no other such link may be of that camera. With
`SERVES_ALL` it also serves cameras that take no triggers, and every camera where `camera` names none.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_ad.system.keys import Key, Problem, label

if TYPE_CHECKING:
    from edge_ad.station.plc.base import Link, LinkOpening

LINKS: dict[str, str] = {
    "modbus-server": "edge_ad.station.plc.modbus_server",
    "modbus-client": "edge_ad.station.plc.modbus_client",
    "mqtt": "edge_ad.station.plc.mqtt_commands",
    "opcua": "edge_ad.station.plc.opcua",
}


def link_keys(kind: str) -> dict[str, Key]:
    """The keys of a kind, `name` among them."""
    name = Key(label, "name of the link, for logs and events")
    return {"name": name, **importlib.import_module(LINKS[kind]).KEYS}


def link_files(kind: str) -> tuple[str, ...]:
    """The keys that name files which it reads."""
    return getattr(importlib.import_module(LINKS[kind]), "FILES", ())


def link_problems(kind: str, values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with keys beside one another."""
    check = getattr(importlib.import_module(LINKS[kind]), "problems", None)
    return [] if check is None else check(values)


def is_alone(kind: str) -> bool:
    """Whether no other such link may ask for the parts of the same camera."""
    return bool(getattr(importlib.import_module(LINKS[kind]), "ALONE", False))


def serves_all(kind: str) -> bool:
    """Whether it also serves cameras that take no triggers, and every camera where it names none."""
    return bool(getattr(importlib.import_module(LINKS[kind]), "SERVES_ALL", False))


def open_link(kind: str, opening: LinkOpening) -> Link:
    """Opens a link.

    Raises:
        EdgeADError: it cannot be opened, such as a port that is in use.
    """
    link: Link = importlib.import_module(LINKS[kind]).open_link(opening)
    return link
