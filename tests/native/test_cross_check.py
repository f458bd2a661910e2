"""The program that checks the core of other CPUs (CONTRIBUTING.md) goes with the core as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
def test_it_compiles() -> None:
    command = [str(COMPILER), "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iedge_ad/native"]
    done = subprocess.run([*command, "tests/native/cross_check.cpp"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
