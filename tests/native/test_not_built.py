"""`import edge_ad` where its native core is not built, or cannot be loaded: one clear error with the remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest

import edge_ad

IMPORT = """
try:
    import edge_ad
except ImportError as error:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    assert "EdgeADError" in kinds and "NativeError" in kinds, kinds
    print(error)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the package as it is in a fresh checkout."""
    folder = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd")
    shutil.copytree(Path(edge_ad.__file__).parent, folder / "edge_ad", ignore=ignore)
    return folder


def said(folder: Path, *more: Path) -> str:
    """What a Python that is started in `folder` says to `import edge_ad`; `more`: where it looks too."""
    done = python(folder, "-c", IMPORT, more=more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(folder: Path, *arguments: str, more: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Without the hooks of an editable install, which would lead to the checkout that is tested."""
    packages = Path(np.__file__).parents[1]
    paths = os.pathsep.join(map(str, (*more, packages)))
    variables = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def check_not_built(message: str, checkout: Path) -> None:
    assert "circular" not in message
    assert f"is not built for this Python in {checkout / 'edge_ad' / 'native'}" in message
    assert f"pip install --no-build-isolation -e {checkout}" in message


def test_a_checkout_that_is_not_built(checkout: Path) -> None:
    message = said(checkout)
    check_not_built(message, checkout)
    assert "got none" in message


def test_beside_an_installed_one(checkout: Path) -> None:
    """The checkout hides the installed package from a Python that is started in it."""
    message = said(checkout, Path(edge_ad.__file__).parents[1])
    check_not_built(message, checkout)
    assert "Or start Python in another folder" in message


def test_built_for_another_python(checkout: Path) -> None:
    other = "_core.cpython-39-darwin.so"
    (checkout / "edge_ad/native" / other).touch()
    message = said(checkout)
    check_not_built(message, checkout)
    assert f"got {other}" in message


def test_a_core_that_cannot_be_loaded(checkout: Path) -> None:
    core = checkout / f"edge_ad/native/_core{EXTENSION_SUFFIXES[0]}"
    core.touch()
    message = said(checkout)
    assert "the native core of edge-ad cannot be loaded" in message
    assert str(core) in message
    assert f"pip install --no-build-isolation -e {checkout}" in message


@pytest.mark.parametrize("module", ["edge_ad.cli", "export"])
def test_a_command_without_a_core_ends_with_the_code_of_an_error(checkout: Path, module: str) -> None:
    """And not with 1, which says that an image is anomalous."""
    if module == "export":
        export = pytest.importorskip("export", reason="the export is not here")
        shutil.copytree(Path(export.__file__ or "").parent, checkout / "export")
    done = python(checkout, "-m", module, "info")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
