"""What a defect must know of its picture: the light in it, its noise and sharpness, and where the object is.

Values are "light" inside: (H, W, C) float32 that is about linear, 0 black and 1 white. Photographs of 8 bits are taken
to be coded with a gamma of about 2, pictures of 16 bits to be linear, as cameras write them.

The object, where no region is given: the border of the frame is taken for background where a flood from it, over
pixels that look like the border, is plain and leaves a compact rest. That rest is the object. Otherwise (a surface that
fills the frame, a cluttered scene) a defect goes where the picture has detail, and into plain places that such detail
encloses. On an even surface that is everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.frames.roi import filled
from edge_ad.spec import Frame
from export.synth.shapes import Plane, blur

LEAST_SIDE = 16  # of a frame: on fewer pixels no defect has a form
_SMALL = 256  # side of the copy on which the object is looked for
_FLOOD = 0.055  # how far background may differ from the pixel of the border where the flood began
_PLAIN = 0.025  # three quarters of a background have less detail than that
_WHITE = (1023, 4095, 16383, 65535)  # of cameras with 10 to 16 bits


@dataclass(frozen=True)
class Study:
    """A picture made ready for defects; it is not altered, and may be used for many.

    Attributes:
        image: (H, W) or (H, W, 3) u8 or u16, as it was given.
        white: the pixel value that counts as 1.
        region: (H, W) bool, the only pixels that may change; None where all may.
        room: (h, w) float32 at a small scale: how far a place lies inside the object, in frame pixels; 0 outside.
        object: (h, w) float32 at the same scale, 1 on the object and 0 on the background; None where there is none.
    """

    image: Frame
    white: int
    region: NDArray[np.bool_] | None
    room: Plane
    object: Plane | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.image.shape[0], self.image.shape[1]

    def window(self, top: int, left: int, n: int) -> Plane:
        """The light of (n, n, C) pixels from (top, left) on; beyond the frame it is mirrored."""
        rows, columns = _mirrored(top, n, self.size[0]), _mirrored(left, n, self.size[1])
        part = self.image[rows[:, None], columns[None, :]]
        return self.to_light(part.reshape(n, n, -1).astype(np.float32) / np.float32(self.white))

    def to_light(self, shown: Plane) -> Plane:
        """Light of pixel values from 0 to 1."""
        return np.square(shown) if self.image.dtype == np.uint8 else shown

    def to_shown(self, light: Plane) -> Plane:
        """Pixel values from 0 to 1 of light: what is too bright is white."""
        held = np.clip(light, 0, 1)
        return np.sqrt(held) if self.image.dtype == np.uint8 else held

    def allowed(self, top: int, left: int, n: int, *, within: bool = True) -> Plane:
        """(n, n) float32, 1 where a defect may be and 0 elsewhere.

        Args:
            within: only on the object, where there is one; False keeps to the region alone.
        """
        rows, columns = np.arange(top, top + n), np.arange(left, left + n)
        height, width = self.size
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        rows, columns = _mirrored(top, n, height), _mirrored(left, n, width)
        if self.region is not None:
            inside &= self.region[rows[:, None], columns[None, :]]
        found: Plane = inside.astype(np.float32)
        if within and self.object is not None:
            found *= self._object(rows, columns)
        return found

    def _object(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Plane:
        assert self.object is not None
        small = self.object.shape
        y = (rows.astype(np.float32) + 0.5) * (small[0] / self.size[0]) - 0.5
        x = (columns.astype(np.float32) + 0.5) * (small[1] / self.size[1]) - 0.5
        shape = (len(rows), len(columns))
        maps = np.broadcast_to(x[None, :], shape).copy(), np.broadcast_to(y[:, None], shape).copy()
        return cv2.remap(self.object, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def place(self, extent_px: float, generator: np.random.Generator) -> tuple[int, int]:
        """(y, x) of a place for a defect of that extent: so far inside that it fits, or as far inside as there is."""
        need = min(extent_px / 2, 0.85 * float(self.room.max()))
        return self._pick(np.flatnonzero(self.room >= max(need, 1e-3)), generator)

    def edge_place(self, extent_px: float, generator: np.random.Generator) -> tuple[int, int] | None:
        """(y, x) of a place at the outline of the object; None where the object has none."""
        if self.object is None:
            return None
        step = self.size[0] / self.room.shape[0]
        band = (self.room > 0) & (self.room <= max(0.12 * extent_px, 1.5 * step))
        return self._pick(np.flatnonzero(band), generator) if band.any() else None

    def _pick(self, places: NDArray[np.intp], generator: np.random.Generator) -> tuple[int, int]:
        height, width = self.room.shape
        at = int(places[int(generator.integers(len(places)))])
        jitter = generator.uniform(0, 1, 2)
        y = min(int((at // width + jitter[0]) * self.size[0] / height), self.size[0] - 1)
        x = min(int((at % width + jitter[1]) * self.size[1] / width), self.size[1] - 1)
        return y, x

    def camera(self, y: int, x: int, reach: int) -> tuple[float, float]:
        """(noise, blur_sigma_px) around a place: the deviation of pixel values, and the width of edges."""
        side = max(64, reach)
        top, left = max(0, y - side), max(0, x - side)
        part = self.image[top : y + side, left : x + side].astype(np.float32) / np.float32(self.white)
        grey = part if part.ndim == 2 else part.mean(axis=2)
        noise = _noise(grey) * (1 if part.ndim == 2 else np.sqrt(3))
        return float(noise), _blur_sigma(grey, float(noise))


def study(image: Frame, region: NDArray[np.bool_] | None = None, white: int | None = None) -> Study:
    """Looks at a picture once, for any number of defects.

    Args:
        image: (H, W) or (H, W, 3), u8 or u16.
        region: (H, W) bool, where defects may be.
        white: value of a white pixel; by default 255, and for u16 the least of 10, 12, 14 and 16 bits that holds all.

    Raises:
        SpecError: the picture or the region cannot be used.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    fits = image.dtype in (np.uint8, np.uint16) and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    if not fits or min(image.shape[:2]) < LEAST_SIDE:
        expected = f"(H, W) or (H, W, 3) of uint8 or uint16, each side {LEAST_SIDE} or more"
        raise SpecError("the picture cannot have synthetic defects", expected=expected, got=(image.shape, image.dtype))
    if region is not None and (region.shape != image.shape[:2] or region.dtype != np.bool_ or not region.any()):
        got = (region.shape, region.dtype, f"{int(region.sum())} pixels inside")
        raise SpecError("the region cannot be used", expected=f"bool {image.shape[:2]} with pixels inside", got=got)
    brightest = int(image.max())
    if white is None:
        white = 255 if image.dtype == np.uint8 else white_level(brightest)
    if white < brightest:
        raise SpecError("the picture is brighter than white", expected=f"{brightest} or more as white", got=white)
    scale = min(1.0, _SMALL / max(image.shape[:2]))
    small = (max(int(image.shape[1] * scale), 4), max(int(image.shape[0] * scale), 4))  # (width, height)
    if region is not None:
        kept = cv2.resize(region.astype(np.uint8) * 255, small, interpolation=cv2.INTER_AREA)
        inside, thing = kept >= min(254, int(kept.max())), None
    else:
        shown = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(white)
        thing = _object_of(shown)
        inside = _detailed(shown) if thing is None else thing
    room = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    room = room * np.float32(image.shape[0] / small[1])
    return Study(image, white, region, room, None if thing is None else blur(thing.astype(np.float32), 0.6))


