"""Cameras for the tests of `edge_ad.sources.process`, which run in its processes: they do what their options say."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.errors import SourceError
from edge_ad.sources.grabber import Picture
from edge_ad.sources.options import CameraOptions, read_options
from edge_ad.sources.process import Camera, ProcessSource


@dataclass(frozen=True)
class MadeOptions(CameraOptions):
    """Options of a made camera.

    Attributes:
        fps: frames a second.
        wide: frames are u16 and grey, and not u8 BGR.
        last: number of the frame after which a video ends.
        grows: number of the frame from which frames are larger.
        hangs, raises, dies: number of the frame at which it does so.
        trigger_s: as of a GenICam camera.
        deaf: parts that it takes no picture of, by the number of the trigger.
        late: the picture of this trigger comes after the time-out.
        twice: this trigger gets two pictures.
        prints: bytes that the driver prints with each frame.
        dark: somebody has put the cap on.
    """

    fps: float = 100.0
    wide: bool = False
    last: int = 10**9
    grows: int = 10**9
    hangs: int = -1
    raises: int = -1
    dies: int = -1
    trigger_s: float = 0.3
    deaf: int = -1
    late: int = -1
    twice: int = -1
    prints: int = 0
    dark: bool = False


class Made:
    """Frame n holds n in each of its pixels, and differs from the frame before. The address is a folder: a file
    `closed` in it keeps the camera from opening, and it writes `opened` with each opening, and into `tries`
    when it tried."""

    Options = MadeOptions

    def __init__(self, address: str, options: MadeOptions) -> None:
        self.folder, self.options = Path(address), options
        self.n = self.triggers = 0
        self.answers: list[tuple[float, int]] = []  # when it is due, and what it shows
        self.waits = False

    def open(self) -> None:
        """Opens it."""
        with (self.folder / "tries").open("a") as file:
            file.write(f"{time.monotonic()}\n")
        if (self.folder / "closed").exists():
            raise SourceError("the camera is switched off")
        with (self.folder / "opened").open("a") as file:
            file.write("x")
        self.answers.clear()
        self.due = time.monotonic()

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame."""
        if self.waits:
            return self._answer(timeout_s)
        n, options = self.n, self.options
        first = (self.folder / "opened").stat().st_size == 1
        if n == options.last:
            raise EOFError
        if first and n == options.hangs:
            time.sleep(1000)
        if first and n == options.raises:
            raise RuntimeError("rtsp://me:secret@host is broken")
        if first and n == options.dies:
            os.write(2, b"the driver fell over\n")
            os._exit(7)
        wait_s = self.due - time.monotonic()
        time.sleep(max(0.0, min(wait_s, timeout_s)))
        if wait_s > timeout_s:
            return None
        self.due += 1 / options.fps
        self.n += 1
        os.write(2, b"x" * options.prints)
        return Picture(self.frame(n))

    def frame(self, n: int) -> np.ndarray:
        """Frame number n."""
        height = 48 if n >= self.options.grows else 32
        if self.options.dark:
            return np.full((height, 40, 3), n % 3, np.uint8)
        if self.options.wide:
            return np.full((height, 40), n, np.uint16)
        frame = np.full((height, 40, 3), n % 251, np.uint8)
        frame[0, 0] = 128  # neither dark nor blinded
        frame[::2, ::2] = 100
        return frame

    def trigger(self) -> None:
        """Takes a picture, which shows the number of the trigger."""
        self.waits = True
        n = self.triggers
        self.triggers += 1
        if n != self.options.deaf:
            late_s = 0.5 if n == self.options.late else 0.01
            self.answers += [(time.monotonic() + late_s, n)] * (2 if n == self.options.twice else 1)

    def _answer(self, timeout_s: float) -> Picture | None:
        deadline = time.monotonic() + timeout_s
        while True:
            if self.answers and time.monotonic() >= self.answers[0][0]:
                return Picture(self.frame(self.answers.pop(0)[1]))
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.005)

    def close(self) -> None:
        """Nothing."""


class Waiting(Made):
    """The same, which takes no picture without a trigger."""

    def open(self) -> None:
        """Opens it."""
        super().open()
        self.waits = True


@contextlib.contextmanager
def made(folder: Path, *, trigger: str = "", live: bool = True, **options: Any) -> Iterator[ProcessSource]:
    """A source of a made camera; closed at the end."""
    source = opened(folder, {"policy": "every", "silent_s": 60.0, **options}, trigger=trigger, live=live)
    try:
        yield source
    finally:
        source.close()


def opened(folder: Path, options: Mapping[str, Any], *, trigger: str = "", live: bool = True) -> ProcessSource:
    """A source of a made camera."""
    name = "Waiting" if trigger == "software" else "Made"
    camera = Camera(__name__, name, str(folder), live=live, trigger=trigger)
    return ProcessSource("cam", camera, read_options(MadeOptions, options, "cam"))
