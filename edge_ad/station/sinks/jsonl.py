"""`kind = "jsonl"`: a file with a JSON object a line, for each outcome."""

from __future__ import annotations

import json
from pathlib import Path

from edge_ad.station.sinks.base import Message, Sink, SinkOpening
from edge_ad.station.sinks.lines import LineFile, is_key
from edge_ad.system.keys import Key, text
from edge_ad.system.names import storable

KEYS = {"path": Key(text, "the file that lines are added to", required=True)}


def open_sink(opening: SinkOpening) -> Sink:
    """Opens the file.

    Raises:
        EdgeADError: it cannot be opened.
    """
    return LineFile(Path(opening.options["path"]), b"", _line, _key)


def _line(message: Message) -> bytes:
    told = {**message.row.to_dict(), "key": message.key}
    clean = {name: storable(value) if isinstance(value, str) else value for name, value in told.items()}
    return (json.dumps(clean, ensure_ascii=False) + "\n").encode()


def _key(line: bytes) -> str:
    try:
        found = str(json.loads(line).get("key"))
    except (ValueError, AttributeError):
        return ""
    return found if is_key(found) else ""
