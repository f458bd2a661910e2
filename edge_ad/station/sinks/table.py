"""The kinds of sinks. A new one is a file beside this one, with `KEYS` and `open_sink(opening)`, and a line here.

It may also have what `edge_ad/station/kinds.py` names, and `PLACE`, the keys that say where it leads (all without it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_ad.station.kinds import Kinds
from edge_ad.station.outcomes import OUTCOMES
from edge_ad.system.keys import Key, label, words

if TYPE_CHECKING:
    from edge_ad.station.sinks.base import Sink, SinkOpening

SINKS: Kinds[SinkOpening, Sink] = Kinds(
    "open_sink",
    {
        "what": Key(words(*OUTCOMES), "the outcomes that it is given; all without the key"),
        "name": Key(label, "a name by which it keeps its place in the journal when where it leads is changed"),
    },
    {
        "jsonl": "edge_ad.station.sinks.jsonl",
        "csv": "edge_ad.station.sinks.csv",
        "pictures": "edge_ad.station.sinks.pictures",
        "webhook": "edge_ad.station.sinks.webhook",
        "mqtt": "edge_ad.station.sinks.mqtt",
    },
)


def sink_place(kind: str) -> tuple[str, ...]:
    """The keys that say where a sink leads."""
    return tuple(SINKS.own(kind, "PLACE", SINKS.own(kind, "KEYS")))
