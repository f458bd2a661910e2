"""USB cameras. No machine of the tests has one: what OpenCV is asked for, and what is told where there is none."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.errors import SourceError, SpecError
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.registry import open_source
from edge_ad.sources.usb import Usb, UsbOptions
from tests.sources.partners import captures


def test_a_camera_that_is_not_there() -> None:
    source = open_source("usb:77", "cam", {"backoff_s": 0.1, "silent_s": 0})
    try:
        assert isinstance(source, ProcessSource)
        fault = captures(source, lambda _: True)[0]
        assert "usb:77 cannot be opened" in fault.fault
    finally:
        source.close()


@pytest.mark.parametrize("address", ["usb:", "usb:first", "usb:-1"])
def test_addresses(address: str) -> None:
    with pytest.raises(SpecError, match="names no USB camera"):
        open_source(address, "cam")
    with pytest.raises(SpecError, match="4 letters"):
        open_source("usb:0", "cam", {"fourcc": "JPEG2000"})


class _Fake:
    """A `cv2.VideoCapture` that has frames of 640 x 480 and 1280 x 720, with MJPG alone."""

    def __init__(self, source: Any, backend: int, settings: list[int]) -> None:
        self.source, self.set_to, self.frames = source, {}, 2
        _Fake.last = self

    last: _Fake

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return True

    def set(self, name: int, value: float) -> bool:
        self.set_to[name] = value
        return True

    def get(self, name: int) -> float:
        mjpg = self.set_to.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG")
        large = mjpg and self.set_to.get(cv2.CAP_PROP_FRAME_WIDTH) == 1280
        sizes = {cv2.CAP_PROP_FRAME_WIDTH: 1280 if large else 640, cv2.CAP_PROP_FRAME_HEIGHT: 720 if large else 480}
        return float(sizes[name])

    def grab(self) -> bool:
        self.frames -= 1
        return self.frames >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self) -> None:
        self.frames = 0


def test_what_the_camera_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", _Fake)
    camera = Usb("2", UsbOptions(width=1280, height=720, fps=30.0, fourcc="MJPG"))
    camera.open()
    assert _Fake.last.source == 2
    assert next(iter(_Fake.last.set_to)) == cv2.CAP_PROP_FOURCC  # it says which sizes there are
    assert _Fake.last.set_to[cv2.CAP_PROP_FPS] == 30.0
    for _ in range(2):
        assert camera.grab(1.0) is not None
    with pytest.raises(SourceError, match="gives no frame"):
        camera.grab(1.0)
    with pytest.raises(SourceError, match=r"expected 1920 x 1080; got 640 x 480"):
        Usb("/dev/video0", UsbOptions(width=1920, height=1080)).open()
    assert _Fake.last.source == "/dev/video0"
