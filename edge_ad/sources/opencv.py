"""What videos, streams and USB cameras have in common: OpenCV grabs their frames."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2

from edge_ad.errors import SourceError
from edge_ad.sources.grabber import Picture

QUIET = {"OPENCV_LOG_LEVEL": "ERROR"}  # what it prints goes into the reason why a camera was lost
FFMPEG = {**QUIET, "OPENCV_FFMPEG_LOGLEVEL": "16"}  # AV_LOG_ERROR


class OpenCV:
    """One `cv2.VideoCapture`.

    Args:
        what: it is, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._capture: cv2.VideoCapture | None = None

    def start(self, source: str | int, backend: int, settings: Sequence[int]) -> cv2.VideoCapture:
        """Opens it with pairs of a property and its value.

        Raises:
            SourceError: OpenCV cannot open it.
        """
        self.close()
        try:
            self._capture = cv2.VideoCapture(source, backend, list(settings))
        except cv2.error as error:  # a property that this build does not know
            raise SourceError(f"{self._what} cannot be opened", got=error) from error
        if not self._capture.isOpened():
            self.close()
            raise SourceError(f"{self._what} cannot be opened")
        return self._capture

    def take(self) -> Picture | None:
        """The next frame; None where there is none: the end, a time-out, an error. OpenCV does not tell which."""
        if self._capture is None or not self._capture.grab():
            return None
        now = time.time_ns(), time.monotonic_ns()
        there, frame = self._capture.retrieve()
        if not there or frame is None:
            return None
        return Picture(frame, time_ns=now[0], clock_ns=now[1])

    def close(self) -> None:
        """Gives it back. May be called twice."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
