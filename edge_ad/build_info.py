"""What is installed here and what this CPU is: the first thing to send with a report."""

from __future__ import annotations

import importlib.metadata
import platform

from edge_ad import native
from edge_ad.cpu import default_threads, detect_cpu


def build_info() -> dict[str, str]:
    """Versions of edge-ad, Python and the packages it works with, the CPU, and the ISA of the native core."""
    cpu = detect_cpu()
    info = {
        "edge_ad": _version("edge-ad"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": f"{cpu.model} ({cpu.vendor})",
        "threads": str(default_threads()),
        "isa": native.isa(),
        "isa_supported": " ".join(native.supported_isas()),
    }
    for package in ("numpy", "opencv-python-headless", "openvino", "onnxruntime"):
        info[package] = _version(package)
    return info


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
