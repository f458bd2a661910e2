"""Computes the patches of the good images with the backbone graph and the runtime's own stages."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines import Engine
from edge_ad.engines.ahead import run_ahead
from edge_ad.engines.finite import require_finite
from edge_ad.errors import DatasetError
from edge_ad.frames.capture import open_frame
from edge_ad.frames.crop import Crop
from edge_ad.sources.prefetch import prefetch
from edge_ad.spec import FrameSpec, Tensor
from edge_ad.system.progress import Progress

_IN_MEMORY = 2**31  # bytes of patches; more are stored on disk
_ZEROS = bytes(2**20)


def tensors(paths: Sequence[Path], frame: FrameSpec, crop: Crop) -> Iterator[Tensor]:
    """(1, H, W, 3) tensors of image files or stacks, u8 or float32. A thread reads ahead."""

    def prepare(source: Iterator[Path]) -> Tensor:
        return crop(open_frame(next(source), frame)[0], from_file=True)

    return prefetch(paths, prepare)


@contextlib.contextmanager
def patch_store(shape: tuple[int, int, int], folder: Path) -> Iterator[NDArray[np.float32]]:
    """An (images, R, D) float32 array: in memory, or above 2 GiB in a temporary file without a name in `folder`.

    Raises:
        DatasetError: there is not enough space for the file.
    """
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if size <= _IN_MEMORY:
        yield np.empty(shape, np.float32)
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            _reserve(file, size)
        except OSError as error:
            raise DatasetError(
                "there is not enough disk space for the patches of all images",
                expected=f"{size / 1e9:.1f} GB free in {folder}",
                got=error.strerror,
                remedy="Free some space, write the bundle to another disk, or give fewer images.",
            ) from error
        yield np.memmap(file, np.float32, "r+", shape=shape)


def _reserve(file: IO[bytes], size: int) -> None:
    """Gives an empty file `size` bytes of the disk, so that a full disk is an error here and no SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, len(_ZEROS)):  # Windows and macOS have no such call
        file.write(_ZEROS[: size - start])
    file.flush()


def stream(
    paths: Sequence[Path], frame: FrameSpec, crop: Crop, engine: Engine, rows: NDArray[np.int32] | None
) -> Iterator[NDArray[np.float32]]:
    """(R, D) patches of each image: the `rows` of the grid that are in the region.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    for path, patches in zip(paths, run_ahead(engine, engine.streams, tensors(paths, frame, crop)), strict=True):
        if rows is not None:
            patches = patches[rows]
        by = f"{engine.name} {engine.version} in {engine.precision}"
        require_finite(patches, of=str(path), by=by, remedy="Check the weights of the backbone.")
        yield patches


def extract(
    out: NDArray[np.float32],
    paths: Sequence[Path],
    frame: FrameSpec,
    crop: Crop,
    engine: Engine,
    rows: NDArray[np.int32] | None,
    label: str = "features",
) -> None:
    """Fills `out` (images, R, D) with the patches of the images: the `rows` of the grid that are in the region.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    with Progress(label, len(paths), unit="images") as progress:
        for i, patches in enumerate(stream(paths, frame, crop, engine, rows)):
            out[i] = patches
            progress.update(1)
