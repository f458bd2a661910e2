"""The shape of the code: who may import whom (pyproject.toml has the contracts), what an import does, how long a file
may be, and that tests stand where their package is.

A file over 400 lines, or with a function over 50, says why in its module docstring, in a line that begins with
``Over 400 lines:`` or ``Over 50 lines:``.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_ad
from edge_ad.registry import ENGINES, METHODS, PRECISIONS
from edge_ad.spec import REFERENCE
from tests.paths import ROOT

MAX_FILE, MAX_FUNCTION, MAX_TESTS = 400, 50, 600  # lines
HEAVY = {"torch", "torchvision", "onnx", "hnswlib", "openvino", "onnxruntime", "matplotlib", "gradio"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function; `from a import b` gives both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_imports_keep_the_contracts() -> None:
    """Those of pyproject.toml: `lint-imports` says which line breaks one."""
    api = pytest.importorskip("importlinter.cli", reason="import-linter is not installed (the lint extra)")
    assert api.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


@pytest.mark.parametrize("path", sources("edge_ad"), ids=name_of)
def test_the_base_install_is_enough(path: Path) -> None:
    """Nothing beside NumPy and OpenCV, but where an extra or an engine is what the file is for."""
    page = {"gradio", "fastapi", "starlette", "uvicorn"}  # what comes with Gradio
    fleet = (
        {"tables.py": {"pyarrow"}, "remote.py": {"fsspec"}, "rays.py": {"ray"}} if path.parent.name == "fleet" else {}
    )
    line = {"toml_file.py": {"tomli"}, "broker.py": {"paho"}, "wire.py": {"pymodbus"}}
    line["opcua_security.py"] = {"cryptography"}
    parts = ("calls", "nodes", "prepared", "results", "server", "shown", "system", "types")
    line |= {f"opcua_{name}.py": {"asyncua"} for name in parts}
    extras = {"curves.py": {"matplotlib"}, "app.py": page, **line, **fleet}.get(path.name, set())
    if path.parent.parts[-2:] == ("station", "page"):
        extras = {"starlette", "uvicorn", "jinja2", "prometheus_client"}
    if path.parent.name not in ("engines", "native"):
        assert roots(path) <= set(sys.stdlib_module_names) | {"numpy", "cv2", "edge_ad", "__future__"} | extras


def test_a_method_knows_no_other() -> None:
    shared = {"base", "gaussian", "index", "local"}
    for path in sources("edge_ad/heads"):
        if path.stem not in ("__init__", *shared):
            known = {name.split(".")[2] for name in imports(path) if name.startswith("edge_ad.heads.")}
            assert known <= shared, path


def test_only_heads_and_the_bundle_read_members() -> None:
    reading = {
        name_of(path)
        for path in sources("edge_ad")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("array", "blob")
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "np")
    }
    assert reading
    assert {name.split("/")[1] for name in reading} <= {"heads", "bundle"}


@pytest.mark.parametrize("path", sources("export"), ids=name_of)
def test_the_export_uses_public_names_only(path: Path) -> None:
    for name in imports(path):
        assert not (name.startswith("edge_ad") and re.search(r"\._(?!_)", name)), name
        assert not name.startswith(("tests", "bench")), name


def test_the_public_names() -> None:
    bound = {name for name, value in vars(edge_ad).items() if not (name.startswith("_") or inspect.ismodule(value))}
    assert sorted(edge_ad.__all__) == sorted(bound | {"__version__"})


_IMPORT = """
import json, os, sys, threading, time
start = time.perf_counter(); import numpy, cv2; base = time.perf_counter() - start
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
start = time.perf_counter(); import edge_ad; own = time.perf_counter() - start
after = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
print(json.dumps({"modules": sorted({m.partition(".")[0] for m in sys.modules}), "base": base, "own": own,
                  "started": after - threads, "python": threading.active_count(), "files": os.listdir(".")}))
"""


def test_import_has_no_effects(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert not HEAVY & set(found["modules"])
    assert "export" not in found["modules"]
    assert found["started"] == 0
    assert found["python"] == 1
    assert found["files"] == []
    print(f"import edge_ad: {1 + found['own'] / found['base']:.2f} times import numpy, cv2")


@pytest.mark.parametrize("path", sources("edge_ad", "export", "bench"), ids=name_of)
def test_length(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    why = ast.get_docstring(tree) or ""
    lines = len(text.splitlines())
    assert lines <= MAX_FILE or "Over 400 lines:" in why, f"{lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
            assert length <= MAX_FUNCTION or "Over 50 lines:" in why, f"{node.name}: {length} lines"


def test_tests_mirror_the_packages() -> None:
    packages = {path.parent.relative_to(ROOT / "edge_ad") for path in (ROOT / "edge_ad").rglob("*/__init__.py")}
    assert packages
    assert [
        str(package) for package in sorted(packages) if not list((ROOT / "tests" / package).glob("test_*.py"))
    ] == []


def test_length_of_tests() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources("tests")}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_TESTS} == {}


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def test_public_functions_have_docstrings() -> None:
    missing = [
        f"{name_of(path)}: {node.name}"
        for path in sources("edge_ad", "export")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert missing == []


def test_only_the_registry_and_what_it_names_know_a_name() -> None:
    """No branch on the name of a method, an engine or a precision: a new one would pass it by."""
    names = {*METHODS, *ENGINES, *PRECISIONS} - {REFERENCE}  # which is the name of an operating point too
    found = []
    for path in sources("edge_ad", "export"):
        if path.stem in names or path.name in ("registry.py", "quantize.py", "cpu.py"):  # a CPU's flags are called so
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Compare, ast.Dict, ast.Tuple, ast.Set, ast.List)):
                inner = {child.value for child in ast.iter_child_nodes(node) if isinstance(child, ast.Constant)} & names
                if len(inner) > (0 if isinstance(node, ast.Compare) else 1):
                    found.append(f"{name_of(path)}:{node.lineno}: {', '.join(sorted(inner))}")
    assert found == []
