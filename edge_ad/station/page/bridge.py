"""What the page knows of the station: it asks through the channel, and keeps the answers for a moment."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_ad.errors import EdgeADError
from edge_ad.station.page.channel import UNAVAILABLE, UNKNOWN, Channel, RefusedError
from edge_ad.verdict.overlay import heat_layer

Answered = tuple[dict[str, Any], list[bytes]]
_FRESH_S = 0.5  # for so long, an answer is the answer
_PATIENCE_S = 10.0  # with a station that does not answer; its cores may be busy with parts
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85]
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class Live:
    """The last part of a camera.

    Attributes:
        number: of its outcome.
        verdict: as `Row.to_dict()` gives it, without a picture.
        frame_jpeg: the frame, its longest side 1280 pixels at most; b"" of a part without a frame.
        heat_png: its heat, RGBA of the same size, so that the page can fade it; None where there is no map.
    """

    number: int
    verdict: dict[str, Any]
    frame_jpeg: bytes
    heat_png: bytes | None


class Bridge:
    """See the module. Thread-safe; all but `ask` wait for the station.

    Args:
        pinged: called when the station asks whether the page is alive; it answers by `pong`.
    """

    def __init__(self, channel: Channel, pinged: Callable[[], None] | None = None) -> None:
        self._channel = channel
        self._pinged = self.pong if pinged is None else pinged
        self._count = itertools.count(1)
        self._asked: dict[int, Future[Answered]] = {}
        self._lock, self._state_lock = threading.Lock(), threading.Lock()
        self._ended = False
        self._state: tuple[float, dict[str, Any]] | None = None
        self._live: dict[str, _Watched] = {}

    def listen(self) -> None:
        """Takes answers until the station ends."""
        try:
            while (found := self._channel.receive()) is not None:
                message, blobs = found
                if "ping" in message:
                    self._pinged()
                    continue
                with self._lock:
                    future = self._asked.pop(message.get("id", 0), None)
                if future is None or not future.set_running_or_notify_cancel():
                    continue
                if "error" in message:
                    future.set_exception(RefusedError(str(message["error"]), str(message.get("word", ""))))
                else:
                    future.set_result((message.get("result", {}), blobs))
        finally:
            with self._lock:
                self._ended = True
                left, self._asked = self._asked, {}
            for future in left.values():
                if future.set_running_or_notify_cancel():
                    future.set_exception(RefusedError("the station has ended", UNAVAILABLE))

    def pong(self) -> None:
        """Tells the station that the page is alive."""
        self._channel.send({"do": "pong", "id": 0})

    def ask(self, name: str, **values: Any) -> Future[Answered]:
        """Asks for something. The answer's result and blobs come with the future, or a RefusedError."""
        future: Future[Answered] = Future()
        with self._lock:
            if self._ended:
                raise RefusedError("the station has ended", UNAVAILABLE)
            number = next(self._count)
            self._asked[number] = future
        try:
            self._channel.send({"do": name, "id": number, "values": values})
        except (OSError, ValueError) as error:
            self.forget(future)
            raise RefusedError("the station has ended", UNAVAILABLE) from error
        return future

    def forget(self, future: Future[Answered]) -> None:
        """Waits for an answer no more."""
        future.cancel()
        with self._lock:
            for number in [number for number, each in self._asked.items() if each is future]:
                del self._asked[number]

    def _get(self, name: str, **values: Any) -> Answered:
        future = self.ask(name, **values)
        try:
            return future.result(_PATIENCE_S)
        except RefusedError:
            raise
        except Exception as error:  # the time-out of a future has another class in Python 3.10
            self.forget(future)
            raise RefusedError(f"the station has not answered in {_PATIENCE_S:g} s", UNAVAILABLE) from error

    def command(self, name: str, **values: Any) -> dict[str, Any]:
        """Has the station do something; what it says of it.

        Raises:
            EdgeADError: it does not; with the station's message (`RefusedError`).
        """
        return self._get(name, **values)[0]

    def state(self) -> dict[str, Any]:
        """The state of the station, half a second old at most. Not to be changed.

        Raises:
            EdgeADError: the station does not answer.
        """
        with self._state_lock:
            if self._state is None or time.monotonic() - self._state[0] > _FRESH_S:
                found = self._get("state")[0]
                self._state = time.monotonic(), found
            return self._state[1]

    def camera(self, name: str) -> dict[str, Any]:
        """What `state` says of a camera.

        Raises:
            EdgeADError: there is none of that name.
        """
        cameras = self.state()["cameras"]
        for camera in cameras:
            if camera["name"] == name:
                found: dict[str, Any] = camera
                return found
        known = ", ".join(each["name"] for each in cameras)
        raise RefusedError(f"there is no camera of that name; expected {known}; got {name!r}", UNKNOWN)

    def live(self, camera: str) -> Live | None:
        """The last part of a camera, half a second old at most; None where none has come.

        Raises:
            EdgeADError: there is no such camera, or the station does not answer.
        """
        self.camera(camera)
        with self._lock:
            watched = self._live.setdefault(camera, _Watched())
        with watched.lock:
            if time.monotonic() - watched.asked > _FRESH_S:
                have = None if watched.live is None else watched.live.number
                result, blobs = self._get("live", camera=camera, have=have)
                watched.asked = time.monotonic()
                if not result.get("same"):
                    watched.live = _made(result, blobs) if result else None
            return watched.live


class _Watched:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked = float("-inf")
        self.live: Live | None = None


def _made(result: dict[str, Any], blobs: list[bytes]) -> Live:
    """Encodes here what the station gives raw: its cores are for parts."""
    if not blobs:
        return Live(int(result["number"]), result["verdict"], b"", None)
    frame = np.frombuffer(blobs[0], np.uint8).reshape(result["frame"])
    jpeg = _encoded(".jpg", frame, _JPEG)
    heat = None
    if len(blobs) > 1:
        grey = np.frombuffer(blobs[1], np.uint8).reshape(result["frame"][:2])
        heat = _encoded(".png", heat_layer(grey.astype(np.float32) / 255), _PNG)
    return Live(int(result["number"]), result["verdict"], jpeg, heat)


def _encoded(kind: str, picture: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, picture, options)
    if not done:
        raise EdgeADError("a live picture cannot be encoded", got=f"{picture.shape} {picture.dtype}")
    return data.tobytes()
