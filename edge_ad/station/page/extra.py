"""The packages that a page needs: those of the extra `station`."""

from __future__ import annotations

import importlib.util

PACKAGES = ("starlette", "uvicorn", "jinja2", "prometheus_client")


def missing() -> str:
    """Which packages are missing, and what to do about it; "" where all are there."""
    gone = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not gone:
        return ""
    return f"the operator page needs {', '.join(gone)}, which is not installed; pip install 'edge-ad[station]'"
