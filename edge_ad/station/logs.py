"""Log lines of the station on stderr: a level, and text or JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from edge_ad.system.names import printable, printable_lines, storable

LEVELS = ("debug", "info", "warning", "error")
FORMS = ("text", "json")


def start_logs(level: str, form: str, name: str = "edge_ad.station") -> None:
    """Sends the station's lines (or those of another logger) to stderr, from this level on. May be called again."""
    log = logging.getLogger(name)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(level.upper())


def form_in_use() -> str:
    """The form that `start_logs` was told."""
    handlers = logging.getLogger("edge_ad.station").handlers
    return "json" if any(isinstance(handler.formatter, _Json) for handler in handlers) else "text"


class _Text(logging.Formatter):
    """2026-11-29T16:30:05.123Z warning text"""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname.lower()} {printable(record.getMessage())}"
        return line if record.exc_info is None else f"{line}\n{printable_lines(self.formatException(record.exc_info))}"


class _Json(logging.Formatter):
    """{"time": ..., "level": ..., "text": ...}"""

    def format(self, record: logging.LogRecord) -> str:
        told = {"time": _time(record), "level": record.levelname.lower(), "text": record.getMessage()}
        if record.exc_info is not None:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps({name: storable(value) for name, value in told.items()}, ensure_ascii=False)


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, timezone.utc):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z"
