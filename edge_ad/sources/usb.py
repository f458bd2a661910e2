"""`usb:N`, `usb:/dev/v4l/by-id/...`: cameras that the operating system knows as such, by OpenCV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import cv2

from edge_ad.errors import SourceError
from edge_ad.sources.grabber import Picture
from edge_ad.sources.opencv import QUIET, OpenCV
from edge_ad.sources.options import CameraOptions, read_options
from edge_ad.sources.process import Camera, ProcessSource
from edge_ad.spec.base import Range, require

_Side = Annotated[int, Range(0, 65535)]


@dataclass(frozen=True)
class UsbOptions(CameraOptions):
    """Options of a USB camera. What is 0 or "" stays as the camera has it.

    Attributes:
        width, height: of the frames.
        fps: frames a second.
        fourcc: the format that the camera sends: "MJPG", "YUYV".
    """

    width: _Side = 0
    height: _Side = 0
    fps: Annotated[float, Range(0, 10000)] = 0.0
    fourcc: str = ""


class Usb:
    """A grabber of the frames of a USB camera."""

    Options = UsbOptions

    def __init__(self, address: str, options: UsbOptions) -> None:
        self._address, self._options = address, options
        self._capture = OpenCV(f"usb:{address}")

    def open(self) -> None:
        """Opens the camera.

        Raises:
            SourceError: there is none, or it cannot send frames of this size.
        """
        options = self._options
        source = int(self._address) if self._address.isdigit() else self._address
        capture = self._capture.start(source, cv2.CAP_ANY, [])
        wanted = {cv2.CAP_PROP_FRAME_WIDTH: options.width, cv2.CAP_PROP_FRAME_HEIGHT: options.height}
        if options.fourcc:  # before the size: it says which sizes there are
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.fourcc))
        for name, value in {**wanted, cv2.CAP_PROP_FPS: options.fps}.items():
            if value:
                capture.set(name, value)
        got = {name: capture.get(name) for name in wanted}
        if any(value and value != got[name] for name, value in wanted.items()):
            self.close()
            raise SourceError(
                f"usb:{self._address} does not send frames of this size",
                expected=f"{options.width} x {options.height}",
                got=" x ".join(f"{size:g}" for size in got.values()),
                remedy="Set options width and height to a size that it has.",
            )

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame. The driver's time-out is its own.

        Raises:
            SourceError: the camera is gone, or was silent for too long.
        """
        picture = self._capture.take()
        if picture is None:
            raise SourceError("the camera gives no frame")
        return picture

    def trigger(self) -> None:
        """A USB camera takes none."""
        raise SourceError("a USB camera takes no trigger")

    def close(self) -> None:
        """Gives the camera back."""
        self._capture.close()


def check_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> UsbOptions:
    """The options, checked; the address too.

    Raises:
        SpecError: the address or an option is wrong.
    """
    which = address.partition(":")[2]
    require(
        which.isdigit() or which.startswith("/"),
        f"the address of camera {camera} names no USB camera",
        expected="usb:0, or usb:/dev/v4l/by-id/...",
        got=address,
    )
    given = read_options(UsbOptions, options, camera)
    require(len(given.fourcc) in (0, 4), f"option fourcc of camera {camera}", expected="4 letters", got=given.fourcc)
    return given


def open_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> ProcessSource:
    """The frames of `usb:N` or `usb:PATH`.

    Raises:
        SpecError: the address or an option is wrong.
    """
    given, which = check_source(address, camera, options), address.partition(":")[2]
    patience_s = max(given.silent_s, given.open_s)
    # Linux: whole seconds that V4L2 is waited for; 10 if nobody says
    environment = {**QUIET, "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(math.ceil(patience_s))}
    return ProcessSource(
        camera, Camera(__name__, "Usb", which, patience_s=math.ceil(patience_s), environment=environment), given
    )
