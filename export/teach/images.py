"""The good images that `edge-ad teach` is given, as a bundle can learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_ad.data.given import check_frames, find_images, names_of
from edge_ad.data.layouts import look_at_images
from edge_ad.errors import DatasetError
from edge_ad.spec import FrameSpec
from edge_ad.system.progress import Progress
from export.summary import Summary

__all__ = ["check_for", "find_images"]


def check_for(frame: FrameSpec, paths: Sequence[Path], skip_bad: bool, summary: Summary) -> list[Path]:
    """The images that a bundle for such frames can learn from: readable, and each picture once.

    Raises:
        DatasetError: one cannot be read, or is no frame of this bundle; or none is left.
    """
    with Progress("reading", len(paths), unit="images") as progress:
        seen, bad = look_at_images(paths, skip_bad, progress)
    if bad:
        summary.say("left out", f"{len(bad)} unreadable: {names_of([path for path, _ in bad])}")
    first: dict[bytes, Path] = {}
    for path, look in seen.items():
        first.setdefault(look.digest, path)
    if copies := [path for path, look in seen.items() if first[look.digest] is not path]:
        summary.say("left out", f"{len(copies)} copies of other images: {names_of(copies)}")
    if not first:
        raise DatasetError("there is no image to learn from", expected="1 or more that can be read", got="none")
    check_frames(frame, {path: seen[path] for path in first.values()})
    return list(first.values())
