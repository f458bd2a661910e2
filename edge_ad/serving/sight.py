"""One input size of an operating point, opened on this PC: frame -> tensor -> patches -> distances and score, map.

The engine gets the tensor whole, or tile by tile; nothing else knows which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.bundle.roi import open_roi
from edge_ad.engines import Engine, Models, open_engine
from edge_ad.errors import BundleCorruptError
from edge_ad.frames.crop import Crop
from edge_ad.frames.roi import RoiMasks
from edge_ad.frames.tiles import tiles_of
from edge_ad.heads import open_head
from edge_ad.heads.base import Opening, Scored, TileHead
from edge_ad.registry import PRECISIONS
from edge_ad.serving.clock import Stopwatch
from edge_ad.serving.settings import Settings
from edge_ad.serving.tiled import Kept, Tiled
from edge_ad.spec import Size, Tensor
from edge_ad.verdict.anomaly_map import anomaly_map, map_peak


class Sight:
    """Crop, region of interest, engine and head of one input size. Immutable once made; threads may share it.

    Args:
        bundle: of one input size: an item of `Bundle.sights`.
        engine: name of the engine.
        settings: what the operating point is opened with.
        pool: threads of the operating point.
        beyond: as `Crop` takes it.

    Raises:
        SpecError: a setting is out of range.
        BundleCorruptError: a member does not fit the manifest.
        EngineError: the engine refuses the models.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: str,
        settings: Settings,
        pool: native.Pool,
        beyond: NDArray[np.uint8] | None = None,
    ) -> None:
        spec = bundle.manifest
        self._backbone, self.roi = spec.backbone, open_roi(bundle)
        self.crop = Crop(spec.frame, spec.backbone, spec.roi, self.roi.pixels, pool, beyond)
        compiled = partial(_open_engine, bundle, engine, settings)
        # a frame is one call; of tiles there are many, and one thread for each is faster
        self.engine = compiled() if spec.backbone.tiles is None else compiled(streams=settings.threads)
        self._tiled = None if spec.backbone.tiles is None else self._tile(self.roi)
        self.head = open_head(Opening(bundle, self.roi.rows, pool, settings.search, compiled))

    def look(self, tensor: Tensor, roi: RoiMasks, watch: Stopwatch, *, exact: bool = False) -> Scored:
        """What the head makes of the (1, H, W, 3) u8 tensor that `crop` has made.

        Args:
            roi: a region that `within` gave.
            watch: gets the laps "engine" and "head".
            exact: searches without the graph, as tiles always do.

        Raises:
            EngineError: the engine failed.
            BundleCorruptError: the model gives others than the manifest says.
        """
        if self._tiled is None:
            patches = self._run(tensor)
            watch.lap("engine")
            scored = self._score(patches, roi, exact=exact)
        else:
            head = cast(TileHead, self.head)  # `Manifest` has seen to it
            own = roi is self.roi
            tiled = self._tiled if own else self._tile(roi)
            found = tiled.find(tensor, head, watch)
            scored = head.judge(found, tiled.vector(tensor), None if own else roi.rows)
        watch.lap("head")
        return scored

    def probe(self, tensor: Tensor, rows: NDArray[np.int32] | None) -> tuple[NDArray[np.float32], Scored]:
        """Patches of a tensor, and what the head makes of it by exact search.

        Args:
            rows: row-major numbers, in the grid, of the patches that are wanted; None for all P. A frame in tiles has
                patches in the region of interest only; the others are 0.

        Raises:
            EngineError, BundleCorruptError: as `look`.
        """
        if self._tiled is None:
            patches = self._run(tensor)
            return patches if rows is None else patches[rows], self.head(patches, exact=True)
        every = np.arange(self._backbone.grid[0] * self._backbone.grid[1], dtype=np.int32)
        wanted, inside = every if rows is None else rows, every if self.roi.rows is None else self.roi.rows
        numbers = np.minimum(np.searchsorted(inside, wanted), len(inside) - 1).astype(np.int32)
        known = inside[numbers] == wanted
        kept, head = Kept(numbers[known], self._backbone.dim), cast(TileHead, self.head)
        scored = head.judge(self._tiled.find(tensor, head, kept=kept), self._tiled.vector(tensor))
        found = np.zeros((len(wanted), self._backbone.dim), np.float32)
        found[known] = kept.vectors
        return found, scored

    def _run(self, tensor: Tensor) -> NDArray[np.float32]:
        """(P, D) patches of what the engine gets at once."""
        patches, grid = self.engine(tensor), self._backbone.engine_grid
        expected = (grid[0] * grid[1], self._backbone.dim)
        if patches.shape != expected or patches.dtype != np.float32:
            raise BundleCorruptError(
                "the model gives other patches than the manifest says",
                expected=f"{expected} float32",
                got=f"{patches.shape} {patches.dtype}",
            )
        return patches

    def within(self, mask: NDArray[np.bool_] | None) -> RoiMasks:
        """The bundle's region of interest, or the part of it that is inside an (H, W) mask of the frame.

        Raises:
            FrameError: nothing of it is.
        """
        return self.roi if mask is None else self.roi.within(mask, self._backbone)

    def _tile(self, roi: RoiMasks) -> Tiled:
        return Tiled(tiles_of(self._backbone, roi), self._run, self.engine.streams, roi.count, self._backbone.dim)

    def _score(self, patches: NDArray[np.float32], roi: RoiMasks, *, exact: bool) -> Scored:
        """What the head makes of (P, D) patches, inside a region that `within` gave."""
        if roi is self.roi:
            return self.head(patches, exact=exact)
        scored: Scored = self.head(patches, exact=exact, rows=roi.rows)  # type: ignore[call-arg] # `masked` heads alone
        return scored

    def peak(self, scored: Scored, roi: RoiMasks) -> float:
        """Peak of the map of a frame, at the scale of the tensor (`map_peak`)."""
        size, covered = self._backbone.tensor_size, self._backbone.covered
        return map_peak(roi.to_grid(scored.distances), roi.patches, roi.pixels, size, covered, scored.sigma_px)

    def renderer(self, frame_size: Size, scored: Scored, roi: RoiMasks) -> Callable[[], NDArray[np.float32]]:
        """Renders the map of a frame of (H, W) `frame_size` when called. It pickles, and does not hold the Sight."""
        size, box = self._backbone.tensor_size, self.crop.box(frame_size)
        plane, covered, sigma = roi.to_grid(scored.distances), self._backbone.covered, scored.sigma_px
        return partial(anomaly_map, plane, roi.patches, roi.pixels, size, box, frame_size, covered, sigma)


def _open_engine(
    bundle: Bundle, name: str, settings: Settings, models: Models | None = None, streams: int | None = None
) -> Engine:
    """Compiles models, by default the backbone's."""
    arithmetic, models = PRECISIONS[bundle.manifest.backbone.precision].arithmetic, models or models_of(bundle)
    device, threads = settings.device, settings.threads
    return open_engine(
        name, models, device=device, threads=threads, precision=arithmetic, streams=streams or settings.streams
    )
