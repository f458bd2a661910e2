"""What the CPU says it is, and which cores a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_ad.system.cpu import allowed_cores, check_cores, default_threads, detect_cpu, fastest_cores, pinned

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu vme avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another name that must not win
flags\t\t: fpu
"""


INTEL_OLD = "vendor_id : GenuineIntel\nmodel name : Intel(R) Core(TM) i5-7500T CPU @ 2.70GHz\nflags : fpu sse4_2 avx2\n"


AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"


ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


VIRTUAL = "vendor_id : TCGTCGTCGTCG\nmodel name : QEMU TCG CPU version 2.5+\nflags : fpu\n"


@pytest.mark.parametrize(
    ("text", "machine", "vendor", "bf16"),
    [
        (INTEL, "x86_64", "intel", True),
        (INTEL_OLD, "x86_64", "intel", False),
        (AMD, "x86_64", "amd", True),
        (ARM, "aarch64", "arm", True),
        (ARM.replace(" bf16", ""), "arm64", "arm", False),
        (ARM, "armv7l", "arm", True),
        (VIRTUAL, "x86_64", "other", False),
        ("", "riscv64", "other", False),
        ("", "aarch64", "arm", False),
        (":::\n\0\n: \nflags\n", "mips", "other", False),
    ],
)
def test_detect_cpu(text: str, machine: str, vendor: str, bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    found = detect_cpu(text, machine)
    assert (found.vendor, found.has_bf16) == (vendor, bf16)
    assert found.model


def test_the_first_processor_names_the_model() -> None:
    assert detect_cpu(INTEL, "x86_64").model == "Intel(R) Xeon(R) Platinum 8488C"
    assert "amx_tile" in detect_cpu(INTEL, "x86_64").flags


def test_this_cpu() -> None:
    found = detect_cpu()
    assert found.vendor in ("intel", "amd", "arm", "other")
    assert found.model


def test_default_threads_is_within_the_cores() -> None:
    assert 1 <= default_threads() <= len(allowed_cores())
    assert default_threads([allowed_cores()[0]]) == 1


@pytest.mark.parametrize(
    ("text", "at_most"),
    [("max 100000\n", None), ("max\n", None), ("200000 100000\n", 2), ("50000 100000\n", 1), ("150000\n", 1)],
)
def test_the_containers_quota_bounds_the_threads(
    monkeypatch: pytest.MonkeyPatch, text: str, at_most: int | None
) -> None:
    monkeypatch.setattr("edge_ad.system.cpu.allowed_cores", lambda: tuple(range(1000, 1008)))  # eight without siblings
    read_text, exists = Path.read_text, Path.exists
    is_quota = {Path("/sys/fs/cgroup/cpu.max"): text}
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: is_quota.get(self) or read_text(self, *a, **k))
    monkeypatch.setattr(Path, "exists", lambda self: self in is_quota or exists(self))
    assert default_threads() == (at_most or 8)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are pinned on Linux only")
def test_pinned_restores_even_after_an_error() -> None:
    before = allowed_cores()
    inside: list[tuple[int, ...]] = []

    def work() -> None:
        with pinned((before[0],)):
            inside.append(allowed_cores())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        work()
    assert inside == [(before[0],)]
    assert allowed_cores() == before
    with pinned(None):
        assert allowed_cores() == before
    assert check_cores(set(before)) is not None  # what sched_getaffinity gives
    assert check_cores(None) is None


def test_fastest_cores() -> None:
    allowed = allowed_cores()
    assert set(fastest_cores(10_000)) <= set(allowed)
    assert len(fastest_cores(1)) == 1
    assert fastest_cores(10_000) == tuple(sorted(fastest_cores(10_000)))


def test_bf16_under_a_limit_of_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "model name: Intel\nflags: avx512_bf16 amx_bf16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert detect_cpu(text, "x86_64").has_bf16  # another PC's
    assert not detect_cpu().has_bf16
