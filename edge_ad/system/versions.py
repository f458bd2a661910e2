"""Installed versions and the CPU, as every bug report needs them."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform

from edge_ad import native
from edge_ad._version import __version__
from edge_ad.errors import SpecError
from edge_ad.registry import ENGINES, engine_package
from edge_ad.system.cpu import default_threads, detect_cpu


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
    for package in ("numpy", "opencv-python-headless", *map(engine_package, ENGINES)):
        info[package] = version_of(package)
    return info


def timestamp() -> str:
    """Now, UTC, ISO 8601; SOURCE_DATE_EPOCH makes bundles reproducible to the byte.

    Raises:
        SpecError: SOURCE_DATE_EPOCH is no number of seconds, or lies outside the years 1 to 9999.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    zone = datetime.timezone.utc
    try:
        moment = datetime.datetime.fromtimestamp(int(epoch), zone) if epoch else datetime.datetime.now(zone)
    except (ValueError, OverflowError, OSError) as error:
        raise SpecError(
            "SOURCE_DATE_EPOCH is no time",
            expected="whole seconds since 1970, such as 1700000000",
            got=repr(epoch),
            remedy="Set it right, or unset it to take the present time.",
        ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def version_of(package: str, missing: str = "not installed") -> str:
    """The installed version of a package; `missing` where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return missing
