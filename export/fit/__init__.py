"""Fitting: from the patches of the good images to a head. One module a method."""

from __future__ import annotations

from collections.abc import Callable

from export.fit.base import Material, Method
from export.fit.centroid import FitCentroid
from export.fit.knn import FitKnn
from export.fit.padim import FitPadim
from export.fit.patchcore import FitPatchCore
from export.fit.spade import FitSpade

_FITS: dict[str, Callable[[Material], Method]] = {
    "patchcore": FitPatchCore,
    "padim": FitPadim,
    "spade": FitSpade,
    "knn": FitKnn,
    "centroid": FitCentroid,
}


def open_method(material: Material) -> Method:
    """The method that the options name: one of `export.options.METHODS`."""
    return _FITS[material.options.method](material)
