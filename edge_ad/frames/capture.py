"""What a capture becomes: one picture stays a frame, a stack of pictures under several lights becomes a normal map.

Everything that reads or checks a frame for the pipeline calls `open_frame`; nothing else knows of stacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.check import check_frame, in_declared_order, read_frame
from edge_ad.frames.listing import list_images, natural_key
from edge_ad.frames.photometric.normal_map import to_frame
from edge_ad.frames.photometric.solve import Normals, check_pictures, require_light, solve
from edge_ad.frames.picture import to_picture
from edge_ad.native import Pool
from edge_ad.spec import Frame, FrameSpec, Pixels, Size, StackSpec

AMBIENT = "ambient"  # stem of the picture without the lights, which is the last of a stack


def open_frame(
    given: object,
    spec: FrameSpec,
    pool: Pool | None = None,
    *,
    judged: bool = True,
    when_read: Callable[[], None] = lambda: None,
) -> tuple[Frame, bool]:
    """A checked frame; and whether its colours are BGR whatever is declared, as those of files and normal maps are.

    Args:
        given: a picture as `check_frame` takes it, or an image file. Where `spec` has a stack: its pictures, as an
            (N, H, W) or (N, H, W, 3) array or a sequence of arrays and image files, or the folder that holds them.
        spec: the frames that the bundle declares.
        pool: threads for normals.
        judged: whether a stack is refused that fits the lights worse than `StackSpec` allows.
        when_read: called once the pixels are in memory and checked.

    Returns:
        (H, W) or (H, W, 3) u8 or u16; of a stack (H, W, 3) float32, see `edge_ad.frames.photometric.normal_map`.

    Raises:
        FrameError: it cannot be used; names the file.
    """
    if spec.stack is not None:
        return to_frame(surface_of(given, spec, pool, judged=judged, when_read=when_read).normals), True
    if isinstance(given, (str, os.PathLike)):
        frame, is_bgr = check_frame(read_frame(given), spec, os.fspath(given)), True
    else:
        frame, is_bgr = check_frame(given, spec), False
    when_read()
    return frame, is_bgr


def surface_of(
    given: object,
    spec: FrameSpec,
    pool: Pool | None = None,
    *,
    judged: bool = False,
    when_read: Callable[[], None] = lambda: None,
) -> Normals:
    """What photometric stereo makes of a stack. The arguments are those of `open_frame`.

    Raises:
        FrameError: it cannot be used.
    """
    stack, name = spec.stack, "the stack"
    assert stack is not None, "the frames are stacks"
    if isinstance(given, (str, os.PathLike)):
        name, given = os.fspath(given), pictures_in(given)
        _require_lights_on(given, stack, name)
    pictures = check_pictures(given, spec, stack.pictures, name)
    when_read()
    lit, ambient = pictures[: stack.lights.count], pictures[-1] if stack.ambient else None
    if judged:
        require_light(lit, name)
    found = solve(lit, stack.lights, spec, stack.method, ambient, None, pool)
    if judged:
        _require_fit(found, stack, name)
    return found


def read_capture(path: str | os.PathLike[str], spec: FrameSpec) -> Pixels:
    """A capture as `open_frame` takes it from a camera: a picture, or an (N, H, W) or (N, H, W, 3) array of a stack.

    Raises:
        FrameError: it cannot be used.
    """
    if spec.stack is None:
        return in_declared_order(check_frame(read_frame(path), spec, f"{path}"), spec)
    stack: Any = np.stack(check_pictures(pictures_in(path), spec, spec.stack.pictures, f"{path}"))
    return stack


def picture_of(given: object, spec: FrameSpec) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR picture of a capture, for people: of a stack its normal map.

    Raises:
        FrameError: it cannot be used.
    """
    frame, is_bgr = open_frame(given, spec, judged=False)
    return to_picture(frame, spec.white_level, rgb=spec.color_order == "rgb" and not is_bgr)


def resized(capture: Pixels, size: Size, spec: FrameSpec) -> Pixels:
    """A capture as a camera gives it, at another (H, W); a stack picture by picture."""
    if spec.stack is None:
        return cv2.resize(capture, (size[1], size[0]))
    stack: Pixels = np.stack([cv2.resize(picture, (size[1], size[0])) for picture in capture])
    return stack


def pictures_in(folder: str | os.PathLike[str]) -> list[str]:
    """The image files of a stack, in natural order; one with the name "ambient" is the last.

    Raises:
        FrameError: it is no folder of images.
    """
    path = Path(folder)
    try:
        if not path.is_dir():
            got = "a file" if path.exists() else "nothing there"
            raise FrameError(f"{path} is no stack", expected="a folder with a picture under each light", got=got)
        files = list_images(path)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        why = error.strerror or error if isinstance(error, OSError) else error
        raise FrameError(f"cannot read the folder {path}", got=why) from error
    return [str(file) for file in as_lit(files)]


def as_lit(files: Iterable[Path]) -> list[Path]:
    """The image files of a stack in the order of its lights: the natural order, and "ambient" as the last."""
    return sorted(files, key=lambda file: (file.stem.lower() == AMBIENT, natural_key(file)))


def _require_lights_on(files: Sequence[str], stack: StackSpec, name: str) -> None:
    """Refuses a picture without the lights where each is one under a light."""
    dark = [file for file in files if Path(file).stem.lower() == AMBIENT]
    if dark and not stack.ambient:
        raise FrameError(
            f"{name} has a picture without the lights",
            expected=f"{stack.pictures} pictures, one under each light",
            got=dark[0],
            remedy="Take it away, or export with --ambient.",
        )


def _require_fit(found: Normals, stack: StackSpec, name: str) -> None:
    share, residual = found.lit_share(), found.mean_residual()
    if share < stack.least_lit:
        raise FrameError(
            f"{name} has too little light",
            expected=f"a normal in {stack.least_lit:.1%} of the pixels or more",
            got=f"{share:.1%}",
            remedy="Is there a part? Did every light come on, with the exposure of the export?",
        )
    if not residual <= stack.most_residual:
        raise FrameError(
            f"the pictures of {name} do not fit together",
            expected=f"a mean residual of {stack.most_residual:.4f} of the albedo at most",
            got=f"{residual:.4f}",
            remedy="Did the part move between the pictures, or a light change? Calibrate the lights again if it stays.",
        )
