"""`edge-ad export ...`: a second name for `python -m export`, which a file export.py in the working directory shadows.

edge_ad does not import the export, as an edge PC may not have it. `export_module` finds the package `export` in the
folder that holds edge_ad itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from edge_ad.errors import EdgeADError

_NAME = "export"
_REMEDY = "Run pip install 'edge-ad[demo]' on the workstation."


def run(arguments: Sequence[str]) -> int:
    """Runs an export; returns its exit code.

    Raises:
        EdgeADError: the export is not installed.
    """
    code: int = export_module("__main__").main(arguments)
    return code


def export_module(name: str, remedy: str = _REMEDY) -> ModuleType:
    """A module of the export.

    Args:
        name: without the package's name.
        remedy: what installs it.

    Raises:
        EdgeADError: the export is not installed.
    """
    root = Path(__file__).absolute().parents[2] / _NAME
    init = root / "__init__.py"
    known = sys.modules.get(_NAME)
    if known is None or Path(getattr(known, "__file__", None) or "").parent != root:
        spec = importlib.util.spec_from_file_location(_NAME, init, submodule_search_locations=[str(root)])
        if not init.is_file() or spec is None or spec.loader is None:
            raise EdgeADError(
                "the export is not installed here", expected=f"the package {root}", got="nothing", remedy=remedy
            )
        for loaded in [module for module in sys.modules if module == _NAME or module.startswith(f"{_NAME}.")]:
            del sys.modules[loaded]
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    return importlib.import_module(f"{_NAME}.{name}")
