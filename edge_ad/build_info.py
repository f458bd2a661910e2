"""What is installed here and what this CPU is: the first thing to send with a report."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform

from edge_ad import native
from edge_ad._version import __version__
from edge_ad.cpu import default_threads, detect_cpu


def build_info() -> dict[str, str]:
    """Versions of edge-ad, Python and the packages it works with, the CPU, and the ISA of the native core."""
    cpu = detect_cpu()
    info = {
        "edge_ad": __version__,
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


def timestamp() -> str:
    """Now, UTC, ISO 8601; SOURCE_DATE_EPOCH makes bundles reproducible to the byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    zone = datetime.timezone.utc
    moment = datetime.datetime.fromtimestamp(int(epoch), zone) if epoch else datetime.datetime.now(zone)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
