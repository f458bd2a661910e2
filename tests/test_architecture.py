"""The shape of the code: who may import whom, what an import does, and how long a file may be.

A file over 400 lines, or with a function over 50, says why in its module docstring, in a line that begins with
``Over 400 lines:`` or ``Over 50 lines:``.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_ad

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION = 400, 50
HEAVY = {"torch", "torchvision", "onnx", "hnswlib", "openvino", "onnxruntime", "matplotlib"}
STAGES = ["frame", "crop", "index", "anomaly_map", "verdict", "prefetch", "probes", "budget", "stats", "stopwatch"]
GROUND = {"spec", "errors", "native", "image_file", "system", "system.forks"}  # what any stage may stand on


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


def own_modules(path: Path) -> set[str]:
    """The modules of edge_ad that a file imports, without the package's name: {"spec", "heads.patchcore"}."""
    known = {module_of(p) for p in sources("edge_ad")}
    return {name.removeprefix("edge_ad.") for name in imports(path) if name in known and name != "edge_ad"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("edge_ad"), ids=name_of)
def test_the_runtime_imports_nothing_of_the_workstation(path: Path) -> None:
    found = roots(path)
    assert not found & {"export", "bench", "tests", "torch", "torchvision", "onnx", "hnswlib", "pickle", "sklearn"}
    if path.parent.name != "engines":
        assert not found & {"openvino", "onnxruntime"}
    if path.parent.name != "engines" and path.parent.name != "native":
        curves = {"matplotlib"} if path.parent.name == "evaluation" else set()  # an extra, imported when it draws
        assert found <= set(sys.stdlib_module_names) | {"numpy", "cv2", "edge_ad", "__future__"} | curves


@pytest.mark.parametrize("name", STAGES)
def test_stages_stand_alone(name: str) -> None:
    allowed = GROUND | ({"bundle"} if name == "probes" else set())
    assert own_modules(ROOT / "edge_ad" / f"{name}.py") <= allowed


def test_heads_stand_alone() -> None:
    """A head knows the bundle that it is opened from and the index that it may search, and no other head."""
    for path in sources("edge_ad/heads"):
        allowed = GROUND | {"bundle", "heads.base"} | ({"index"} if path.stem == "patchcore" else set())
        heads = {f"heads.{other.stem}" for other in sources("edge_ad/heads")} if path.stem == "__init__" else set()
        assert own_modules(path) <= allowed | heads, path


def test_engines_are_imported_by_name_only() -> None:
    """No file imports the module of an engine: `open_engine` does, when it is asked for that engine."""
    for path in sources("edge_ad", "export"):
        assert not own_modules(path) & {"engines.openvino", "engines.onnxruntime"}, path


@pytest.mark.parametrize("path", sources("export"), ids=name_of)
def test_torch_is_imported_by_the_backbone_and_distillation_only(path: Path) -> None:
    if path.name != "backbone.py" and not path.name.startswith("distill"):
        assert not roots(path) & {"torch", "torchvision"}


@pytest.mark.parametrize("path", sources("export"), ids=name_of)
def test_the_export_uses_public_names_only(path: Path) -> None:
    for name in imports(path):
        assert not (name.startswith("edge_ad") and re.search(r"\._(?!_)", name)), name
        assert not name.startswith(("tests", "bench")), name


def test_the_public_names() -> None:
    tree = ast.parse((ROOT / "edge_ad" / "__init__.py").read_text())
    bound = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert bound | {"__version__"} == set(edge_ad.__all__)
    assert len(set(edge_ad.__all__)) == len(edge_ad.__all__)
    for name in edge_ad.__all__:
        assert getattr(edge_ad, name) is not None


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
