"""The profile of a machine: the times of each operating point of one bundle, measured by `edge-ad tune`.

It is a file in the user's cache directory, one for each bundle and machine. It is valid for that machine only: it holds
everything that can change a time (`Machine`), and this is compared when the file is read. A profile that is missing,
broken or from another machine is ignored.
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
from edge_ad.system.variables import switched_on
from edge_ad.system.versions import version_of

FORMAT_VERSION = 3  # 1 had the settings among the fields of an entry; 2 had no streams in them
MAX_BYTES = 2**22
CACHE_VARIABLE, OFF_VARIABLE = "EDGE_AD_CACHE_DIR", "EDGE_AD_NO_PROFILE"
_CACHE_REMEDY = f"Set {CACHE_VARIABLE} to a folder that can be written."
PIN_GAIN = 0.9  # pinned processes can block each other, so pinning must cut the time of a frame to this share


@dataclass(frozen=True)
class Machine:
    """Everything that the times depend on.

    Attributes:
        bundle: id of the bundle.
        edge_ad: version.
        engines: versions by name.
        cpu: model.
        flags: of the CPU, sorted.
        isa: instruction set of the native core.
        onednn_isa: the limit that the environment sets for OpenVINO's instruction set; "" for none.
        cores: logical cores that the process may use.
        threads: physical cores among them, within the container's quota.
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
    """An operating point that was measured with some settings.

    Attributes:
        point, settings: as `Runtime` takes them.
        timing: times of frames without a pause between them.
        rounds: how many rounds of the halving it took part in; later rounds time more frames.
        idle_ms: median latency of a frame after an idle second; None if it was not measured.
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
        streams = self.settings.streams
        require(streams == 1, "streams is out of range", expected="1: times are of one frame", got=streams)


@dataclass(frozen=True)
class Profile:
    """The results of `edge-ad tune`.

    Attributes:
        machine: the machine that was measured.
        created: date and time, ISO 8601.
        entries: all measurements.
        refused: "POINT by ENGINE" -> the reason why the engine cannot run the point here.
    """

    machine: Machine
    created: str
    entries: tuple[Entry, ...]
    refused: dict[str, str]

    def best(self, point: str, fixed: Fixed, budget_ms: float | None = None) -> Entry | None:
        """The best settings for an operating point; None if no measurement has the fixed settings.

        Only entries of the latest round count, and with a budget those that keep it, if any do. The lowest p95 wins. It
        is not the p99, which depends on just two frames of some hundred. Settings that pin threads must be clearly
        better.
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
    """This PC as this process sees it, with a bundle."""
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
    """The user's cache directory of edge-ad, or the folder in EDGE_AD_CACHE_DIR.

    Raises:
        EdgeADError: this user has no home directory.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "edge-ad"
        if sys.platform == "darwin":
            return Path.home() / "Library/Caches/edge-ad"
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the XDG standard says to ignore a relative path
        return (given if given.is_absolute() else Path.home() / ".cache") / "edge-ad"
    except RuntimeError as error:
        remedy = f"Set {CACHE_VARIABLE} to a folder."
        raise EdgeADError("this user has no cache directory", got=error, remedy=remedy) from error


def profile_path(machine: Machine) -> Path:
    """The path of the profile of a machine.

    Raises:
        EdgeADError: this user has no home directory.
    """
    digest = hashlib.sha256(_json(machine).encode()).hexdigest()
    return cache_folder() / "profiles" / f"{machine.bundle}-{digest[:16]}.json"


def save_profile(profile: Profile) -> Path:
    """Writes the profile and returns its path. An older profile stays until the new one is complete.

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
    """The path of the profile, after a check that it can be written. Makes the folder.

    Raises:
        EdgeADError: this user has no home directory, or the path cannot be written.
    """
    path = profile_path(machine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeADError(f"cannot write {path}", got=error.strerror, remedy=_CACHE_REMEDY) from error
    check_target("the profile", path)
    return path


def load_profile(bundle: str, points: Collection[str]) -> Profile | None:
    """The profile of a bundle on this machine; None if there is no usable one, or EDGE_AD_NO_PROFILE is set.

    Args:
        bundle: its id.
        points: names of its operating points.
    """
    if switched_on(OFF_VARIABLE):
        return None
    try:
        return _read(bundle, points)
    except (OSError, ValueError, RecursionError, EdgeADError):
        return None


def _read(bundle: str, points: Collection[str]) -> Profile | None:
    """As `load_profile`, but raises an error for a file that cannot be used."""
    if next((cache_folder() / "profiles").glob(f"{bundle}-*.json"), None) is None:
        return None  # saves the work of describing this PC
    machine = this_machine(bundle)
    path = profile_path(machine)
    if not path.is_file():  # none, or a pipe, for whose writer we would wait
        return None
    with path.open("rb") as file:
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
        return f"none for this PC{_why_not(bundle, points)}; run `edge-ad tune` to make one"
    best = (profile.best(point, Fixed()) for point in points)
    times = ", ".join(f"{e.point} {e.timing.p50_ms:.1f} ms, p99 {e.timing.p99_ms:.1f}" for e in best if e is not None)
    return f"of {profile.created}: {times}"


def _why_not(bundle: str, points: Collection[str]) -> str:
    """Why an existing profile cannot be used, such as an older format; "" if there is none."""
    try:
        _read(bundle, points)
    except EdgeADError as error:
        return f" ({error.what}, {error.got})" if error.got is not None else f" ({error.what})"
    except (OSError, ValueError, RecursionError):
        pass  # the file does not exist, or is not JSON
    return ""


def _json(document: object) -> str:
    return json.dumps(encode(document), indent=1, ensure_ascii=False, allow_nan=False)
