"""The profile of a machine: what each operating point of one bundle takes on it, as `edge-ad tune` measured.

It stands in the user's cache directory, one file for each bundle and machine, and holds for that machine alone: all
that can change a time (`Machine`) is in it and is compared when it is read. A profile that is missing, broken or of
another machine is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad import native
from edge_ad._version import __version__
from edge_ad.engines import installed_engines
from edge_ad.errors import EdgeADError, SpecError
from edge_ad.registry import engine_package
from edge_ad.serving.settings import Fixed, Settings
from edge_ad.serving.timing import Timing
from edge_ad.spec import require
from edge_ad.spec.codec import decode, encode
from edge_ad.system.cpu import allowed_cores, default_threads, detect_cpu
from edge_ad.system.files import check_target, write_output
from edge_ad.system.versions import version_of

FORMAT_VERSION = 2  # 1 had the settings among the fields of an entry
MAX_BYTES = 2**22
CACHE_VARIABLE, OFF_VARIABLE = "EDGE_AD_CACHE_DIR", "EDGE_AD_NO_PROFILE"
_CACHE_REMEDY = f"Name a folder that can be written in {CACHE_VARIABLE}."
PIN_GAIN = 0.9  # pinning collides between processes: it must make a frame this much shorter to be chosen


@dataclass(frozen=True)
class Machine:
    """All that the times depend on.

    Attributes:
        bundle: id of the bundle.
        edge_ad: version.
        engines: versions by name.
        cpu: model.
        flags: of the CPU, sorted.
        isa: of the native core; `onednn_isa` is the limit that the environment sets to OpenVINO's, "" without.
        cores: that the process may use.
        threads: physical ones among those, within the container's quota.
    """

    bundle: str
    edge_ad: str
    engines: dict[str, str]
    cpu: str
    flags: str
    isa: str
    onednn_isa: str
    cores: tuple[int, ...]
    threads: int


@dataclass(frozen=True)
class Entry:
    """An operating point with settings, measured.

    Attributes:
        point, settings: as `Runtime` takes them.
        timing: of frames back to back.
        rounds: of the halving that it was in; times from different rounds are of different care.
        idle_ms: median latency of a frame after a second of idleness; None where it was not measured.
    """

    point: str
    settings: Settings
    timing: Timing
    rounds: int
    idle_ms: float | None = None

    def __post_init__(self) -> None:
        t = self.timing
        require(
            t.frames >= 1 and 0 < t.p50_ms <= t.p95_ms <= t.p99_ms < math.inf,
            "a timing of the profile is out of range",
            expected="0 < p50 <= p95 <= p99, finite",
            got=t,
        )
        threads = self.settings.threads
        require(1 <= threads <= 1024, "threads is out of range", expected="1..1024", got=threads)


@dataclass(frozen=True)
class Profile:
    """What `edge-ad tune` found.

    Attributes:
        machine: for which it holds.
        created: date and time, ISO 8601.
        entries: everything that was measured.
        refused: why a point could not be run by an engine here: "POINT by ENGINE" -> reason.
    """

    machine: Machine
    created: str
    entries: tuple[Entry, ...]
    refused: dict[str, str]

    def best(self, point: str, fixed: Fixed, budget_ms: float | None = None) -> Entry | None:
        """The best settings for an operating point; None where none was measured with those that are fixed.

        Of those that went furthest in the halving the lowest p95; with a budget, of those that keep it if any do. p95
        because the p99 of some hundred frames hangs on two of them. Settings that pin threads must be clearly better.
        """
        found = [entry for entry in self.entries if entry.point == point and fixed.allows(entry.settings)]
        found = [entry for entry in found if entry.rounds == max(e.rounds for e in found)]
        if budget_ms is not None:
            found = [entry for entry in found if entry.timing.p99_ms <= budget_ms] or found
        return min(found, key=handicapped, default=None)


def handicapped(entry: Entry) -> float:
    """p95 in ms by which settings are compared: pinned ones carry a handicap."""
    return entry.timing.p95_ms / (1.0 if entry.settings.cores is None else PIN_GAIN)


def this_machine(bundle: str) -> Machine:
    """This PC as the process sees it, with a bundle."""
    cpu = detect_cpu()
    return Machine(
        bundle=bundle,
        edge_ad=__version__,
        engines={name: version_of(engine_package(name), "unknown") for name in installed_engines()},
        cpu=cpu.model,
        flags=" ".join(sorted(cpu.flags)),
        isa=native.isa(),
        onednn_isa=os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        cores=allowed_cores(),
        threads=default_threads(),
    )


def cache_folder() -> Path:
    """The user's cache directory of edge-ad; EDGE_AD_CACHE_DIR names another.

    Raises:
        EdgeADError: this user has no home.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "edge-ad"
        if sys.platform == "darwin":
            return Path.home() / "Library/Caches/edge-ad"
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is to be passed over, says the standard
        return (given if given.is_absolute() else Path.home() / ".cache") / "edge-ad"
    except RuntimeError as error:
        remedy = f"Name a folder in {CACHE_VARIABLE}."
        raise EdgeADError("this user has no cache directory", got=error, remedy=remedy) from error