def white_level(brightest: int) -> int:
    """The white of a camera of 10, 12, 14 or 16 bits whose pixels go up to `brightest`."""
    return next(level for level in _WHITE if brightest <= level)


def ground_of(shown: Plane) -> NDArray[np.bool_]:
    """(h, w) bool: what a flood from the border reaches, over pixels that look like the border where it began.

    Args:
        shown: (h, w) or (h, w, 3) float32 of a small picture, 0 black and 1 white.
    """
    smooth = blur(shown, 1.0)
    height, width = shown.shape[:2]
    flooded = np.zeros((height + 2, width + 2), np.uint8)
    step = max(4, (height + width) // 64)
    seeds = [(x, y) for y in (0, height - 1) for x in range(0, width, step)]
    seeds += [(x, y) for x in (0, width - 1) for y in range(0, height, step)]
    reach = (_FLOOD,) * 3
    for x, y in seeds:
        if not flooded[y + 1, x + 1]:
            cv2.floodFill(
                smooth, flooded, (x, y), 0, reach, reach, 8 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
            )
    ground: NDArray[np.bool_] = flooded[1:-1, 1:-1] > 0
    return ground


def is_plain(shown: Plane, where: NDArray[np.bool_]) -> bool:
    """Whether a part of a small picture, (h, w) bool, has as little detail as a background."""
    return float(np.percentile(_detail(shown)[where], 75)) < _PLAIN


def _object_of(shown: Plane) -> NDArray[np.bool_] | None:
    """(h, w) bool of the object before a plain background, by the rule that the module states; None without one."""
    ground = ground_of(shown)
    height, width = shown.shape[:2]
    grain = max(3, min(height, width) // 40) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grain, grain))
    rest = cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    compact = cv2.morphologyEx(rest, cv2.MORPH_OPEN, kernel)
    thing = _largest(compact)
    share, border = float(thing.mean()), _border(thing)
    if not 0.03 < share < 0.92 or border > 0.25 or compact.sum() < 0.85 * rest.sum() or thing.sum() < 0.6 * rest.sum():
        return None
    return thing if is_plain(shown, ~thing) else None


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The largest connected part of a mask, with its holes that a flood from the border did not reach."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros(mask.shape, np.bool_)
    found: NDArray[np.bool_] = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return found


def _border(mask: NDArray[np.bool_]) -> float:
    """Share of the frame's border that a mask covers."""
    return float(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean())


def _detailed(shown: Plane) -> NDArray[np.bool_]:
    """Where a picture has detail, about a third of what its more detailed half has, and what such places enclose."""
    side = min(shown.shape[:2])
    detail = blur(_detail(shown), side / 24)
    return filled(detail >= np.float32(0.35) * np.percentile(detail, 75))


def _detail(shown: Plane) -> Plane:
    """Local deviation of pixel values."""
    grey = shown if shown.ndim == 2 else shown.mean(axis=2)
    mean = blur(grey, 1.5)
    return np.sqrt(np.maximum(blur(np.square(grey), 1.5) - np.square(mean), 0))


def _noise(grey: Plane) -> float:
    """Deviation of white noise (Immerkaer, 1996), by the quieter quarter of pixels: texture counts little."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rest = np.abs(cv2.filter2D(grey, -1, kernel))
    usable = (grey > 0.01) & (grey < 0.985)
    values = rest[usable] if int(usable.sum()) > 64 else rest.ravel()
    return float(min(np.percentile(values, 25) / 0.3186 / 6, 0.08))


def _blur_sigma(grey: Plane, noise: float) -> float:
    """Width of the sharpest edges, by what a second blur takes from their gradient (Zhuo and Sim, 2011)."""
    first, second = _gradient(grey), _gradient(blur(grey, 1.0))
    edges = first >= max(float(np.percentile(first, 98.5)), 5 * noise, 0.01)
    if int(edges.sum()) < 12:
        return 0.7
    ratio = float(np.percentile(first[edges] / np.maximum(second[edges], 1e-6), 60))
    return float(np.clip(1 / np.sqrt(max(ratio**2 - 1, 1e-3)), 0.45, 2.5))


def _gradient(grey: Plane) -> Plane:
    dx, dy = np.zeros_like(grey), np.zeros_like(grey)
    dx[:, 1:-1], dy[1:-1] = grey[:, 2:] - grey[:, :-2], grey[2:] - grey[:-2]
    return np.hypot(dx, dy) / np.float32(2)


def _mirrored(start: int, n: int, size: int) -> NDArray[np.intp]:
    """Indices of n pixels from `start` on, folded back into 0..size-1 at both ends."""
    at = np.abs(np.arange(start, start + n)) % (2 * size - 2)
    return np.where(at < size, at, 2 * size - 2 - at)
