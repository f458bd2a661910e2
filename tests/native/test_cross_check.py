"""The program that checks the core without Python: CMake's target `cross_check`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CMAKE = shutil.which("cmake")
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without optimization: that it links shows that the sources of the target are all there."""
    if CMAKE is None or COMPILER is None:
        pytest.skip("there is no CMake or no C++ compiler")
    folder = tmp_path_factory.mktemp("cross_check")
    options = ["-DEDGE_AD_CROSS_CHECK=ON", "-DEDGE_AD_WERROR=ON", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in ([CMAKE, "-S", str(ROOT), "-B", str(folder), *options], [CMAKE, "--build", str(folder)]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "cross_check"


def test_the_core_itself_reads_the_variable(program: Path) -> None:
    environment = {**os.environ, "EDGE_AD_FORCE_ISA": "sse9"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.startswith("EDGE_AD_FORCE_ISA: unknown instruction set; expected one of ")
    assert "portable; got 'sse9'. Unset the variable" in done.stdout
