"""The configuration of a station: one TOML file, read and checked as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import SpecError
from edge_ad.sources.address import shown
from edge_ad.sources.registry import check_source
from edge_ad.station.http import HTTP, Http, http_of
from edge_ad.station.kinds import Kinds
from edge_ad.station.outcomes import OUTCOMES
from edge_ad.station.plc.table import LINKS, is_alone, serves_all
from edge_ad.station.sinks.table import SINKS, sink_place
from edge_ad.station.toml_file import read_toml
from edge_ad.system.keys import Key, number, read_table, switch, table, text, texts, whole, wholes, word

TRIGGERS = ("free", "every", "software")

STATION = {
    "name": Key(text, "name of the station, for logs and sinks", "station"),
    "data": Key(text, "folder of the journal, pictures and bundles in use", "var"),
    **HTTP,
}
CAMERA = {
    "name": Key(text, "name of the camera", required=True),
    "source": Key(text, "where frames come from, such as folder:frames", required=True),
    "options": Key(table, 'options of the source, such as { after = "keep" }', {}),
    "bundle": Key(text, "the bundle file", required=True),
    "recipes": Key(texts, "further bundle files that a controller or a person selects: 1 is the first of them", ()),
    "trigger": Key(word(*TRIGGERS), "what a part is: each frame, one in `every_ms`, or a trigger from outside", "free"),
    "every_ms": Key(number(1, 3.6e6), "with trigger = every: milliseconds between two triggers"),
    "deadline_ms": Key(number(1, 3.6e6), "time from the trigger to the outcome; later is a fault", 1000.0),
    "budget_ms": Key(number(0.1, 3.6e6), "time limit of the inspection: picks an operating point that keeps it"),
    "roi": Key(text, "mask of the camera: an image of the frame's size, above 0 where parts are inspected"),
    "align": Key(switch, "true refuses bundles that do not look for the part (--align)", False),
    "threads": Key(whole(1, 1024), "most threads of the inspection"),
    "cores": Key(wholes, "logical cores of the inspection (Linux)"),
}
RETENTION = {
    "max_gb": Key(number(0.001, 1e6), "most that pictures may take", 50.0),
    "min_free_gb": Key(number(0, 1e6), "what is to stay free on the disk", 1.0),
    "good_sample": Key(number(0, 1), "share of the good parts whose pictures are kept", 0.01),
    "days": Key(number(0.01, 1e5), "age at which pictures and rows of the journal are removed"),
}

DRIFT = {
    "enabled": Key(switch, "whether light, focus and parts are watched", True),
    "per_frames": Key(number(100, 1e9), "mean number of frames between two false alarms of a camera", 10_000.0),
    "every": Key(whole(1, 1000), "one frame in so many is measured", 5),
    "reference": Key(whole(20, 500), "measured good parts that make a reference where the bundle has none", 200),
}


@dataclass(frozen=True)
class Camera:
    """A camera, with absolute paths. Two that are equal need no restart."""

    name: str
    source: str
    options: Mapping[str, Any]
    bundle: Path
    trigger: str
    every_ms: float | None
    deadline_ms: float
    budget_ms: float | None
    roi: Path | None
    align: bool
    threads: int | None
    cores: tuple[int, ...] | None
    recipes: tuple[Path, ...] = ()

    @property
    def address(self) -> str:
        """The source without its password."""
        return shown(self.source)


@dataclass(frozen=True)
class SinkConfig:
    """A sink.

    Attributes:
        id: names its place in the journal; made of its name, or of where it leads: without a name, a sink that leads
            elsewhere begins anew.
        what: the outcomes that it is given.
        options: the keys of its kind, paths absolute.
    """

    id: str
    kind: str
    what: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class LinkConfig:
    """A link to a controller.

    Attributes:
        id: names it in logs and events.
        options: the keys of its kind, paths absolute.
    """

    id: str
    kind: str
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Retention:
    """What is kept. `max_gb` and `min_free_gb` in 10^9 bytes."""

    max_gb: float
    min_free_gb: float
    good_sample: float
    days: float | None


@dataclass(frozen=True)
class Drift:
    """How drift is watched; see `edge_ad.monitor`."""

    enabled: bool = True
    per_frames: float = 10_000.0
    every: int = 5
    reference: int = 200


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
        path: of the file.
        data: the data folder, absolute.
    """

    path: Path
    name: str
    data: Path
    cameras: tuple[Camera, ...]
    sinks: tuple[SinkConfig, ...]
    retention: Retention
    links: tuple[LinkConfig, ...] = ()
    http: Http | None = None
    drift: Drift = Drift()

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.data / "journal.sqlite"

    def camera(self, name: str) -> Camera:
        """The camera of a name.

        Raises:
            SpecError: there is none.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        known = ", ".join(each.name for each in self.cameras)
        raise SpecError(f"{self.path} has no camera of that name", expected=known, got=repr(name))


class _Reading:
    """Collects what is wrong, each with its line."""

    def __init__(self, path: Path, lines: dict[tuple[str, int, str], int], files: bool) -> None:
        self.path, self.base, self._lines, self._files = path, path.parent, lines, files
        self.problems: list[tuple[int, str]] = []
        self.wrong: set[str] = set()  # keys of the table that was read last

    def table(self, name: str, at: int, given: Any, keys: Mapping[str, Key]) -> dict[str, Any]:
        if not isinstance(given, dict):
            self.say(name, at, "", f"it is no table; write [{name}] above its keys")
            given = {}
        values, problems = read_table(given, keys)
        self.wrong = {key for key, _ in problems} | {key for key in keys if keys[key].required and key not in given}
        for key, what in problems:
            self.say(name, at, key, what)
        return values

    def say(self, table: str, at: int, key: str, what: str) -> None:
        line = self._lines.get((table, at, key)) or self._lines.get((table, at, "")) or 1
        where = f"[{table}] {key}".strip() if table else key
        self.problems.append((line, f"{self.path}:{line}: {where}: {what}"))

    def attempt(self, table: str, at: int, key: str, check: Callable[[], object]) -> None:
        try:
            check()
        except SpecError as error:
            self.say(table, at, key, str(error))

    def is_missing(self, path: Path) -> bool:
        return self._files and not path.is_file()

    def path_of(self, given: str) -> Path:
        return (self.base / Path(given).expanduser()).absolute()


def load_config(path: Path, *, files: bool = True) -> Config:
    """Reads a configuration and checks all of it. Relative paths start from the folder of the file.

    Args:
        files: whether the files that it names must be there.

    Raises:
        SpecError: names each fault, with its line and key.
    """
    content, lines = read_toml(path)
    reading = _Reading(path.absolute(), lines, files)
    known = {"station": dict, "camera": list, "sink": list, "plc": list, "retention": dict, "drift": dict}
    for name in content:
        if name not in known:
            _, ((_, what),) = read_table({name: 0}, dict.fromkeys(known, Key(text, "")))
            reading.say(name, 0, "", what.replace("key", "table"))
    station = reading.table("station", 0, content.get("station", {}), STATION)
    cameras = [_camera(reading, at, given) for at, given in enumerate(_tables(reading, content, "camera"))]
    sinks = [_sink(reading, at, given) for at, given in enumerate(_tables(reading, content, "sink"))]
    links = [_link(reading, at, given) for at, given in enumerate(_tables(reading, content, "plc"))]
    retention = reading.table("retention", 0, content.get("retention", {}), RETENTION)
    drift = reading.table("drift", 0, content.get("drift", {}), DRIFT)
    if not cameras:
        reading.say("", 0, "[[camera]]", "there is no camera; a station needs one")
    for at, camera in enumerate(cameras):
        if camera is not None and camera.name in [c.name for c in cameras[:at] if c is not None]:
            reading.say("camera", at, "name", f"there are two cameras {camera.name!r}; give each its own name")
    ids = [sink.id for sink in sinks if sink is not None]
    for at, sink in enumerate(sinks):
        if sink is not None and sink.id in ids[:at]:
            reading.say("sink", at, "kind", "there is the same sink above; one of them is enough")
    _check_links(reading, links, cameras)
    if reading.problems:
        raise _faulty(path, [what for _, what in sorted(reading.problems)])
    return Config(
        path=reading.path,
        name=station["name"],
        data=reading.path_of(station["data"]),
        cameras=tuple(camera for camera in cameras if camera is not None),
        sinks=tuple(sink for sink in sinks if sink is not None),
        retention=Retention(**retention),
        links=tuple(link for link in links if link is not None),
        http=http_of(station, reading.path_of),
        drift=Drift(**drift),
    )


def _check_links(reading: _Reading, links: Sequence[LinkConfig | None], cameras: Sequence[Camera | None]) -> None:
    """What links have to do with one another and with cameras."""
    found = {camera.name: camera for camera in cameras if camera is not None}
    names: set[str] = set()
    served: dict[str, str] = {}  # by which link
    for at, link in enumerate(links):
        if link is None:
            continue
        if link.id in names:
            reading.say("plc", at, "name", f"there are two links {link.id!r}; give each its own name")
        names.add(link.id)
        asked = dict(link.options).get("camera")
        if asked is not None and asked not in found:
            if None not in cameras:
                reading.say("plc", at, "camera", f"there is no camera {asked!r}")
        elif is_alone(link.kind):
            for camera in found.values() if asked is None else (found[asked],):
                _check_served(reading, at, link, camera, served)


def _check_served(reading: _Reading, at: int, link: LinkConfig, camera: Camera, served: dict[str, str]) -> None:
    """Whether a link may ask for the parts of a camera; notes that it does."""
    if camera.trigger != "software":
        if not serves_all(link.kind):
            reading.say("plc", at, "camera", f'camera {camera.name} takes no triggers: give it trigger = "software"')
        return
    other = served.setdefault(camera.name, f"{link.id} ({link.kind})")
    if other != f"{link.id} ({link.kind})":
        what = SpecError(
            f"another link asks for the parts of camera {camera.name}",
            expected="one link that triggers a camera and waits for its answer",
            got=f"{other} and {link.id} ({link.kind})",
            remedy="Remove one of them, or give each the key camera with a camera of its own.",
        )
        reading.say("plc", at, "camera", str(what))


def _tables(reading: _Reading, content: dict[str, Any], name: str) -> list[Any]:
    given = content.get(name, [])
    if not isinstance(given, list):
        reading.say(name, 0, "", f"write [[{name}]] with two brackets: there may be several")
        return [given]
    return given


def _camera(reading: _Reading, at: int, given: Any) -> Camera | None:
    before = len(reading.problems)
    values = reading.table("camera", at, given, CAMERA)
    wrong = reading.wrong  # said already
    source = values["source"], str(values["name"]), values["options"]
    if not {"source", "options"} & wrong:
        reading.attempt("camera", at, "source", lambda: check_source(*source))
    for key, told in (("bundle", "python -m export makes a bundle"), ("roi", "it is an image of the frame's size")):
        if values[key] is not None and key not in wrong:
            values[key] = reading.path_of(values[key])
            if reading.is_missing(values[key]):
                reading.say("camera", at, key, f"there is no file {values[key]}; {told}")
    values["recipes"] = tuple(reading.path_of(each) for each in values["recipes"])
    for path in filter(reading.is_missing, values["recipes"]):
        reading.say("camera", at, "recipes", f"there is no file {path}; python -m export makes a bundle")
    if not {"trigger", "every_ms"} & wrong and (values["trigger"] == "every") != (values["every_ms"] is not None):
        reading.say("camera", at, "every_ms", 'it goes with trigger = "every", and neither stands without the other')
    if not {"trigger", "source", "options"} & wrong:
        told = _unfit(values["trigger"], values["source"], values["options"])
        if told:
            reading.say("camera", at, "trigger", told)
    if not {"deadline_ms", "budget_ms"} & wrong and (values["budget_ms"] or 0) > values["deadline_ms"]:
        reading.say("camera", at, "budget_ms", f"it is above the deadline of {values['deadline_ms']:g} ms")
    return None if len(reading.problems) > before else Camera(**values)


def _unfit(trigger: str, source: str, options: Mapping[str, Any]) -> str:
    """Why these triggers do not go with the source; "" where they do."""
    if trigger != "free" and source.lower().startswith("folder:"):
        return "each file of a hot folder is a trigger: a file may be of a part before, so nothing else can ask for it"
    if trigger == "free" and options.get("trigger") == "software":
        return 'the camera takes a picture when it is told to, and nothing tells it; write trigger = "software"'
    return ""


def _of_kind(
    reading: _Reading, table: str, at: int, given: Any, kinds: Kinds[Any, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The kind of a table and its other values, paths absolute; None where something is wrong."""
    kind = given.get("kind") if isinstance(given, dict) else None
    if kind not in kinds:
        expected = Key(word(*kinds), "one of " + ", ".join(kinds), required=True)
        reading.table(table, at, {} if kind is None else {"kind": kind}, {"kind": expected})
        return None
    kind, before = str(kind), len(reading.problems)
    values = reading.table(table, at, given, {"kind": Key(word(*kinds), "", required=True), **kinds.keys_of(kind)})
    if len(reading.problems) > before:
        return None
    del values["kind"]
    for key in kinds.files_of(kind):
        if values[key] is not None:
            values[key] = str(reading.path_of(values[key]))
            if reading.is_missing(Path(values[key])):
                reading.say(table, at, key, f"there is no file {values[key]}")
    for key, told in kinds.problems_of(kind, values):
        reading.say(table, at, key, told)
    return None if len(reading.problems) > before else (kind, values)


def _sink(reading: _Reading, at: int, given: Any) -> SinkConfig | None:
    found = _of_kind(reading, "sink", at, given, SINKS)
    if found is None:
        return None
    kind, values = found
    what, name = values.pop("what") or OUTCOMES, values.pop("name")
    if "path" in values:
        values["path"] = str(reading.path_of(values["path"]))
    options = tuple(sorted(values.items()))
    place = tuple((key, value) for key, value in options if key in sink_place(kind))
    mark = name or hashlib.sha256(repr((kind, place)).encode()).hexdigest()[:8]
    return SinkConfig(f"{kind}-{mark}", kind, what, options)


def _link(reading: _Reading, at: int, given: Any) -> LinkConfig | None:
    found = _of_kind(reading, "plc", at, given, LINKS)
    if found is None:
        return None
    kind, values = found
    name = values.pop("name") or kind
    return LinkConfig(name, kind, tuple(sorted(values.items())))


def _faulty(path: Path, problems: list[str]) -> SpecError:
    if len(problems) == 1:
        return SpecError(problems[0])
    return SpecError("\n".join([f"{path} has {len(problems)} errors", *problems]))
