"""Fits a head to the patches of the good images. Each method has one module, which `edge_ad.registry.METHODS` names.

A module has a class ``Fit`` (`export.fit.base.Method`). One whose method has options that name further files to write
has a function ``write_more`` too, as `write_more` here calls it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_ad.registry import METHODS

if TYPE_CHECKING:
    from edge_ad.spec import Manifest
    from export.fit.base import Material, Method
    from export.options import Options


def open_method(material: Material) -> Method:
    """The method that the options name, for this material."""
    method: Method = _module(material.options.method).Fit(material)
    return method


def write_more(options: Options, manifest: Manifest, members: Mapping[str, Any]) -> dict[str, str]:
    """Writes further files that options of the method name; returns a word for each -> the file.

    Raises:
        BundleError: one cannot be written.
    """
    if not any(option.output and options.own[option.name] for option in METHODS[options.method].options):
        return {}
    said: dict[str, str] = _module(options.method).write_more(options, manifest, members)
    return said


def _module(method: str) -> Any:
    return importlib.import_module(f"export.fit.{method}")
