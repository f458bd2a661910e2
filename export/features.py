"""Features of the good images, through the backbone graph and the runtime's own stages."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.anomaly_map import anomaly_map
from edge_ad.cli.progress import Progress
from edge_ad.crop import Crop
from edge_ad.engines import Engine
from edge_ad.errors import EngineError
from edge_ad.frame import check_frame, read_frame
from edge_ad.heads.patchcore import image_score
from edge_ad.index import Index
from edge_ad.prefetch import prefetch
from edge_ad.spec import FrameSpec, Size

_IN_MEMORY = 2**31  # bytes of patches; beyond that they are put on disk


def tensors(paths: Sequence[Path], frame: FrameSpec, crop: Crop) -> Iterator[NDArray[np.uint8]]:
    """(1, H, W, 3) u8 tensors of image files, read ahead by a thread."""

    def prepare(source: Iterator[Path]) -> NDArray[np.uint8]:
        return crop(check_frame(read_frame(next(source)), frame), from_file=True)

    return prefetch(paths, prepare)


@contextlib.contextmanager
def patch_store(shape: tuple[int, int, int], folder: Path) -> Iterator[NDArray[np.float32]]:
    """An (images, R, D) float32 array: in memory, or beyond 2 GiB in a temporary file under `folder`."""
    if 4 * int(np.prod(shape, dtype=np.int64)) <= _IN_MEMORY:
        yield np.empty(shape, np.float32)
        return
    spill = Path(tempfile.mkdtemp(prefix=".edge-ad-patches-", dir=folder))
    try:
        yield np.memmap(spill / "patches.f32", np.float32, "w+", shape=shape)
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def extract(
    out: NDArray[np.float32],
    paths: Sequence[Path],
    frame: FrameSpec,
    crop: Crop,
    engine: Engine,
    rows: NDArray[np.int32] | None,
) -> None:
    """Fills `out` (images, R, D) with the patches of the images, those `rows` of the grid that are in the region.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    with Progress("features", len(paths), unit="images") as progress:
        for i, tensor in enumerate(tensors(paths, frame, crop)):
            patches = engine(tensor)
            out[i] = patches if rows is None else patches[rows]
            if not np.isfinite(out[i]).all():
                raise EngineError(
                    f"the patches of {paths[i]} hold NaN or Inf",
                    expected="finite numbers",
                    got=f"from {engine.name} in {engine.precision}",
                    remedy="Check the weights of the backbone.",
                )
            progress.update(1)


def held_out_scores(
    patches: NDArray[np.float32],
    index: Index,
    neighbors: int,
    patch_mask: NDArray[np.bool_] | None,
    grid: Size,
    tensor_size: Size,
) -> tuple[list[float], list[float]]:
    """Image scores and peaks of the anomaly maps of held-out images.

    Args:
        patches: (images, R, D).
        index: over a coreset that these images had no part in; it searches exactly.
        neighbors: b of Eq. 7, 0 for the plain maximum.
        patch_mask, grid, tensor_size: as in the bundle.
    """
    scores, peaks = [], []
    for image in patches:
        image = np.ascontiguousarray(image)
        distances, nearest = index.exact(image, None)
        scores.append(image_score(image, distances, nearest, None, index.coreset.vectors, neighbors))
        plane = np.zeros(grid, np.float32)
        plane[np.ones(grid, np.bool_) if patch_mask is None else patch_mask] = distances
        box = (0, 0, *tensor_size)
        peaks.append(float(anomaly_map(plane, patch_mask, None, tensor_size, box, tensor_size).max()))
    return scores, peaks
