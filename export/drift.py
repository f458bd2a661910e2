"""What good images are like, for the drift monitor of a station: measured as it measures frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.drift import Reference, drift_members
from edge_ad.bundle.file import Members
from edge_ad.frames.align import Aligner
from edge_ad.frames.check import check_frame, read_frame
from edge_ad.frames.roi import RoiMasks
from edge_ad.monitor.statistics import Gauge, thumbnail
from edge_ad.spec import Manifest
from edge_ad.system.progress import Progress
from export.summary import Summary

T = TypeVar("T")
MOST_IMAGES = 200  # that are measured: more would hardly make the monitor see smaller changes
_THEN = 320  # pixels of the longer side of the picture of a typical good image


def with_drift(
    manifest: Manifest,
    members: Members,
    good_images: Sequence[Path],
    masks: RoiMasks,
    aligner: Aligner | None,
    summary: Summary,
    before: Reference | None = None,
) -> tuple[Manifest, Members]:
    """The manifest and the members with what the good images are like. Stacks are not measured: they stay as they are.

    Args:
        masks: the region of interest at the first input size of the reference point.
        before: what the bundle knew already, where it learns more; its picture stays.

    Raises:
        FrameError: an image cannot be read.
    """
    if manifest.frame.stack is not None:
        return manifest, members
    paths = _some(good_images)
    gauge, rows, white = Gauge(manifest.frame, manifest.backbone, masks), [], manifest.frame.white_level
    with summary.stage("drift"), Progress("measuring", len(paths), unit="images") as progress:
        for path in paths:
            pixels = check_frame(read_frame(path), manifest.frame, f"{path}")
            rows.append(gauge.measure(pixels, None if aligner is None else aligner.find(pixels)))
            progress.update(1)
        if before is None:
            then = thumbnail(read_frame(paths[_typical(rows)]), white, _THEN)
        else:
            then, rows = before.then, _some([*_rows(before), *rows])
    spec, more = drift_members(rows, then)
    return replace(manifest, drift=spec), {**members, **more}


def _some(items: Sequence[T]) -> list[T]:
    """As many as are measured, evenly from the first to the last."""
    if len(items) <= MOST_IMAGES:
        return list(items)
    return [items[at] for at in np.linspace(0, len(items) - 1, MOST_IMAGES).round().astype(int)]


def _typical(rows: Sequence[dict[str, float]]) -> int:
    """The number of the image that is nearest to the medians, in units of the spread."""
    far = np.zeros(len(rows))
    for name in {name for row in rows for name in row}:
        values: NDArray[np.float64] = np.array([row.get(name, np.nan) for row in rows])
        from_middle = np.abs(values - np.nanmedian(values))
        spread = float(np.nanmedian(from_middle))
        far += np.nan_to_num(from_middle / spread, nan=10.0) if spread > 0 else 0.0
    return int(far.argmin())


def _rows(reference: Reference) -> list[dict[str, float]]:
    columns = reference.values.items()
    count = max((len(column) for _, column in columns), default=0)
    return [{name: float(column[at]) for name, column in columns if at < len(column)} for at in range(count)]
