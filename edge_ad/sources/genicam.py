"""`aravis:ID`: GenICam cameras (GigE Vision, USB3 Vision) by aravis."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from edge_ad.errors import SourceError
from edge_ad.sources.aravis import SUCCESS, call, check, data, text
from edge_ad.sources.grabber import Picture
from edge_ad.sources.options import CameraOptions, read_options
from edge_ad.sources.pixels import NAMES, frame_of
from edge_ad.sources.process import Camera, ProcessSource
from edge_ad.spec.base import OneOf, Range, require

_CONTINUOUS = 0  # ARV_ACQUISITION_MODE_CONTINUOUS
_LOOK_S = 0.5  # between two questions to a camera that has nothing to send: is it still there?


@dataclass(frozen=True)
class GenicamOptions(CameraOptions):
    """Options of a GenICam camera.

    Attributes:
        pixel_format: "" for the one that the camera has.
        trigger: "" for a camera that takes pictures by itself; "software"; or the line of a hardware trigger, as the
            camera calls it: "Line1".
        trigger_s: seconds in which a picture must come after a software trigger.
        fps: frames a second of a camera that takes pictures by itself; 0: as it is set.
        features: further features of GenICam by name, set in this order before the start: {"ExposureTime": 2000}.
        buffers: that aravis fills ahead.
    """

    pixel_format: Annotated[str, OneOf(NAMES, ("",))] = ""
    trigger: str = ""
    trigger_s: Annotated[float, Range(0.01, 60)] = 1.0
    fps: Annotated[float, Range(0, 10000)] = 0.0
    features: dict[str, Any] = field(default_factory=dict)
    buffers: Annotated[int, Range(2, 256)] = 8


class Genicam:
    """A grabber of the frames of one camera."""

    Options = GenicamOptions

    def __init__(self, ident: str, options: GenicamOptions) -> None:
        self._ident, self._options = ident, options
        self._camera: int | None = None
        self._stream: int | None = None
        self._held: int | None = None  # the buffer of the last picture
        self._frame_id: int | None = None
        self._looked = 0.0

    def open(self) -> None:
        """Opens the camera, sets it, and starts it.

        Raises:
            SourceError: it is not there, in use by another program, or refuses a setting.
        """
        self.close()
        if self._ident.startswith("Fake"):
            call("arv_enable_interface", b"Fake")
        self._camera = call("arv_camera_new", text(self._ident) if self._ident else None)
        if self._camera is None:
            raise SourceError(f"no GenICam camera {self._ident!r} answers")
        self._set(self._camera)
        payload = call("arv_camera_get_payload", self._camera)
        self._stream = call("arv_camera_create_stream", self._camera, None, None)
        for _ in range(self._options.buffers):
            call("arv_stream_push_buffer", self._stream, call("arv_buffer_new_allocate", payload))
        call("arv_camera_start_acquisition", self._camera)
        self._frame_id, self._looked = None, time.monotonic()

    def _set(self, camera: int) -> None:
        options = self._options
        if options.pixel_format:
            call("arv_camera_set_string", camera, b"PixelFormat", text(options.pixel_format))
        if options.trigger:
            source = "Software" if options.trigger == "software" else options.trigger
            call("arv_camera_set_trigger", camera, text(source))
        else:
            call("arv_camera_clear_triggers", camera)
            if options.fps:
                call("arv_camera_set_frame_rate", camera, options.fps)
        device = call("arv_camera_get_device", camera)
        for name, value in options.features.items():
            call("arv_device_set_features_from_string", device, text(f"{name}={_written(value)}"))
        call("arv_camera_set_acquisition_mode", camera, _CONTINUOUS)

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame that arrived whole; None where none came in time.

        Raises:
            SourceError: the camera does not answer any more, or sends what is no frame.
        """
        self._release()
        deadline = time.monotonic() + timeout_s
        while True:
            left_us = max(0, int(1e6 * (deadline - time.monotonic())))
            buffer = call("arv_stream_timeout_pop_buffer", self._stream, left_us)
            if buffer is None:
                self._look()
                return None
            self._held = buffer
            if call("arv_buffer_get_status", buffer) == SUCCESS:
                return self._picture(buffer)
            self._release()  # packets were lost: a gap in the numbers of frames tells of it

    def _picture(self, buffer: int) -> Picture:
        now = time.time_ns(), time.monotonic_ns()
        number = call("arv_buffer_get_frame_id", buffer)
        # of 16 bits in GigE Vision 1: after the largest one it begins again
        missed = max(0, number - self._frame_id - 1) if self._frame_id is not None else 0
        self._frame_id = number
        frame, full = frame_of(
            call("arv_buffer_get_image_pixel_format", buffer),
            data(buffer),
            call("arv_buffer_get_image_height", buffer),
            call("arv_buffer_get_image_width", buffer),
        )
        return Picture(frame, missed, full, *now)

    def _look(self) -> None:
        """Reads a feature from the camera: it may have been unplugged while nobody triggered it."""
        if time.monotonic() - self._looked > _LOOK_S:
            call("arv_camera_get_integer", self._camera, b"Width")
            self._looked = time.monotonic()

    def trigger(self) -> None:
        """Takes a picture.

        Raises:
            SourceError: the camera does not answer.
        """
        call("arv_camera_software_trigger", self._camera)

    def _release(self) -> None:
        if self._held is not None:
            call("arv_stream_push_buffer", self._stream, self._held)
            self._held = None

    def close(self) -> None:
        """Stops the camera and gives it back."""
        if self._camera is None:
            return
        self._release()
        try:
            if self._stream is not None:
                call("arv_camera_stop_acquisition", self._camera)
        except SourceError:
            pass  # it is gone, which was told
        finally:
            for thing in (self._stream, self._camera):
                if thing is not None:
                    call("g_object_unref", thing)
            self._camera = self._stream = None


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> GenicamOptions:
    """The options, checked.

    Raises:
        SpecError: an option is wrong.
    """
    usual = {"policy": "every"} if options and options.get("trigger") else {}
    given = read_options(GenicamOptions, {**usual, **(options or {})}, camera)
    require(
        given.policy == "every" or not given.trigger,
        f"camera {camera} has a trigger, and policy {given.policy!r}",
        expected="policy 'every': each trigger gets its outcome",
        got=given.policy,
    )
    for name, value in given.features.items():
        require(
            isinstance(value, (str, int, float)) and not set(str(value)) & set(" \t\n\"'") and name.isidentifier(),
            f"option features of camera {camera} cannot be set",
            expected="names of GenICam, each with a number, a word, true or false",
            got=f"{name} = {value!r}",
        )
    return given


def open_source(address: str, camera: str, options: Mapping[str, Any] | None = None) -> ProcessSource:
    """The frames of `aravis:ID`: an id as `arv-tool-0.8` lists it, an IP address, a serial number; "" for the first.

    Raises:
        SourceError: aravis is not installed.
        SpecError: an option is wrong.
    """
    given = check_source(address, camera, options)
    check()
    ident = address.partition(":")[2]
    return ProcessSource(camera, Camera(__name__, "Genicam", ident, trigger=given.trigger), given)
