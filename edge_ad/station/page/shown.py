"""What the templates show of the state of a station: states and verdicts become words, addresses and places."""

from __future__ import annotations

import hashlib
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from edge_ad.station.journal import Row
from edge_ad.station.outcomes import FAULT, GOOD, OUTCOMES, REJECT
from edge_ad.station.page.bridge import Bridge, Live
from edge_ad.station.page.texts import Words, known, shown

STALE_S = 10.0  # after so long without a part, a picture is shown as an old one
_LAG_S = 1.5  # an outcome that is newer than the last picture by so much has none
_HOLDS_S = 1.0  # and stays so for so long: state and picture are asked one after the other
_REMEMBERED = 8  # pictures of a camera whose addresses a browser may still ask for
_LOW_DISK = 2e9  # bytes
_BEHIND = 100  # outcomes that a sink may be behind without a word

OK, WARN, BAD, OFF = "ok", "warn", "bad", "off"


@dataclass(frozen=True)
class Item:
    """A piece of the status line: what it is about, what to say, and how well it is ("ok", "warn", "bad", "off")."""

    name: str
    text: str
    level: str


def status_of(words: Words, state: Mapping[str, Any]) -> list[Item]:
    """The status line: camera, controller, sinks, disk, time."""
    cameras = state["cameras"]
    ready = sum(bool(camera["ready"]) for camera in cameras)
    told = words("status_ready", ready=ready, all=len(cameras))
    items = [Item("status_cameras", told, OK if ready == len(cameras) else BAD)]
    broken = [link for link in state["links"] if not link["well"]]
    if broken:
        items.append(Item("status_links", words("status_broken", name=shown(broken[0]["id"])), BAD))
    elif state["links"]:
        items.append(Item("status_links", words("status_well"), OK))
    else:
        items.append(Item("status_links", words("status_no_link"), OFF))
    return [*items, _sinks(words, state["sinks"]), _disk(words, state["disk"]), _budget(words, cameras)]


def _sinks(words: Words, sinks: Sequence[Mapping[str, Any]]) -> Item:
    name = "status_sinks"
    if not sinks:
        return Item(name, words("status_no_sink"), OFF)
    for sink in sinks:
        if sink["fails"]:
            return Item(name, words("status_fails", name=shown(sink["id"]), count=sink["behind"]), BAD)
    behind = max(sink["behind"] for sink in sinks)
    told = words("status_behind", count=behind) if behind else words("status_sent")
    return Item(name, told, WARN if behind > _BEHIND else OK)


def _disk(words: Words, disk: Mapping[str, Any]) -> Item:
    if disk["blocked"]:
        return Item("status_disk", words("status_blocked"), BAD)
    free = disk["free_bytes"]
    if free is None:
        return Item("status_disk", words("unknown"), WARN)
    return Item("status_disk", words("status_free", free=words.size(free)), WARN if free < _LOW_DISK else OK)


def _budget(words: Words, cameras: Sequence[Mapping[str, Any]]) -> Item:
    """Of the camera that is nearest to its limit."""
    told = []
    for camera in cameras:
        limit = camera["budget_ms"] or camera["deadline_ms"]
        if camera["p99_ms"] is not None and limit:
            level = BAD if camera["p99_ms"] > camera["deadline_ms"] else WARN if camera["p99_ms"] > limit else OK
            told.append((camera["p99_ms"] / limit, camera["p99_ms"], limit, level))
    if not told:
        return Item("status_budget", words("status_no_time"), OFF)
    _, p99, most, level = max(told)
    return Item("status_budget", words("status_p99", p99=words.ms(p99), most=words.ms(most)), level)


def address(*parts: object) -> str:
    """An address of the page made of these parts, each escaped."""
    return "".join(f"/{quote(str(part), safe='', errors='backslashreplace')}" for part in parts)


def local(time_ns: int) -> str:
    """A time by this PC's clock, for people."""
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")


def seconds_of(text: str) -> float:
    """A time of the station, in ISO 8601, as seconds since 1970."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def ems(word: str) -> int:
    """How wide a verdict's word is, in widths of a wide letter, so that the largest type that fits is chosen."""
    width = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.4 if c == " " else 0.74 for c in word)
    return min(max(round(width + 0.5), 2), 10)


def bar(score: float | None, threshold: float | None) -> tuple[float, float] | None:
    """Where score and threshold stand on a bar of width 100; the threshold in its middle where there is room."""
    if score is None or threshold is None or threshold <= 0:
        return None
    most = max(2 * threshold, score * 1.05)
    return round(100 * max(score, 0.0) / most, 1), round(100 * threshold / most, 1)


