"""`make_defect`: one synthetic defect on a picture, with its exact mask. The registry of kinds stands here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.spec import Box, Frame
from edge_ad.spec.base import Range
from export.synth.paint import draw_fibre, draw_spot, draw_stain, draw_texture
from export.synth.pieces import draw_displaced, draw_missing
from export.synth.shading import draw_lamp, shade
from export.synth.shapes import Plane
from export.synth.site import Drawing, Drawn, Site, open_site
from export.synth.study import Study, study
from export.synth.surface import HEIGHT_KINDS, heights

__all__ = ["CONTRASTS", "KINDS", "SIZES", "VISIBLE", "Defect", "add_defect", "make_defect"]

SIZES, CONTRASTS = Range(0.005, 0.5), Range(0.02, 1)
VISIBLE = 2 / 255  # of white: a pixel that changes by no more is left as it was, and is outside the mask
_TRIES = 3  # places that are tried where a defect does not stand out as it should
_MORE_TRIES = {"missing": 8}  # what shows behind a bite cannot be chosen
_NEAR = 1.3  # factor by which the contrast may miss the one asked for
_STEPS, _CLOSE = 7, 0.04  # of the search for the strength: at most so many; how near is near enough
_SHARE = 85  # percentile of the change within the core that is the contrast

_INSIDE = {"scratch": {"bare": 0.8}, "cut": {"deep": 0.95}}  # what lies inside them: see `shade`


def _on_surface(kind: str) -> Callable[[Study, float, np.random.Generator], Drawn]:
    def draw(picture: Study, extent: float, generator: np.random.Generator) -> Drawn:
        height, _ = heights(kind, extent, generator)
        lamp = draw_lamp(generator)
        site = open_site(picture, *picture.place(extent, generator), len(height))
        return site, shade(site, height, lamp, **_INSIDE.get(kind, {}))

    return draw


KINDS: Mapping[str, Callable[[Study, float, np.random.Generator], Drawn]] = MappingProxyType(
    {
        **{kind: _on_surface(kind) for kind in HEIGHT_KINDS},
        "spot": draw_spot,
        "stain": draw_stain,
        "fibre": draw_fibre,
        "texture": draw_texture,
        "missing": draw_missing,
        "displaced": draw_displaced,
    }
)


@dataclass(frozen=True)
class Defect:
    """A picture with a synthetic defect; the arrays are the caller's.

    Attributes:
        image: like the good one in shape and dtype.
        mask: (H, W) u8, 255 on every pixel that differs from the good image, else 0.
        box: half-open bounding box of the mask.
        reached: the contrast that it has; less than was asked for where the place gives no more.
    """

    image: Frame
    mask: NDArray[np.uint8]
    box: Box
    reached: float


def make_defect(
    image: Frame,
    kind: str,
    size: float,
    contrast: float,
    generator: np.random.Generator,
    region: NDArray[np.bool_] | None = None,
) -> tuple[Frame, NDArray[np.uint8]]:
    """A copy of a good image with one synthetic defect, and its mask. Pure: same generator state, same bytes.

    Args:
        image: (H, W) or (H, W, 3) BGR, u8 or u16, each side 16 or more.
        kind: one of `KINDS`.
        size: largest extent of the defect, as a part of the frame's shorter side.
        contrast: change of pixel values on the plain part of the defect, as a part of white: 0.03 is barely visible,
            0.4 plain. A place that cannot change so much (white on white) gives less.
        generator: every random choice comes from it.
        region: (H, W) bool: nothing outside changes. Without it the object is looked for: see `export.synth.study`.

    Returns:
        The image, and the mask, (H, W) u8: 255 exactly where a channel changed, by more than `VISIBLE`; 0 elsewhere.

    Raises:
        SpecError: an argument is out of its range.
        DatasetError: no such defect can be seen on this picture.
    """
    made = add_defect(study(image, region), kind, size, contrast, generator)
    return made.image.reshape(image.shape), made.mask


def add_defect(picture: Study, kind: str, size: float, contrast: float, generator: np.random.Generator) -> Defect:
    """As `make_defect`, on a picture that was looked at before."""
    check_kind(kind)
    SIZES.check(size, "the size of a defect")
    CONTRASTS.check(contrast, "the contrast of a defect")
    best: Defect | None = None
    off = np.inf
    tries = _MORE_TRIES.get(kind, _TRIES)
    for _ in range(tries):
        site, drawing = KINDS[kind](picture, max(size * min(picture.size), 2.0), generator)
        light, kept, reached = _rendered(site, drawing, contrast)
        grain = generator.standard_normal(light.shape, dtype=np.float32)
        lost = np.sqrt(np.clip(1 - np.square(np.clip(kept, 0, 1)), 0, 1))
        made = _put(site, picture.to_shown(light) + np.float32(site.noise) * lost * grain, reached)
        miss = abs(float(np.log(max(reached, 1e-6) / contrast)))
        if made is not None and miss < off:
            best, off = made, miss
        if off <= np.log(_NEAR):
            break
    if best is None:
        raise DatasetError(
            f"a synthetic defect of the kind {kind} cannot be seen on this picture",
            expected=f"pixels that change by more than {VISIBLE:.1%} of white",
            got=f"none in {tries} places, at size {size:g} and contrast {contrast:g}",
            remedy="Leave that kind out, or give pictures that are not all white or all of one colour.",
        )
    return best


def check_kind(kind: str) -> None:
    """Refuses a name that is none of `KINDS`.

    Raises:
        SpecError: says which there are.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind).lower(), KINDS, n=1, cutoff=0.5)
        remedy = f"Did you mean {near[0]}?" if near else None
        raise SpecError("there is no such kind of defect", expected=", ".join(KINDS), got=repr(kind), remedy=remedy)