def profile_path(machine: Machine) -> Path:
    """Where the profile of a machine stands.

    Raises:
        EdgeADError: this user has no home.
    """
    digest = hashlib.sha256(_json(machine).encode()).hexdigest()
    return cache_folder() / "profiles" / f"{machine.bundle}-{digest[:16]}.json"


def save_profile(profile: Profile) -> Path:
    """Writes the profile; what was there stays until the new one is whole. Returns the path.

    Raises:
        EdgeADError: it cannot be written.
    """
    path = profile_path(profile.machine)
    try:
        write_output(path, [profile_to_json(profile).encode()])
    except EdgeADError as error:
        raise EdgeADError(error.what, got=error.got, remedy=_CACHE_REMEDY) from error
    return path


def check_profile_path(machine: Machine) -> Path:
    """Where the profile of a machine will stand, once it is certain that it can: makes the folder.

    Raises:
        EdgeADError: this user has no home, or it cannot be written.
    """
    path = profile_path(machine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeADError(f"cannot write {path}", got=error.strerror, remedy=_CACHE_REMEDY) from error
    check_target("the profile", path)
    return path


def load_profile(bundle: str, points: Collection[str]) -> Profile | None:
    """The profile of a bundle on this machine; None where there is no usable one, or EDGE_AD_NO_PROFILE is set.

    Args:
        bundle: its id.
        points: names of its operating points.
    """
    if os.environ.get(OFF_VARIABLE):
        return None
    try:
        return _read(bundle, points)
    except (OSError, ValueError, RecursionError, EdgeADError):
        return None


def _read(bundle: str, points: Collection[str]) -> Profile | None:
    """As `load_profile`, which has the errors that this raises for a file that cannot be used."""
    if next((cache_folder() / "profiles").glob(f"{bundle}-*.json"), None) is None:
        return None  # nothing to compare with: this PC need not be described
    machine = this_machine(bundle)
    with profile_path(machine).open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    profile = _parse(raw)
    known = all(e.point in points and set(e.settings.cores or ()) <= set(machine.cores) for e in profile.entries)
    return profile if known and profile.machine == machine else None


def _parse(raw: bytes) -> Profile:
    if len(raw) > MAX_BYTES:
        raise SpecError("the profile is too large", expected=f"{MAX_BYTES} bytes at most", got=len(raw))
    document = json.loads(raw.decode("utf-8"))
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise SpecError("the profile is of another format", expected=FORMAT_VERSION, got=f"format {version}")
    return decode(Profile, document, "profile")


def profile_to_json(profile: Profile, **more: Any) -> str:
    """The profile as JSON, with `more` fields."""
    return _json({"format_version": FORMAT_VERSION, **encode(profile), **more})


def describe_profile(bundle: str, points: Collection[str]) -> str:
    """A line on the profile that `Runtime` would use."""
    profile = load_profile(bundle, points)
    if profile is None:
        return f"none for this PC{_why_not(bundle, points)}; `edge-ad tune` makes one"
    best = (profile.best(point, Fixed()) for point in points)
    times = ", ".join(f"{e.point} {e.timing.p50_ms:.1f} ms, p99 {e.timing.p99_ms:.1f}" for e in best if e is not None)
    return f"of {profile.created}: {times}"


def _why_not(bundle: str, points: Collection[str]) -> str:
    """Why the file that there is cannot be used, such as one of an older format; "" where there is none."""
    try:
        _read(bundle, points)
    except EdgeADError as error:
        return f" ({error.what}, {error.got})" if error.got is not None else f" ({error.what})"
    except (OSError, ValueError, RecursionError):
        pass  # not there, or no JSON at all
    return ""


def _json(document: object) -> str:
    return json.dumps(encode(document), indent=1, ensure_ascii=False, allow_nan=False)
