"""Pictures of an image: the original, its mask, its heat, and the heat over the original; by a method that
reconstructs, also the reconstruction, and all four beside one another. OpenCV alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.evaluation.metrics_row import read_mask
from edge_ad.evaluation.run import Inspected, Result, load_map, map_path
from edge_ad.frames.capture import picture_of
from edge_ad.spec import FrameSpec, Size
from edge_ad.system.files import write_output
from edge_ad.verdict.overlay import FULL, START, Picture, colors_of, heat_of, with_heat

AlphaMode = Literal["value", "flat"]
PARTS = ("img", "gt", "map", "overlay", "triptych")
MORE_PARTS = ("recon", "four")  # of methods that reconstruct
RESULTS = "results"  # folder of the folders below, for methods that reconstruct
FOLDERS = {"input": "img", "recon": "recon", "heatmap": "map", "mask": "gt"}  # each -> the part in it
WORST = 12  # how many defects, and how many good images, are drawn

_GAP_PX = 4
_OUTLINE = (255, 255, 255)


@dataclass(frozen=True)
class Style:
    """How heat is drawn.

    Attributes:
        clip_q: None scales heat by the pixel threshold, so that images are comparable. A quantile q (above 0.5, such as
            0.99) stretches the map of each image between its own quantiles 1 - q and q: this has more contrast, but it
            also shows the noise of a good image as heat.
        alpha_mode: "value": more heat is more opaque, from `alpha_min` without heat to `alpha_max` at half heat and
            above; "flat": `alpha_max` everywhere.
        gamma: exponent of the heat: below 1 strengthens faint heat, above 1 weakens it.
        blur: sigma of a Gaussian over the map, in pixels of the frame; 0 for none.

    Raises:
        SpecError: a number is out of its range.
    """

    clip_q: float | None = None
    alpha_mode: AlphaMode = "value"
    alpha_min: float = 0.0
    alpha_max: float = 0.55
    gamma: float = 1.0
    blur: float = 0.0

    def __post_init__(self) -> None:
        for name, value, ok, expected in (
            ("clip-q", self.clip_q, self.clip_q is None or 0.5 < self.clip_q <= 1, "above 0.5 and at most 1"),
            ("alpha-mode", self.alpha_mode, self.alpha_mode in get_args(AlphaMode), "value or flat"),
            ("alpha-min", self.alpha_min, 0 <= self.alpha_min <= self.alpha_max, "0 to alpha-max"),
            ("alpha-max", self.alpha_max, self.alpha_min <= self.alpha_max <= 1, "alpha-min to 1"),
            ("gamma", self.gamma, 0.05 <= self.gamma <= 20, "0.05 to 20"),
            ("blur", self.blur, 0 <= self.blur <= 200, "0 to 200 pixels"),
        ):
            if not ok:
                raise SpecError(f"--{name} is out of range", expected=expected, got=value)


@dataclass(frozen=True)
class Look:
    """What is drawn of an image, in frame pixels.

    Attributes:
        image: (H, W, 3) u8 BGR.
        mask: (H, W) bool; None if it is unknown.
        heat: (H, W) float32 in 0..1; None if the method gives no map.
        recon: (H, W, 3) u8 BGR, the image as it should be; None if the method reconstructs nothing.
    """

    image: Picture
    mask: NDArray[np.bool_] | None
    heat: NDArray[np.float32] | None
    recon: Picture | None = None


def look(scored: Inspected, folder: Path, pixel_threshold: float | None, frame: FrameSpec, style: Style) -> Look:
    """Reads image and mask, and makes heat from the saved map.

    Raises:
        FrameError: the image cannot be read any more.
    """
    image = picture_of(scored.path, frame)
    size = (image.shape[0], image.shape[1])
    mask = read_mask(scored.mask, size).pixels if scored.mask else None
    if scored.defect is None and mask is None:
        mask = np.zeros(size, np.bool_)
    heat = None
    if scored.has_map and pixel_threshold is not None:
        heat = heat_by(load_map(map_path(folder, scored.slug)), pixel_threshold, style)
    if heat is not None and heat.shape != size:
        raise EdgeADError(f"the map of {scored.name} is of another image", expected=size, got=heat.shape)
    return Look(image, mask, heat)


def heat_by(amap: NDArray[np.float32], pixel_threshold: float, style: Style) -> NDArray[np.float32]:
    """(H, W) float32 in 0..1 of an anomaly map, as the style says."""
    if style.blur > 0:
        amap = cv2.GaussianBlur(amap, (0, 0), style.blur)
    if style.clip_q is None:
        low, high = START * pixel_threshold, FULL * pixel_threshold
    else:
        low, high = (float(q) for q in np.quantile(amap, (1 - style.clip_q, style.clip_q)))
    return heat_of(amap, low, high, style.gamma)


def overlay(image: Picture, heat: NDArray[np.float32], style: Style) -> Picture:
    """(H, W, 3) u8 BGR: the heat over the image."""
    return with_heat(image, heat, style.alpha_min, style.alpha_max, by_value=style.alpha_mode == "value")


def outlined(image: Picture, mask: NDArray[np.bool_] | None) -> Picture:
    """A copy of the image with an outline around the mask, dark and light so that it is visible on any colour."""
    picture = image.copy()
    if mask is None or not mask.any():
        return picture
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(min(mask.shape) / 256))
    cv2.drawContours(picture, contours, -1, (0, 0, 0), 3 * width, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, _OUTLINE, width, cv2.LINE_AA)
    return picture


def draw(seen: Look, style: Style) -> dict[str, Picture]:
    """End of the file name -> picture. Pictures that cannot be drawn (unknown mask, no map) are left out.

    In the triptych a grey field takes their place.
    """
    shape = seen.image.shape
    field = np.full(shape, 64, np.uint8)
    pictures: dict[str, Picture] = {"img": seen.image}
    if seen.mask is not None:
        pictures["gt"] = np.where(seen.mask, np.uint8(255), np.uint8(0))
    if seen.heat is not None:
        pictures["map"] = colors_of(seen.heat)
        pictures["overlay"] = overlay(seen.image, seen.heat, style)
    truth = cv2.cvtColor(pictures["gt"], cv2.COLOR_GRAY2BGR) if "gt" in pictures else field
    heat = pictures.get("map", field)
    pictures["triptych"] = side_by_side([seen.image, truth, heat])
    if seen.recon is not None:
        pictures |= {"recon": seen.recon, "four": side_by_side([seen.image, seen.recon, heat, truth])}
    return pictures


def worst_defects(result: Result) -> list[Inspected]:
    """The defects with the lowest scores, the lowest first: misses, if there are any, come first."""
    return sorted((i for i in result.images if i.defect is not None), key=lambda i: i.score)[:WORST]


def worst_good(result: Result) -> list[Inspected]:
    """The good images with the highest scores, the highest first. False alarms, if there are any, come first."""
    return sorted((i for i in result.images if i.defect is None), key=lambda i: -i.score)[:WORST]


def write_pictures(
    images: Iterable[Inspected],
    folder: Path,
    pixel_threshold: float | None,
    frame: FrameSpec,
    style: Style,
    reconstruct: Callable[[str], Picture] | None = None,
) -> list[str]:
    """Removes older pictures, writes the pictures of each image into the folder, and returns their names.

    Args:
        reconstruct: gives the reconstruction of an image file. With it, there are also the `FOLDERS` in `RESULTS`.

    Raises:
        FrameError, EdgeADError: an image or its map was removed, or a picture cannot be written.
    """
    old_ones = [f"*_{part}.png" for part in (*PARTS, *MORE_PARTS)] + [f"{RESULTS}/{name}/*.png" for name in FOLDERS]
    for pattern in old_ones:
        for old in folder.glob(pattern):
            old.unlink()
    names: list[str] = []
    for image in images:
        seen = look(image, folder, pixel_threshold, frame, style)
        if reconstruct is not None:
            seen = replace(seen, recon=reconstruct(image.path))
        drawn = draw(seen, style)
        files = {f"{image.slug}_{part}.png": picture for part, picture in drawn.items()}
        if reconstruct is not None:
            for name, part in FOLDERS.items():
                (folder / RESULTS / name).mkdir(parents=True, exist_ok=True)
                if part in drawn:
                    files[f"{RESULTS}/{name}/{image.slug}.png"] = drawn[part]
        for file, picture in files.items():
            write_png(folder / file, picture)
        names += files
    return names


def write_png(path: Path, picture: Picture) -> None:
    """Writes a PNG.

    Raises:
        EdgeADError: it cannot be written.
    """
    write_output(path, [cv2.imencode(".png", picture)[1].tobytes()])


def fitted(seen: Look, box: Size) -> Look:
    """The same, shrunk to fit into (H, W) `box`."""
    height, width = seen.image.shape[:2]
    scale = min(box[0] / height, box[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    mask = seen.mask
    if mask is not None:  # keeps a thin crack: a pixel is defect if any part of it is
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=smooth) > (0 if scale < 1 else 0.5)
    heat = None if seen.heat is None else cv2.resize(seen.heat, size, interpolation=smooth)
    return Look(cv2.resize(seen.image, size, interpolation=smooth), mask, heat)


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one height next to each other, with a grey gap."""
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 160, np.uint8)
    return np.hstack([part for picture in pictures for part in (gap, picture)][1:])