def _rendered(site: Site, drawing: Drawing, contrast: float) -> tuple[Plane, Plane, float]:
    """(light, what is left of the grain, contrast) at the strength whose contrast comes nearest to the one asked for.

    The strength is looked for between two that give less and more, in logarithms and by false position.
    """
    core = drawing.core & (site.allowed[..., 0] > 0.5)
    before = site.study.to_shown(site.light)[core]

    def render(at: float) -> tuple[Plane, Plane, float]:
        light, kept = drawing.render(float(np.exp(at)))
        if not len(before):
            return light, kept, 0.0
        after = site.study.to_shown(light[core])
        return light, kept, float(np.percentile(np.abs(after - before).max(axis=1), _SHARE))

    low, high = float(np.log(drawing.least)), float(np.log(drawing.most))
    found = render(high)
    if found[2] <= contrast or low == high:
        return found
    less, more = 1e-4, found[2]
    for _ in range(_STEPS):
        part = float(np.log(contrast / less) / np.log(more / less))
        middle = low + (high - low) * float(np.clip(part, 0.15, 0.85))
        found = render(middle)
        if abs(found[2] - contrast) <= _CLOSE * contrast:
            break
        if found[2] < contrast:
            low, less = middle, max(found[2], 1e-4)
        else:
            high, more = middle, found[2]
    return found


def _put(site: Site, shown: Plane, reached: float) -> Defect | None:
    """Writes a window into a copy of the picture, pixels that visibly change alone; None where none does."""
    picture, n = site.study, site.side
    height, width = picture.size
    y0, x0, y1, x1 = max(site.top, 0), max(site.left, 0), min(site.top + n, height), min(site.left + n, width)
    part = np.clip(np.rint(shown * picture.white), 0, picture.white)
    part = part[y0 - site.top : y1 - site.top, x0 - site.left : x1 - site.left].astype(picture.image.dtype)
    old = picture.image[y0:y1, x0:x1].reshape(part.shape)
    change = np.abs(part.astype(np.int32) - old.astype(np.int32)).max(axis=2)
    changed = change > VISIBLE * picture.white
    if picture.region is not None:
        changed &= picture.region[y0:y1, x0:x1]
    if not changed.any():
        return None
    image, mask = picture.image.copy(), np.zeros(picture.size, np.uint8)
    image[y0:y1, x0:x1] = np.where(changed[..., None], part, old).reshape(image[y0:y1, x0:x1].shape)
    mask[y0:y1, x0:x1][changed] = 255
    rows, columns = np.flatnonzero(changed.any(axis=1)) + y0, np.flatnonzero(changed.any(axis=0)) + x0
    return Defect(image, mask, (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1), reached)
