"""`video:PATH`: a video file, from its beginning to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2

from edge_ad.errors import SourceError
from edge_ad.sources.grabber import Picture
from edge_ad.sources.opencv import FFMPEG, OpenCV
from edge_ad.sources.options import POLICIES, CameraOptions, Seconds, read_options
from edge_ad.sources.process import Camera, ProcessSource
from edge_ad.sources.resume import Resume
from edge_ad.spec.base import OneOf
from edge_ad.system.names import printable

_USUAL_FPS = 25.0  # of a file that does not tell


@dataclass(frozen=True)
class VideoOptions(CameraOptions):
    """Options of a video. No frame is dropped, and nothing is watched: it is no camera.

    Attributes:
        pace: frames come at the rate of the video, and not as fast as they are read.
        loop: it begins again at its end.
    """

    policy: Annotated[str, OneOf(POLICIES)] = "every"
    silent_s: Seconds = 0.0
    frozen_s: Seconds = 0.0
    dark_s: Seconds = 0.0
    blinded_s: Seconds = 0.0
    pace: bool = False
    loop: bool = False


class Video:
    """A grabber of the frames of a file."""

    Options = VideoOptions

    def __init__(self, path: str, options: VideoOptions) -> None:
        self._path, self._options = path, options
        self._capture = OpenCV(path)
        self._due, self._frame_s, self._any = 0.0, 0.0, False

    def open(self) -> None:
        """Opens the file.

        Raises:
            SourceError: it is no video that FFmpeg reads.
        """
        capture = self._capture.start(self._path, cv2.CAP_FFMPEG, [])
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._frame_s = 1 / (fps if 0 < fps < 1000 else _USUAL_FPS) if self._options.pace else 0.0
        self._due, self._any = time.monotonic(), False

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame; None where it is not due within `timeout_s` seconds.

        Raises:
            EOFError: at the end.
            SourceError: the file holds no frame.
        """
        wait_s = self._due - time.monotonic()
        if self._frame_s and wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            if wait_s > timeout_s:
                return None
        picture = self._capture.take()
        if picture is None:
            if not self._any:
                raise SourceError(f"{self._path} holds no frame that can be decoded")
            if not self._options.loop:
                raise EOFError
            self.open()
            return None
        self._any = True
        # a reader that is slow delays what follows: frames do not come in a burst
        self._due = max(self._due + self._frame_s, time.monotonic() - self._frame_s)
        return picture

    def trigger(self) -> None:
        """A video takes none."""
        raise SourceError(f"{self._path} is a video: it takes no trigger")

    def close(self) -> None:
        """Closes the file."""
        self._capture.close()


def check_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> VideoOptions:
    """The options, checked.

    Raises:
        SpecError: an option is wrong.
    """
    return read_options(VideoOptions, options, camera)


def open_source(address: str, camera: str, options: Mapping[str, Any] | None, resume: Resume) -> ProcessSource:
    """The frames of `video:PATH`, from the first one on.

    Raises:
        SourceError: there is no such file.
        SpecError: an option is wrong.
    """
    path = os.fspath(resume.base / Path(address.partition(":")[2]).expanduser())
    if not os.path.isfile(path):
        raise SourceError(
            f"cannot open {address}", expected="video:PATH of a video file", got=f"no file {printable(path)}"
        )
    given = check_source(address, camera, options)
    how = Camera(__name__, "Video", path, live=False, environment=FFMPEG, in_step=not given.pace)
    return ProcessSource(camera, how, given)
