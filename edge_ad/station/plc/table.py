"""The kinds of links. A new one is a file beside this one, with `KEYS` and `open_link(opening)`, and a line here.

It may also have what `edge_ad/station/kinds.py` names, and `ALONE`: whether it asks for the parts of a camera, so that
no other such link may be of that camera. With `SERVES_ALL` it also serves cameras that take no triggers, and every
camera where `camera` names none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_ad.station.kinds import Kinds
from edge_ad.system.keys import Key, label

if TYPE_CHECKING:
    from edge_ad.station.plc.base import Link, LinkOpening

LINKS: Kinds[LinkOpening, Link] = Kinds(
    "open_link",
    {"name": Key(label, "name of the link, for logs and events")},
    {
        "modbus-server": "edge_ad.station.plc.modbus_server",
        "modbus-client": "edge_ad.station.plc.modbus_client",
        "mqtt": "edge_ad.station.plc.mqtt_commands",
        "opcua": "edge_ad.station.plc.opcua",
    },
)


def is_alone(kind: str) -> bool:
    """Whether no other such link may ask for the parts of the same camera."""
    return bool(LINKS.own(kind, "ALONE", False))


def serves_all(kind: str) -> bool:
    """Whether it also serves cameras that take no triggers, and every camera where it names none."""
    return bool(LINKS.own(kind, "SERVES_ALL", False))
