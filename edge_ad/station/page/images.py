"""Kept pictures for a browser: smaller, as JPEG. Small ones stay in memory.

One is made at a time: this PC's cores are there for the parts.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np

from edge_ad.station.journal import KEPT, Row
from edge_ad.station.pictures import overlay_of

THUMB, FULL = 256, 1600  # longest sides in pixels
_MOST = 2000  # small ones in memory, some 10 kB each


class Images:
    """See the module. Thread-safe.

    Args:
        data: the data folder; each picture is in its folder `pictures`.
    """

    def __init__(self, data: Path) -> None:
        self._data, self._folder = data, (data / "pictures").resolve()
        self._small: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._making, self._lock = threading.Lock(), threading.Lock()

    def path(self, row: Row) -> Path | None:
        """The kept frame; None where there is none."""
        if row.kept != KEPT or not row.picture:
            return None
        path = (self._data / row.picture).resolve()
        return path if path.is_relative_to(self._folder) and path.is_file() else None

    def overlay(self, row: Row) -> Path | None:
        """The overlay beside it; None where there is none."""
        frame = self.path(row)
        return None if frame is None or not overlay_of(frame).is_file() else overlay_of(frame)

    def thumb(self, row: Row) -> bytes | None:
        """A small JPEG of the overlay, or of the frame where there is none; None without a picture."""
        path = self.overlay(row) or self.path(row)
        if path is None:
            return None
        try:
            key = str(path), path.stat().st_mtime_ns
        except OSError:  # retention was here
            return None
        with self._lock:
            if key in self._small:
                self._small.move_to_end(key)
                return self._small[key]
        made = self.jpeg(path, THUMB)
        if made is not None:
            with self._lock:
                self._small[key] = made
                while len(self._small) > _MOST:
                    self._small.popitem(last=False)
        return made

    def jpeg(self, path: Path, longest: int = FULL) -> bytes | None:
        """A picture as JPEG, its longest side so many pixels at most; None where it cannot be read."""
        with self._making:
            try:
                data = np.fromfile(path, np.uint8)
            except OSError:
                return None
            picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
            if picture is None:
                return None
            height, width = picture.shape[:2]
            factor = longest / max(height, width)
            if factor < 1:
                size = max(1, round(width * factor)), max(1, round(height * factor))
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            if picture.dtype == np.uint16:
                picture = (picture >> 8).astype(np.uint8)
            done, made = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
            return made.tobytes() if done else None
