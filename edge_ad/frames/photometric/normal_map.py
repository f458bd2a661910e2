"""A normal map as a frame, as a picture and as files.

As a frame it is (H, W, 3) float32, 127.5 (n + 1), with z, y, x in place of B, G, R; where there is no normal n is 0 and
the frame is middle grey, which no surface is. So a hole or a failed light never looks like a flat, good surface.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.picture import to_u8
from edge_ad.system.files import write_output

_HALF = np.float32(127.5)


def to_frame(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) float32 frame of (H, W, 3) float32 normals x, y, z. Nothing is rounded."""
    return np.ascontiguousarray(normals[..., ::-1]) * _HALF + _HALF


def to_normals(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (H, W, 3) float32 normals x, y, z of a frame."""
    return np.ascontiguousarray((frame * np.float32(1 / 127.5) - np.float32(1))[..., ::-1])


def normal_files(folder: Path, name: str) -> tuple[Path, Path]:
    """N_NAME.npy and N_NAME.png in a folder."""
    return folder / f"N_{name}.npy", folder / f"N_{name}.png"


def write_normals(folder: Path, name: str, normals: NDArray[np.float32]) -> None:
    """Writes N_NAME.npy, float32 (H, W, 3) x, y, z in [-1, 1], and N_NAME.png, its picture.

    Raises:
        EdgeADError: a file cannot be written.
    """
    array, picture = normal_files(folder, name)
    data = io.BytesIO()
    np.save(data, np.clip(normals, -1, 1).astype(np.float32), allow_pickle=False)
    write_output(array, [data.getvalue()])
    write_output(picture, [cv2.imencode(".png", to_u8(to_frame(normals), 255))[1].tobytes()])
