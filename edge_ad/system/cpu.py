"""What the processor is, and which of its cores may be used."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.errors import SpecError
from edge_ad.system.arguments import whole_number


@dataclass(frozen=True)
class Cpu:
    """The processor, as far as choices depend on it.

    Attributes:
        vendor: "intel", "amd", "arm" or "other".
        model: its name, for a reader.
        flags: feature flags as Linux names them; empty elsewhere.
    """

    vendor: str
    model: str
    flags: frozenset[str]

    @property
    def has_bf16(self) -> bool:
        """Whether bf16 arithmetic is done by the hardware; emulated it is several times slower than f32."""
        return bool(self.flags & _BF16)


_BF16 = {"amx_bf16", "avx512_bf16", "bf16"}
# limits of oneDNN, by which OpenVINO computes, that leave bf16 out
_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}


def detect_cpu(cpuinfo: str | None = None, machine: str | None = None) -> Cpu:
    """This PC's processor; without bf16 where ONEDNN_MAX_CPU_ISA keeps the engine from it.

    Args:
        cpuinfo: text of /proc/cpuinfo; read from there by default.
        machine: as `platform.machine` gives it.
    """
    limited = cpuinfo is None and os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16
    if cpuinfo is None:
        path = Path("/proc/cpuinfo")
        cpuinfo = path.read_text(errors="replace") if path.exists() else ""
    machine = (machine or platform.machine()).lower()
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    model = fields.get("model name") or platform.processor() or machine
    text = f"{fields.get('vendor_id', '')} {model}".lower()
    if machine in ("aarch64", "arm64") or machine.startswith("arm"):
        vendor = "arm"
    elif "intel" in text:
        vendor = "intel"
    else:
        vendor = "amd" if "amd" in text else "other"
    flags = frozenset((fields.get("flags") or fields.get("features") or "").split())
    return Cpu(vendor, model, flags - _BF16 if limited else flags)


def allowed_cores() -> tuple[int, ...]:
    """Ids of the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def default_threads(cores: Sequence[int] | None = None) -> int:
    """One thread for each physical core among `cores` (by default those allowed), within the container's quota."""
    siblings = set()
    for core in allowed_cores() if cores is None else cores:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings.add(path.read_text().strip() if path.exists() else str(core))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """The container's CPU quota (cgroup v2) as a number of cores; a very large number without a quota."""
    path = Path("/sys/fs/cgroup/cpu.max")
    limit, _, period = (path.read_text().strip() if path.exists() else "max").partition(" ")
    return 1 << 20 if limit == "max" else max(1, int(limit) // int(period or 100000))


def can_pin() -> bool:
    """Whether this system lets a thread be kept on chosen cores."""
    return hasattr(os, "sched_setaffinity")


def check_cores(cores: Sequence[int] | None) -> tuple[int, ...] | None:
    """The core ids as a tuple, each one that this process may use.

    Raises:
        SpecError: not ids of allowed cores, or this system cannot pin threads.
    """
    if cores is None:
        return None
    if not can_pin():
        raise SpecError("cores cannot be pinned on this system", expected="Linux", got=platform.system())
    allowed = allowed_cores()
    try:
        wanted = tuple(whole_number("a core", core, 0, allowed[-1]) for core in cores)
    except (TypeError, SpecError):  # TypeError: it cannot be iterated over
        wanted = ()
    if not wanted or len(set(wanted)) != len(wanted) or not set(wanted) <= set(allowed):
        raise SpecError("cores are not usable", expected=f"different ids out of {list(allowed)}", got=repr(cores))
    return wanted


@contextlib.contextmanager
def pinned(cores: tuple[int, ...] | None) -> Iterator[None]:
    """Keeps the calling thread, and the threads it starts meanwhile, on `cores`; restores its own set afterwards."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def fastest_cores(count: int) -> tuple[int, ...]:
    """Up to `count` logical cores, one of each physical core: those with the highest clock, in ascending order."""
    found: dict[str, tuple[int, int]] = {}
    for core in allowed_cores():
        folder = Path(f"/sys/devices/system/cpu/cpu{core}")
        siblings, clock = (folder / name for name in ("topology/thread_siblings_list", "cpufreq/cpuinfo_max_freq"))
        key = siblings.read_text().strip() if siblings.exists() else str(core)
        found.setdefault(key, (-int(clock.read_text()) if clock.exists() else 0, core))
    return tuple(sorted(core for _, core in sorted(found.values())[:count]))
