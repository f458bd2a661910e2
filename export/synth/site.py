"""A place in a picture where a defect is drawn, and what drawing gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.synth.shapes import Plane
from export.synth.study import Study


@dataclass(frozen=True)
class Site:
    """A square window of a picture.

    Attributes:
        study: the picture.
        top, left: of the window in the frame; it may reach beyond.
        light: (n, n, C) float32, the light there.
        allowed: (n, n, 1) float32, 1 where the defect may be.
        noise: deviation of the picture's pixel values there.
        blur_px: sigma of the picture's edges there.
    """

    study: Study
    top: int
    left: int
    light: Plane
    allowed: Plane
    noise: float
    blur_px: float

    @property
    def side(self) -> int:
        """n."""
        return int(self.light.shape[0])

    @property
    def mean(self) -> Plane:
        """(C,) the light of the middle of the window, where it is allowed."""
        weight = self.allowed + np.float32(1e-6)
        return (self.light * weight).sum(axis=(0, 1)) / weight.sum()


@dataclass(frozen=True)
class Drawing:
    """A defect at a site, at any strength.

    Attributes:
        render: strength above 0 -> (light (n, n, C), how much of the picture's own grain is left (n, n, 1)).
        most: the greatest strength that still looks like the kind.
        core: (n, n) bool, where its contrast is measured.
        least: the smallest strength that still looks like it.
    """

    render: Callable[[float], tuple[Plane, Plane]]
    most: float
    core: NDArray[np.bool_]
    least: float = 0.003


Drawn = tuple[Site, Drawing]


def open_site(study: Study, y: int, x: int, n: int, *, within: bool = True) -> Site:
    """The window of n pixels a side around a place; `within` as of `Study.allowed`."""
    top, left = y - n // 2, x - n // 2
    noise, blur_px = study.camera(y, x, n)
    allowed = study.allowed(top, left, n, within=within)[..., None]
    return Site(study, top, left, study.window(top, left, n), allowed, noise, blur_px)
