"""`rtsp://...`, `http://...`: streams of network cameras, by OpenCV's FFmpeg."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import cv2

from edge_ad.errors import SourceError
from edge_ad.sources.address import shown
from edge_ad.sources.grabber import Picture
from edge_ad.sources.opencv import FFMPEG, OpenCV
from edge_ad.sources.options import CameraOptions, read_options
from edge_ad.sources.process import Camera, ProcessSource
from edge_ad.spec.base import OneOf, Range


@dataclass(frozen=True)
class StreamOptions(CameraOptions):
    """Options of a stream.

    Attributes:
        transport: of RTSP: "tcp" loses nothing on the way, "udp" waits for nothing.
        threads: of the decoder; with more than one, frames come later by as many.
        ffmpeg: further options of FFmpeg, "name;value|name;value".
    """

    frozen_level: Annotated[float, Range(0, 255)] = 0.15
    transport: Annotated[str, OneOf(("tcp", "udp"))] = "tcp"
    threads: Annotated[int, Range(1, 64)] = 1
    ffmpeg: str = ""


class Stream:
    """A grabber of the frames of a stream.

    FFmpeg waits for `open_s`: without a limit a server that says nothing blocks it for 30 seconds. As long it waits for
    each frame, as the first that can be decoded is a key frame, and some cameras send one in five seconds. Silence is
    reported before, by who reads.
    """

    Options = StreamOptions

    def __init__(self, address: str, options: StreamOptions) -> None:
        self._address, self._options = address, options
        self._capture = OpenCV(shown(address))

    def open(self) -> None:
        """Connects.

        Raises:
            SourceError: nobody answers, or there is no video.
        """
        settings = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1e3 * self._options.open_s)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1e3 * _patience_s(self._options))),
            *(cv2.CAP_PROP_N_THREADS, self._options.threads),
        ]
        self._capture.start(self._address, cv2.CAP_FFMPEG, settings)

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame. FFmpeg's time-out is that of the reading, not `timeout_s`.

        Raises:
            SourceError: the stream ended, broke, or was silent for too long.
        """
        began = time.monotonic()
        picture = self._capture.take()
        # after a time-out FFmpeg gives what its decoder held back: a frame of before the silence
        if picture is None or time.monotonic() - began >= _patience_s(self._options):
            raise SourceError(f"no frame for {_patience_s(self._options):g} s, or the stream ended")
        return picture

    def trigger(self) -> None:
        """A stream takes none."""
        raise SourceError("a stream takes no trigger")

    def close(self) -> None:
        """Hangs up."""
        self._capture.close()


def _patience_s(options: StreamOptions) -> float:
    return max(options.silent_s, options.open_s)


def check_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> StreamOptions:
    """The options, checked.

    Raises:
        SpecError: an option is wrong.
    """
    return read_options(StreamOptions, options, camera)


def open_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> ProcessSource:
    """The frames of a stream. The address goes to FFmpeg as it is, with its query.

    Raises:
        SpecError: an option is wrong.
    """
    given = check_source(address, camera, options)
    words = [f"rtsp_transport;{given.transport}", given.ffmpeg]
    environment = {**FFMPEG, "OPENCV_FFMPEG_CAPTURE_OPTIONS": "|".join(filter(None, words))}
    return ProcessSource(
        camera, Camera(__name__, "Stream", address, patience_s=_patience_s(given), environment=environment), given
    )