def mark_of(key: str) -> str:
    """What stands for the key of an alarm in a form: keys hold foreign names."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def reason_of(words: Words, reason: str) -> tuple[str, str]:
    """The reason of a fault: its word as a text of the page, "" where it has none, and what follows it."""
    word, mark, rest = reason.partition(": ")
    key = known(f"why_{word}", "") if mark else ""
    return (words(key), shown(rest)) if key else ("", shown(reason))


def label_choices(outcome: str | None) -> list[tuple[str, str, str]]:
    """(key, label, text) of the buttons that say what a part of this outcome was."""
    good, defect = ("label_true_good", "label_missed_defect") if outcome == GOOD else ("label_good", "label_defect")
    if outcome == REJECT:
        good, defect = "label_false_reject", "label_true_reject"
    return [("1", "good", good), ("2", "defect", defect), ("3", "unsure", "label_unsure"), ("4", "", "label_remove")]


def label_text(row: Row) -> str:
    """The key of the text of a row's label."""
    found = {label: text for _, label, text in label_choices(row.outcome) if label}
    return found.get(row.label, "label_none")


class Lives:
    """The last pictures of the cameras. A verdict is never shown with the picture of another part. Thread-safe."""

    def __init__(self, bridge: Bridge, clock: Callable[[], float] = time.monotonic) -> None:
        self._bridge, self._clock, self._lock = bridge, clock, threading.Lock()
        self._kept: dict[str, dict[int, Live]] = {}
        self._late: dict[str, float] = {}

    def newest(self, camera: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, Live | None]:
        """The last outcome of a camera, and its picture, where there is one."""
        name, last = str(camera["name"]), camera["last"]
        live = self._bridge.live(name)
        with self._lock:
            if live is None:
                return last, None
            kept = self._kept.setdefault(name, {})
            kept[live.number] = live
            while len(kept) > _REMEMBERED:
                del kept[next(iter(kept))]
            lags = last is not None and last["number"] > live.number
            if not lags or seconds_of(last["time"]) - seconds_of(live.verdict["time"]) < _LAG_S:
                self._late.pop(name, None)
                return live.verdict, live
            since = self._late.setdefault(name, self._clock())
            return (last, None) if self._clock() - since >= _HOLDS_S else (live.verdict, live)

    def picture(self, camera: str, number: int) -> Live | None:
        """A picture that was shown a moment ago."""
        with self._lock:
            return self._kept.get(camera, {}).get(number)


def tile_of(words: Words, camera: Mapping[str, Any], at: int, now: str, lives: Lives | None = None) -> dict[str, Any]:
    """What a camera's tile shows.

    Args:
        at: its place on the page.
        now: the time of the station.
        lives: the last pictures; without them, it has none.
    """
    last, live = (camera["last"], None) if lives is None else lives.newest(camera)
    tile = _empty_tile(camera, at)
    if last is not None:
        tile |= _told(words, camera, last, now)
    if live is not None and live.frame_jpeg:
        name = camera["name"]
        tile["frame"] = address("live", name, f"{live.number}.jpg")
        tile["heat"] = "" if live.heat_png is None else address("live", name, f"{live.number}.png")
    tile["word"] = words(f"outcome_{tile['outcome']}")
    tile["ems"] = ems(tile["word"])
    return tile


def _empty_tile(camera: Mapping[str, Any], at: int) -> dict[str, Any]:
    """Of a camera that has seen no part."""
    name = str(camera["name"])
    return {
        "at": at,
        "name": shown(name),
        "camera": camera,
        "href": address("camera", name),
        "outcome": "open",
        "number": None,
        "part": "",
        "score": None,
        "threshold": camera["threshold"],
        "bar": None,
        "why": shown(camera["why"]) if not camera["ready"] else "",
        "ready": bool(camera["ready"]),
        "counts": [(outcome, camera["counts"].get(outcome, 0)) for outcome in OUTCOMES],
        "age": "",
        "stale": "",
        "frame": "",
        "heat": "",
        "reason": ("", ""),
        "story": "",
        "late": camera["p99_ms"] is not None and camera["p99_ms"] > camera["deadline_ms"],
        "health": known(f"health_{camera['health']}", "health_other"),
        "trigger": known(f"trigger_{camera['trigger']}", "unknown"),
    }


def _told(words: Words, camera: Mapping[str, Any], last: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Of its last part."""
    age_s = max(seconds_of(now) - seconds_of(str(last["time"])), 0.0)
    return {
        "outcome": last["outcome"] if last["outcome"] in OUTCOMES else "open",
        "number": last["number"],
        "part": shown(last["part_id"]),
        "score": last["score"],
        "threshold": last["threshold"] if last["threshold"] is not None else camera["threshold"],
        "bar": bar(last["score"], last["threshold"]),
        "age": words.age(age_s),
        "stale": words.age(age_s, "stale") if age_s > STALE_S else "",
        "reason": reason_of(words, str(last.get("reason") or "")) if last["outcome"] == FAULT else ("", ""),
        "story": address("parts", camera["name"], last["number"]),
    }
