"""What the page shows of a capture: verdict, pictures and words, or why there is no verdict. It knows no Gradio."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_ad.demo import words
from edge_ad.errors import BundleError, FrameError
from edge_ad.evaluation.pictures import Look, Style, fitted, heat_by, outlined, overlay
from edge_ad.frames.capture import as_lit, picture_of
from edge_ad.registry import METHODS
from edge_ad.runtime import Runtime
from edge_ad.serving.reconstruct import Reconstructor
from edge_ad.spec import Manifest
from edge_ad.system.entry import describe_error
from edge_ad.system.names import printable
from edge_ad.verdict.overlay import Picture, colors_of
from edge_ad.verdict.verdict import Verdict

SHOWN_SIDE = 1280  # longest side of a picture on the page: more than a browser has room for, and quick to send


@dataclass(frozen=True)
class Seen:
    """A capture that was inspected.

    Attributes:
        name: of the capture, for people.
        files: what it was read from.
        verdict: at the bundle's own threshold.
        picture: (H, W, 3) u8 BGR, what was inspected; of a stack its normal map.
        reconstruction: (H, W, 3) u8 BGR; None if the method reconstructs nothing.
    """

    name: str
    files: tuple[Path, ...]
    verdict: Verdict
    picture: Picture
    reconstruction: Picture | None


@dataclass(frozen=True)
class Refused:
    """A capture that has no verdict.

    Attributes:
        name: of the capture, for people.
        files: what was to be read.
        why: the error's text.
    """

    name: str
    files: tuple[Path, ...]
    why: str


@dataclass(frozen=True)
class View:
    """What stands on the page. A picture that is None is not there.

    Attributes:
        card: HTML: the verdict, and the score on the scale of the threshold; or the error.
        facts: HTML: a table.
        picture, overlay, reconstruction, heat: (H, W, 3) u8 BGR, the longest side `SHOWN_SIDE` at most.
    """

    card: str
    facts: str
    picture: Picture | None = None
    overlay: Picture | None = None
    reconstruction: Picture | None = None
    heat: Picture | None = None


class Inspector:
    """Inspects files with the operating points of a bundle. Safe to share between threads.

    Args:
        path: the bundle.
        options: as `edge_ad.Runtime` takes them; `point` is the first point.

    Raises:
        EdgeADError: the bundle, its first point or an option cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        self._path, self._options, self._lock = path, options, threading.Lock()
        first = Runtime(path, **options)
        self._id, self.manifest, self.first = first.bundle_id, first.manifest, first.point
        self._open = {first.point: (first, self._reconstructor(first))}

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the bundle's operating points."""
        return self.manifest.point_names

    @property
    def reconstructs(self) -> bool:
        """Whether the method gives pictures as they should be."""
        return METHODS[self.manifest.head.method].reconstructs

    @property
    def has_map(self) -> bool:
        """Whether the method gives an anomaly map."""
        return METHODS[self.manifest.head.method].has_map

    @property
    def takes_stacks(self) -> bool:
        """Whether a capture is several pictures."""
        return self.manifest.frame.stack is not None

    def inspect(self, files: Sequence[Path], name: str, point: str) -> Seen | Refused:
        """The verdict on a capture, at the bundle's threshold; or why there is none. It raises no exception.

        Args:
            files: an image file; of a bundle of stacks the files of a stack, or its folder.
            name: of the capture, for people.
            point: name of the operating point.
        """
        kept = tuple(files)
        try:
            capture = self._capture(kept)
            runtime, reconstructor = self._at(point)
            verdict = runtime.inspect(capture)
            picture = picture_of(capture, self.manifest.frame)
            reconstruction = None if reconstructor is None else reconstructor(capture)
        except Exception as error:  # whatever went wrong: the page says so, and there is no verdict
            return Refused(printable(name), kept, _without_folders(describe_error(error), kept))
        return Seen(printable(name), kept, verdict, picture, reconstruction)

    def _capture(self, files: Sequence[Path]) -> Any:
        if not self.takes_stacks:
            if len(files) != 1:
                raise FrameError("this bundle inspects one picture at a time", expected="a file", got=len(files))
            return files[0]
        return files[0] if len(files) == 1 and files[0].is_dir() else as_lit(files)

    def _at(self, point: str) -> tuple[Runtime, Reconstructor | None]:
        """Opens a point when it is first asked for."""
        with self._lock:
            if point not in self._open:
                runtime = Runtime(self._path, **{**self._options, "point": point})
                if runtime.bundle_id != self._id:
                    raise BundleError(
                        f"{self._path} was replaced while the page was open",
                        expected=f"bundle {self._id}",
                        got=runtime.bundle_id,
                        remedy="Start edge-ad demo again.",
                    )
                self._open[point] = runtime, self._reconstructor(runtime)
            return self._open[point]

    def _reconstructor(self, runtime: Runtime) -> Reconstructor | None:
        if not METHODS[runtime.manifest.head.method].reconstructs:
            return None
        return Reconstructor(
            self._path,
            point=runtime.point,
            engine=runtime.engine,
            device=self._options.get("device", "CPU"),
            threads=runtime.threads,
        )


def view(seen: Seen | Refused | None, factor: float, style: Style, manifest: Manifest) -> View:
    """What the page shows.

    Args:
        seen: None shows that there is nothing yet.
        factor: the threshold on the page, in thresholds of the bundle's operating point.
        style: of the overlay.
        manifest: of the bundle.
    """
    if seen is None:
        return View(words.nothing_yet(stacks=manifest.frame.stack is not None), "")
    if isinstance(seen, Refused):
        return View(words.refused(seen.name, seen.why), "")
    verdict = seen.verdict.at_threshold(factor * seen.verdict.threshold)
    card = words.verdict_card(verdict, seen.verdict.threshold)
    facts = words.facts_table(seen.name, verdict, seen.verdict.threshold, manifest)
    reconstruction = None if seen.reconstruction is None else _shrunk(seen.reconstruction)
    if not verdict.has_map or verdict.pixel_threshold is None:
        return View(card, facts, _shrunk(seen.picture), reconstruction=reconstruction)
    heat = heat_by(seen.verdict.anomaly_map, verdict.pixel_threshold, style)
    look = Look(seen.picture, verdict.mask, heat)
    if max(look.image.shape) > SHOWN_SIDE:
        look = fitted(look, (SHOWN_SIDE, SHOWN_SIDE))
    assert look.heat is not None  # it was given
    drawn = outlined(overlay(look.image, look.heat, style), look.mask)
    return View(card, facts, look.image, drawn, reconstruction, colors_of(look.heat))


def thumbnail(picture: Picture, side: int) -> Picture:
    """(side, side, 3) u8 BGR: the picture, whole, on a light ground."""
    small = _scaled(picture, side)
    height, width = small.shape[:2]
    ground = np.full((side, side, 3), 238, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    ground[top : top + height, left : left + width] = small
    return ground


def _shrunk(picture: Picture) -> Picture:
    return picture if max(picture.shape) <= SHOWN_SIDE else _scaled(picture, SHOWN_SIDE)


def _scaled(picture: Picture, side: int) -> Picture:
    """With this longest side."""
    scale = side / max(picture.shape)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=smooth), np.uint8)


def _without_folders(text: str, files: Sequence[Path]) -> str:
    """An error's text with the names of the files alone: where the page keeps an upload says nothing to a person."""
    for file in files:
        text = text.replace(f"{file.parent}{os.sep}", "")
    return text
