"""What the page shows of the drift of a camera, and of the alarms of drift, in the language of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_ad.monitor.statistics import STATISTICS, Statistic
from edge_ad.station.alarms import DRIFT
from edge_ad.station.page.shown import BAD, OFF, OK, WARN, address, local
from edge_ad.station.page.texts import DASH, Words, known, shown
from edge_ad.system.inputs import read_input

WIDTH = 200.0  # of a band as it is drawn
_ROOM = 1.2  # how much is drawn beside the reference, in widths of it
_EDGE = 4.0  # of WIDTH, on either side
_LEAST = 2.0  # of WIDTH: a reference is seen, however far the latest value lies
_NEAR = 0.5  # evidence from which on a statistic is not as usual
_PLAIN = Statistic()  # of a name that is not known
_MOST_BYTES = 2**24  # of a picture


def panel_of(words: Words, camera: Mapping[str, Any]) -> dict[str, Any]:
    """The panel of a camera: a row a statistic, what the reference is, and whether there is anything to renew."""
    state = camera["drift"]
    name, source = str(camera["name"]), state.get("reference") or ""
    taken, of, notes = state.get("taken"), state.get("of"), []
    if source:
        notes.append(words(known(f"drift_from_{source}", "unknown")))
    if state.get("asked"):
        notes.append(words("drift_asked"))
    elif taken is not None and of:
        notes.append(words("drift_taking", taken=taken, all=of))
    rows = [_row(words, name, each, told) for each, told in (state.get("statistics") or {}).items()]
    return {
        "watched": bool(state.get("enabled")),
        "notes": notes,
        "rows": sorted(rows, key=lambda row: row["level"] != BAD),
    }


def _row(words: Words, camera: str, statistic: str, told: Mapping[str, Any]) -> dict[str, Any]:
    own = STATISTICS.get(statistic, _PLAIN)
    low, middle, high, latest = (told[key] for key in ("low", "middle", "high", "latest"))
    side = _side(statistic, told)
    name, unit = _name(words, statistic), known(f"drift_unit_{statistic}", "")
    numbers = {key: _number(words, told[key], own.digits) for key in ("low", "middle", "high", "latest")}
    evidence = min(max(float(told["evidence"]), 0.0), 1.0)
    level = BAD if told["alarm"] else OFF if middle is None else WARN if evidence >= _NEAR else OK
    picture = told["picture"] and f"{address('camera', camera, 'drift', f'{statistic}.png')}?since={told['since_ns']}"
    return {
        "name": name,
        "unit": words(unit) if unit else "",
        "numbers": numbers,
        "band": _band(low, middle, high, latest),
        "percent": int(100 * evidence),
        "level": level,
        "state": words(f"drift_{side or level}"),
        "cause": _cause(words, statistic, side),
        "since": local(told["since_ns"]) if told["since_ns"] else "",
        "picture": picture,
    }


def _name(words: Words, statistic: str) -> str:
    key = known(f"drift_name_{statistic}", "")
    return words(key) if key else shown(statistic)


def _side(statistic: str, told: Mapping[str, Any]) -> str:
    """Of its alarm: "up", "down", "" for none."""
    side = str(told.get("alarm") or "").removeprefix(f"{statistic}.")
    return side if side in ("up", "down") else ""


def _cause(words: Words, statistic: str, side: str) -> str:
    key = known(f"drift_cause_{statistic}_{side}", "")
    return words(key) if key else ""


def _number(words: Words, value: float | None, digits: int) -> str:
    """With so many digits after the point; none that is below zero by rounding."""
    return DASH if value is None else words.plain(f"{round(value, digits) + 0.0:.{digits}f}")


def _band(low: float | None, middle: float | None, high: float | None, latest: float | None) -> dict[str, float] | None:
    """Where the reference and the latest value stand on WIDTH; None where there is no reference."""
    if low is None or middle is None or high is None:
        return None
    room = (high - low) * _ROOM or abs(middle) * 0.05 or 1.0
    seen = middle if latest is None or not math.isfinite(latest) else latest
    first, last = min(low - room, seen), max(high + room, seen)
    share = (WIDTH - 2 * _EDGE) / (last - first)
    begin, mid, end, now = (_EDGE + share * (value - first) for value in (low, middle, high, seen))
    wide = max(end - begin, _LEAST)
    told = {"x": (begin + end - wide) / 2, "wide": wide, "middle": mid}
    if latest is not None:
        told["latest"] = now
    return {key: round(value, 1) for key, value in told.items()}


def alarm_of(words: Words, alarm: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, str]:
    """What the bar of alarms says of one: its `title`, the `href` of what it is about, and its `cause` in the language
    of the page; "" where there is only the station's own text."""
    if alarm["kind"] != DRIFT:
        return {"title": words(known(f"alarm_{alarm['kind']}", "alarm_other")), "href": "", "cause": ""}
    statistic = str(alarm["key"]).rpartition(":")[2]
    of = next((camera for camera in state["cameras"] if camera["name"] == alarm["camera"]), None)
    told = {} if of is None else (of["drift"].get("statistics") or {}).get(statistic, {})
    side = _side(statistic, told)
    title = words(f"drift_alarm_{side or 'any'}", name=_name(words, statistic))
    href = "" if of is None else f"{address('camera', of['name'])}#drift"
    return {"title": title, "href": href, "cause": _cause(words, statistic, side)}


def picture_of(data: Path, camera: Mapping[str, Any], statistic: str) -> bytes | None:
    """Then and now, where the state says that there is one; nothing that lies elsewhere is read."""
    told = (camera["drift"].get("statistics") or {}).get(statistic, {}).get("picture")
    if not told:
        return None
    try:
        folder, path = (data / DRIFT).resolve(), (data / str(told)).resolve()
        return read_input(path, most=_MOST_BYTES) if path.is_relative_to(folder) and path.suffix == ".png" else None
    except (OSError, ValueError):  # it was removed, as only the latest are kept
        return None
