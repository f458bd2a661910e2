"""Copies of what the station inspects with, by the id of their content: bundles and masks.

A Runtime is opened from the copy, so nobody changes the file under it, and a part can be inspected again with the
bundle that judged it, long after another one came.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleError, FrameError, SpecError
from edge_ad.frames.check import read_frame
from edge_ad.system.files import write_file
from edge_ad.system.inputs import read_input

Mask = NDArray[np.uint8]


def keep_bundle(data: Path, path: Path) -> tuple[str, Path]:
    """Verifies a bundle and keeps a copy; returns its id and the copy.

    Raises:
        BundleError: it cannot be used.
        OSError: it cannot be copied.
    """
    with Bundle.open(path, points=()) as bundle:
        identity = bundle.id
    kept = bundle_path(data, identity)
    if not _is_sound(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, [read_input(path, most=2**32)])
    with Bundle.open(kept, points=()) as bundle:  # it may have changed between the two
        return bundle.id, kept if bundle.id == identity else _other(kept, bundle.id)


def _is_sound(kept: Path) -> bool:
    """Whether there is a copy that nothing has damaged."""
    try:
        with Bundle.open(kept, points=()):
            return True
    except (BundleError, OSError):
        return False


def _other(kept: Path, identity: str) -> Path:
    kept.unlink()
    raise SpecError(f"the bundle changed while it was copied; got {identity}", remedy="It is looked at again soon.")


def bundle_path(data: Path, identity: str) -> Path:
    """Where the copy of a bundle lies."""
    return data / "bundles" / f"{identity}.bundle"


def keep_mask(data: Path, path: Path) -> tuple[str, Mask]:
    """Reads a mask and keeps a copy; returns its id and the mask, (H, W) u8.

    Raises:
        FrameError: it is no grey image.
        OSError: it cannot be copied.
    """
    mask = read_frame(path)
    if mask.ndim == 3 and (mask[..., :1] == mask).all():
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise FrameError(
            f"{path} is no mask", expected="a grey image, above 0 where parts are inspected", got="colours"
        )
    plain = ((mask > 0) * 255).astype(np.uint8)
    identity = hashlib.sha256(f"{plain.shape}".encode() + plain.tobytes()).hexdigest()[:16]
    kept = mask_path(data, identity)
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_file(kept, [cv2.imencode(".png", plain)[1].tobytes()])
    return identity, plain


def mask_path(data: Path, identity: str) -> Path:
    """Where the copy of a mask lies."""
    return data / "masks" / f"{identity}.png"


def kept_mask(data: Path, identity: str) -> Mask | None:
    """The kept mask of an id, (H, W) u8; None for "".

    Raises:
        FrameError: it is not there any more, or damaged.
    """
    return read_frame(mask_path(data, identity)).astype(np.uint8) if identity else None
