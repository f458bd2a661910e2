"""The kinds of sinks. A new one is a file beside this one, with `KEYS` and `open_sink(opening)`, and a line here.

It may also have `PLACE`, the keys that say where it leads (all without it), `FILES`, the keys that name files which it
reads, and `problems(values)`, which says what does not go together.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_ad.station.outcomes import OUTCOMES
from edge_ad.system.keys import Key, Problem, label, words

if TYPE_CHECKING:
    from edge_ad.station.sinks.base import Sink, SinkOpening

SINKS = {
    "jsonl": "edge_ad.station.sinks.jsonl",
    "csv": "edge_ad.station.sinks.csv",
    "pictures": "edge_ad.station.sinks.pictures",
    "webhook": "edge_ad.station.sinks.webhook",
    "mqtt": "edge_ad.station.sinks.mqtt",
}


def sink_keys(kind: str) -> dict[str, Key]:
    """The keys of a kind, `what` and `name` among them."""
    what = Key(words(*OUTCOMES), "the outcomes that it is given; all without the key")
    name = Key(label, "a name by which it keeps its place in the journal when where it leads is changed")
    return {"what": what, "name": name, **importlib.import_module(SINKS[kind]).KEYS}


def sink_place(kind: str) -> tuple[str, ...]:
    """The keys that say where a sink leads."""
    module = importlib.import_module(SINKS[kind])
    return tuple(getattr(module, "PLACE", module.KEYS))


def sink_files(kind: str) -> tuple[str, ...]:
    """The keys that name files which it reads."""
    return getattr(importlib.import_module(SINKS[kind]), "FILES", ())


def sink_problems(kind: str, values: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with keys beside one another."""
    check = getattr(importlib.import_module(SINKS[kind]), "problems", None)
    return [] if check is None else check(values)


def open_sink(kind: str, opening: SinkOpening) -> Sink:
    """Opens a sink.

    Raises:
        EdgeADError: it cannot be opened.
    """
    sink: Sink = importlib.import_module(SINKS[kind]).open_sink(opening)
    return sink
