"""Fits a head to the patches of the good images. Each method has one module, which `edge_ad.registry.METHODS` names.

A module has a class ``Fit`` (`export.fit.base.Method`). One whose method has options that name further files to write
has a function ``write_more`` too, as `write_more` here calls it; one whose bundles can learn from more images has
``settings_of``, and heeds `export.fit.base.Material.kept`; one that can be taught single patches, as a greedy selection
covers those that it keeps, has ``spread_of``; one whose method trains a network of its own has ``open_network``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_ad.errors import SpecError
from edge_ad.registry import METHODS, one_of

if TYPE_CHECKING:
    from edge_ad.spec import Manifest
    from export.fit.base import Material, Method
    from export.network import Network
    from export.options import Options


def open_own_network(options: Options) -> Network:
    """The network that the method trains itself, before it is taught: `export.network.Network.taught`."""
    network: Network = _module(options.method).open_network(options)
    return network


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


def settings_of(manifest: Manifest) -> dict[str, Any]:
    """The options of the method that make the head of this bundle again.

    Raises:
        SpecError: the method cannot learn from more images: it keeps no patches of the old ones.
    """
    module = _module(manifest.head.method)
    if not hasattr(module, "settings_of"):
        able = tuple(name for name in METHODS if hasattr(_module(name), "settings_of"))
        raise SpecError(
            f"a bundle of the method {manifest.head.method} cannot learn from more images",
            expected=f"a bundle of {one_of(able)}, which keep patches of the images that they learned from",
            got=METHODS[manifest.head.method].title,
            remedy="Make the bundle anew, of all good images: edge-ad export.",
        )
    found: dict[str, Any] = module.settings_of(manifest.head)
    return found


def spread_of(manifest: Manifest) -> int:
    """How many patches around one its value counts in, for a method that can be taught single patches.

    Raises:
        SpecError: it cannot.
    """
    settings_of(manifest)
    module = _module(manifest.head.method)
    if not hasattr(module, "spread_of"):
        able = tuple(name for name in METHODS if hasattr(_module(name), "spread_of"))
        raise SpecError(
            f"a bundle of the method {manifest.head.method} cannot be taught single patches",
            expected=f"a bundle of {one_of(able)}, whose rows cover what the bundle has learned",
            got=f"{METHODS[manifest.head.method].title}, which keeps patches at random",
            remedy="edge-ad teach adds good images to it.",
        )
    found: int = module.spread_of(manifest.head)
    return found


def _module(method: str) -> Any:
    return importlib.import_module(f"export.fit.{method}")
