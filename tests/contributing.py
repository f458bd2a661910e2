"""The worked examples of CONTRIBUTING.md, put where they say that they belong, without a change of the source tree."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import edge_ad.engines
import edge_ad.heads
from edge_ad.registry import ENGINES, METHODS, EngineEntry
from tests.paths import ROOT

_PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(section: str) -> list[str]:
    """The Python of a section."""
    text = _PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = _BLOCK.findall(text)
    assert found, f"CONTRIBUTING.md has no code in {section!r}"
    return found


def entry(line: str) -> tuple[str, Any]:
    """Name and value of a line of the registry."""
    tree = ast.parse("{" + line.strip() + "}", mode="eval")
    found = eval(compile(tree, "CONTRIBUTING.md", "eval"), {"EngineEntry": EngineEntry})
    ((name, value),) = found.items()
    return name, value


@contextmanager
def the_method(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the method of the example, which is registered meanwhile."""
    import export.fit

    head, fit, line = blocks("A new method")
    name, module = entry(line)
    with _module(edge_ad.heads, name, head, folder, monkeypatch), _module(export.fit, name, fit, folder, monkeypatch):
        monkeypatch.setitem(METHODS.modules, name, module)
        yield name


@contextmanager
def the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the engine of the example, which is registered meanwhile."""
    code, line = blocks("A new engine")
    name, value = entry(line)
    with _module(edge_ad.engines, name, code, folder, monkeypatch):
        monkeypatch.setitem(ENGINES, name, value)
        yield name


@contextmanager
def _module(package: ModuleType, name: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file of the package, which stands in a folder of its own."""
    place = folder / package.__name__
    place.mkdir()
    (place / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
    try:
        yield
    finally:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        if hasattr(package, name):
            delattr(package, name)
