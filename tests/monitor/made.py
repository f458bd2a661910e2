"""What tests of drift measure and watch."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge_ad.frames.roi import RoiMasks
from edge_ad.monitor.monitor import Monitor
from edge_ad.monitor.sequential import Rate
from edge_ad.monitor.statistics import Gauge
from edge_ad.spec import BackboneSpec, FrameSpec
from tests.tiny import good_frame

NAMES = ("brightness", "sharpness", "blue", "red")
Change = Callable[[np.ndarray, float], np.ndarray]  # a frame, and days since the drift began


def backbone(size: tuple[int, int] = (64, 64), crop: tuple[int, int, int, int] | None = None) -> BackboneSpec:
    return BackboneSpec(
        name="none",
        layers=("a",),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        weights="",
        weights_sha256="0" * 64,
        input_size=size,
        crop=crop or (0, 0, *size),
        grid=(8, 8),
        dim=1,
    )


def gauge(white_level: int = 65535) -> Gauge:
    spec = FrameSpec(None, "bgr", 16, white_level)
    return Gauge(spec, backbone(), RoiMasks((8, 8)))


def faded(frame: np.ndarray, days: float) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=0.99**days)


def blurred(frame: np.ndarray, days: float) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), 0.05 + 0.1 * days)


def tinted(frame: np.ndarray, days: float) -> np.ndarray:
    return np.clip(frame * np.array([0.99**days, 1, 1]), 0, 255).astype(np.uint8)


def same(frame: np.ndarray, days: float) -> np.ndarray:
    return frame


def first_alarm(frames: list[np.ndarray], change: Change, parts: int, a_day: int = 1000, count: int = 40) -> str:
    """The key of the first alarm of so many parts, of which one in five is measured; "" for none.

    Frames are drawn from those given, each with some exposure and noise of its own; the reference is the first `count`.
    """
    generator, own, every = np.random.default_rng(3), gauge(), 5

    def taken(frame: np.ndarray) -> np.ndarray:
        lit = cv2.convertScaleAbs(frame, alpha=generator.normal(1, 0.01))
        return np.clip(lit + generator.normal(0, 1, frame.shape), 0, 255).astype(np.uint8)

    reference = [own.measure(taken(frame)) for frame in frames[:count]]
    known = {name: np.array([each[name] for each in reference]) for name in NAMES}
    monitor = Monitor(NAMES, known, Rate(10_000, every), 200)
    for part in range(0, parts, every):
        frame = taken(frames[generator.integers(len(frames))])
        alarms, _ = monitor.add(own.measure(change(frame, part / a_day)), True, part)
        if alarms:
            return alarms[0].key
    return ""


def tiny_frames(count: int = 60) -> list[np.ndarray]:
    return [good_frame(seed) for seed in range(count)]
