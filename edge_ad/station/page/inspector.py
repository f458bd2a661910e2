"""Inspections that a program asks for over HTTP. They are no parts: nothing is journalled, and the line is not asked.

They run here, in the process of the page, with the bundle, point and engine that the camera has in use, on one thread,
one at a time. So they take what the line leaves.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import FrameError
from edge_ad.frames.check import decode_frame, in_declared_order
from edge_ad.frames.image_file import HEAD_BYTES, image_kind, image_size
from edge_ad.runtime import Runtime
from edge_ad.spec import Manifest
from edge_ad.station.kept import Mask, bundle_path, kept_mask
from edge_ad.station.page.bridge import Bridge
from edge_ad.station.page.channel import UNKNOWN, RefusedError
from edge_ad.verdict.verdict import Verdict

_WAITING = 2  # beside the one that runs
_OPEN = 2  # Runtimes that are kept: a station usually has few bundles
_MOST_PIXELS = 2**26  # of an image that is sent: 67 megapixels
_BUNDLE = re.compile(r"[0-9a-f]{8,64}")


class BusyError(RefusedError):
    """As many inspections wait as may."""


@dataclass(frozen=True)
class Model:
    """A bundle that a camera has in use, or that the station has kept.

    Attributes:
        name: of the camera; "" where a bundle was asked for.
        bundle: its id.
        point, engine: "" where the bundle's own.
        roi: id of the camera's mask; "" without.
    """

    name: str
    bundle: str
    point: str = ""
    engine: str = ""
    roi: str = ""


class Inspector:
    """See the module. Thread-safe.

    Args:
        data: the data folder.
    """

    def __init__(self, bridge: Bridge, data: Path) -> None:
        self._bridge, self._data = bridge, data
        self._places = threading.BoundedSemaphore(1 + _WAITING)
        self._one = threading.Lock()
        self._open: dict[Model, tuple[Runtime, Mask | None]] = {}

    def model(self, camera: str, bundle: str = "") -> Model:
        """What is in use for a camera; or a kept bundle, where one is named. Without both, the only camera.

        Raises:
            RefusedError: there is no such camera or bundle.
        """
        if bundle:
            if not _BUNDLE.fullmatch(bundle) or not bundle_path(self._data, bundle).is_file():
                raise RefusedError(f"the station has kept no such bundle; got {bundle!r}", UNKNOWN)
            return Model("", bundle)
        cameras = self._bridge.state()["cameras"]
        if not camera and len(cameras) == 1:
            camera = cameras[0]["name"]
        told = self._bridge.camera(camera)
        return Model(camera, told["bundle"], told["point"], told["engine"], told["roi"])

    def inspect_image(self, model: Model, data: bytes) -> Verdict:
        """The verdict on an image file: PNG or JPEG.

        Raises:
            BusyError: too many wait.
            EdgeADError: there is no verdict.
        """
        kind, size = image_kind(data[:HEAD_BYTES]), image_size(data)
        if kind not in ("PNG", "JPEG"):
            raise FrameError("the image is not one that is taken here", expected="PNG or JPEG", got=kind or "no image")
        if size is not None and size[0] * size[1] > _MOST_PIXELS:
            raise FrameError("the image is too large", expected=f"{_MOST_PIXELS:,} pixels at most", got=size)
        return self._inspect(model, lambda manifest: in_declared_order(decode_frame(data, "the image"), manifest.frame))

    def inspect_array(self, model: Model, frame: np.ndarray) -> Verdict:
        """The verdict on an array, as `Runtime.inspect` takes it.

        Raises:
            BusyError: too many wait.
            EdgeADError: there is no verdict.
        """
        return self._inspect(model, lambda manifest: frame)

    def _inspect(self, model: Model, frame: Callable[[Manifest], Any]) -> Verdict:
        if not self._places.acquire(blocking=False):
            raise BusyError("an inspection runs, and others wait")
        try:
            with self._one:
                runtime, mask = self._runtime(model)
                return runtime.inspect(frame(runtime.manifest), roi=mask)
        finally:
            self._places.release()

    def _runtime(self, model: Model) -> tuple[Runtime, Mask | None]:
        found = self._open.pop(model, None)
        if found is None:
            while len(self._open) >= _OPEN:
                del self._open[next(iter(self._open))]
            path = bundle_path(self._data, model.bundle)
            runtime = Runtime(path, engine=model.engine or "auto", point=model.point or None, threads=1)
            found = runtime, kept_mask(self._data, model.roi)
        self._open[model] = found  # the newest stands last
        return found
