"""Every module of `bench/` can be imported, with all that its functions import later, and every command has a help.

Most benches need data, hours or another program, so no test runs them, while what they import changes.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

OURS = ("bench", "edge_ad", "export", "tests")
OPTIONAL = ("hnswlib", "onnx", "pyarrow", "resource")  # of the export and the fleet; the last is not in Windows
THEIRS = ("bench.peer.imported", "bench.peer.models", "bench.peer.worker")  # for the peer's environment


def files() -> dict[str, Path]:
    """Module -> file; a package has the name of its folder."""
    found = sorted((ROOT / "bench").rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in found}


FILES = files()
COMMANDS = [
    name for name, path in FILES.items() if "\nif __name__ ==" in path.read_text("utf-8") and name not in THEIRS
]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a bench changes when it is imported is put back."""
    monkeypatch.setenv("EDGE_AD_NO_PROFILE", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])


@contextlib.contextmanager
def skipped_without_package() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in OPTIONAL:
            raise
        pytest.skip(f"{package} is not installed")


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS and module not in THEIRS


def test_the_commands_are_found() -> None:
    assert {"bench.trust", "bench.sight.__main__", "bench.targets"} <= set(COMMANDS)
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_imported_and_so_is_what_its_functions_import(name: str) -> None:
    if name in THEIRS:
        pytest.importorskip("anomalib", reason="it runs in the peer's environment")
    with skipped_without_package():
        importlib.import_module(name)
        for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and is_ours(str(node.module)):
                exec(compile(ast.Module([node], []), f"{name}:{node.lineno}", "exec"), {})


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tells_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m` runs it, in this process."""
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, name, raising=False)  # it is run anew, which Python warns of
    with skipped_without_package(), pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
