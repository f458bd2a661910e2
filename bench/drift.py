"""`python -m bench.drift false`: false alarms of the drift monitor where nothing drifts. `python -m bench.drift found
CATEGORY`: how soon it finds drift, in frames drawn from the good images of a category.

False alarms: values of four statistics (two sides each) are drawn anew for each run, reference and frames alike, and
judged as a station judges them: one frame in five. Beside it stands an e-detector (Shin, Ramdas, Rinaldo:
"E-detectors", 2023; Shiryaev-Roberts) that bets on conformal p-values, whose reference grows with what it has seen.

Delays: the reference is some good images, and each frame is a good image, drawn again and again, with some jitter
of the exposure (1%) and noise (2 grey levels), and after 2,500 frames with the drift. Nothing is timed.

`python -m bench.drift order CATEGORY`: whether the images themselves drift, in the order of their names.
"""

from __future__ import annotations

import argparse
import bisect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.align import Aligner
from edge_ad.frames.check import read_frame
from edge_ad.frames.crop import resize
from edge_ad.frames.roi import RoiMasks
from edge_ad.monitor.sequential import Rate, Sequential
from edge_ad.monitor.statistics import STATISTICS, Gauge, Statistic
from edge_ad.spec import AlignSpec, BackboneSpec, FrameSpec

FRAMES, EVERY, TRACKED = 10_000, 5, 4
SIDE = 256  # pixels, to which the images are shrunk
QUIET = 2500  # frames before the drift begins
PARTS_A_DAY = 1000
Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def correlated(phi: float) -> Draw:
    def draw(generator: np.random.Generator, count: int) -> Values:
        steps, values = generator.normal(0, np.sqrt(1 - phi**2), count), np.empty(count)
        value = generator.normal()
        for at in range(count):
            value = phi * value + steps[at]
            values[at] = value
        return values

    return draw


EXCHANGEABLE: dict[str, Draw] = {
    "normal": lambda g, n: g.normal(size=n),
    "heavy tails (t, 2 degrees)": lambda g, n: g.standard_t(2, n),
    "skewed (log-normal)": lambda g, n: np.exp(g.normal(0, 1, n)),
    "two kinds of parts": lambda g, n: g.normal(0, 0.2, n) + 3 * (g.random(n) < 0.3),
    "rounded to 5 levels": lambda g, n: np.rint(g.normal(0, 1, n)),
}
NOT: dict[str, Draw] = {"neighbours alike (AR 0.5)": correlated(0.5), "neighbours alike (AR 0.9)": correlated(0.9)}


class EDetector:
    """Shiryaev-Roberts on bets against conformal p-values: each value's rank among the reference and all since."""

    def __init__(self, reference: Values, level: float, generator: np.random.Generator) -> None:
        self._known, self._level, self._generator = sorted(reference), level, generator
        self._bets = np.array([-0.95, -0.5, 0.5, 0.95])  # e = 1 + bet (2 p - 1)
        self._sums = np.zeros(len(self._bets))

    def add(self, value: float) -> bool:
        low, high = bisect.bisect_left(self._known, value), bisect.bisect_right(self._known, value)
        p = (low + self._generator.random() * (high - low + 1)) / (len(self._known) + 1)
        self._known.insert(high, value)
        self._sums = (self._sums + 1) * (1 + self._bets * (2 * p - 1))
        if self._sums.mean() < 1 / self._level:
            return False
        self._sums[:] = 0
        return True


def false_alarms(runs: int, frames: int, every: int) -> None:
    generator = np.random.default_rng(0)
    rate = Rate(per_frames=FRAMES, every=every)
    print(
        f"{runs} runs of {frames:,} frames, {TRACKED} statistics, one frame in {every} is measured; promised: 1 alarm"
    )
    print(f"in {FRAMES:,} frames at most, and with tolerance 0 the same\n")
    print("| values | reference | alarms in 10,000 frames | without tolerance | e-detector |\n|---|---|---|---|---|")
    for name, draw in {**EXCHANGEABLE, **NOT}.items():
        for size in (20, 60, 200):
            counts = np.zeros(3)
            for _ in range(runs):
                for _ in range(TRACKED):
                    counts += one_run(draw, size, frames, rate, generator)
            told = counts / runs * 10_000 / frames
            print(f"| {name} | {size} | {told[0]:.2f} | {told[1]:.2f} | {told[2]:.2f} |", flush=True)


def one_run(draw: Draw, size: int, frames: int, rate: Rate, generator: np.random.Generator) -> Values:
    """Alarms of the monitor, of the monitor without a tolerance, and of the e-detector."""
    long = size * rate.every * 20
    values = draw(generator, long + frames)
    reference = generator.permutation(values[:long])[:size]  # images of several days, in no order
    watched = [Sequential(Statistic(), reference, rate, 2 * TRACKED) for _ in range(2)]
    watched[1].tolerance = 0.0
    betting = EDetector(reference, rate.every / FRAMES / TRACKED, generator)
    counts = np.zeros(3)
    for value in values[long :: rate.every]:
        for at, each in enumerate(watched):
            if each.add(float(value)) is not None:
                counts[at] += 1
                each.forget()
        counts[2] += betting.add(float(value))
    return counts


# ------------------------------------------------------------------------------------------------------------ drift


def faded(frame: np.ndarray, days: float, share: float = 0.01) -> np.ndarray:
    return cv2.convertScaleAbs(frame, alpha=(1 - share) ** days)


def blurred(frame: np.ndarray, days: float, px: float = 0.1) -> np.ndarray:
    sigma = px * days
    return frame if sigma < 0.05 else cv2.GaussianBlur(frame, (0, 0), sigma)


def tinted(frame: np.ndarray, days: float, share: float = 0.01) -> np.ndarray:
    return np.clip(frame * np.array([(1 - share) ** days, 1, 1]), 0, 255).astype(np.uint8)


def moved(frame: np.ndarray, days: float, share: float) -> np.ndarray:
    matrix = np.array([[1, 0, share * days * frame.shape[1]], [0, 1, 0]])
    return cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


DRIFTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "nothing": lambda frame, days: frame,
    "lamp fades 1% a day": faded,
    "lamp fades 0.2% a day": lambda frame, days: faded(frame, days, 0.002),
    "lamp is 5% darker at once": lambda frame, days: faded(frame, 1, 0.05),
    "defocus, sigma grows 0.1 px a day": blurred,
    "defocus, sigma 1 px at once": lambda frame, days: blurred(frame, 1, 1.0),
    "blue fades 1% a day": tinted,
    "parts move by 0.2% of the width a day": lambda frame, days: moved(frame, days, 0.002),
    "parts move by 2% of the width at once": lambda frame, days: moved(frame, 1, 0.02),
}


def frames_of(images: list[np.ndarray], generator: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    noise = [generator.normal(0, 2, images[0].shape).astype(np.int8) for _ in range(8)]
    for _ in range(count):
        frame = images[generator.integers(len(images))]
        frame = cv2.convertScaleAbs(frame, alpha=generator.normal(1, 0.01))
        yield cv2.add(frame, noise[generator.integers(8)], dtype=cv2.CV_8U)


def delays(category: Path, runs: int, most: int) -> None:
    paths = sorted((category / "train/good").iterdir())
    images = [resize(read_frame(path), (SIDE, SIDE)) for path in paths]
    size, aligner = (SIDE, SIDE), aligner_of(images)
    gauge = gauge_of(size)
    names = ["brightness", "sharpness", "blue", "red", "shift_y", "shift_x"]
    print(f"{len(images)} images of {size[0]} x {size[1]}; {QUIET:,} frames, then drift; {PARTS_A_DAY:,} parts a day")
    print("\n| drift | reference | alarms before | median frames to the alarm (range) | first to tell |")
    print("|---|---|---|---|---|")
    measure = partial(measured, gauge, aligner)
    for name, drift in DRIFTS.items():
        for count in (20, 60, 200):
            told = delay_of(images, measure, names, drift, count, runs, most)
            print(f"| {name} | {count} | {told} |", flush=True)


def aligner_of(images: list[np.ndarray]) -> Aligner:
    mean = np.mean(images, axis=0).astype(np.uint8)
    small = resize(np.ascontiguousarray(mean.mean(axis=2).astype(np.uint8)), (64, 64))
    spec = AlignSpec("shift", (64, 64), (SIDE, SIDE), 0.1, 0.0, 0.0, 0.5, 0.3, 0.9, len(images))
    return Aligner(spec, small, np.full((64, 64), 255, np.uint8), mean, 65535)


def measured(gauge: Gauge, aligner: Aligner, frame: np.ndarray) -> dict[str, float]:
    return gauge.measure(frame, aligner.find(frame))


def gauge_of(size: tuple[int, int]) -> Gauge:
    backbone = BackboneSpec(
        "none", ("a",), (0.0,) * 3, (1.0,) * 3, "", "0" * 64, (256, 256), (0, 0, 256, 256), (8, 8), 1
    )
    return Gauge(FrameSpec(size), backbone, RoiMasks((8, 8)))


def order(category: Path) -> None:
    """Whether the images themselves drift: the second half against the first, in standard deviations of all."""
    images = [read_frame(path) for path in sorted((category / "train/good").iterdir())]
    own = gauge_of(images[0].shape[:2])
    found = [own.measure(image) for image in images]
    for name in found[0]:
        values, half = np.array([each[name] for each in found]), len(found) // 2
        print(f"{name}: {(values[half:].mean() - values[:half].mean()) / values.std():+.2f}")


def delay_of(
    images: list[np.ndarray],
    measure: Callable[[np.ndarray], dict[str, float]],
    names: list[str],
    drift: Callable[[np.ndarray, float], np.ndarray],
    count: int,
    runs: int,
    most: int,
) -> str:
    found, told, early = [], [], 0
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(images))
        known = [images[at] for at in order[:count]]
        reference = [measure(frame) for known_one in known for frame in frames_of([known_one], generator, 1)]
        watched = {
            name: Sequential(
                STATISTICS[name], np.array([each[name] for each in reference]), Rate(FRAMES, EVERY), 2 * len(names)
            )
            for name in names
        }
        for at, frame in enumerate(frames_of(images, generator, (QUIET + most) // EVERY)):
            passed = at * EVERY - QUIET
            values = measure(frame if passed < 0 else drift(frame, passed / PARTS_A_DAY))
            alarms = [name for name in names if watched[name].add(values[name]) is not None]
            if alarms and passed < 0:
                early += 1
                watched[alarms[0]].forget()
            elif alarms:
                found.append(passed)
                told.append(alarms[0])
                break
    if not found:
        return f"{early} in {runs * QUIET:,} frames | none in {runs} runs of {most:,} | "
    first = max(set(told), key=told.count)
    missed = "" if len(found) == runs else f", {runs - len(found)} runs without"
    spread = f"{int(np.median(found)):,} ({min(found):,}-{max(found):,}){missed}"
    return f"{early} in {runs * QUIET:,} frames | {spread} | {first} ({told.count(first)} of {len(told)})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("false", "found", "order"))
    parser.add_argument("category", nargs="?", type=Path, help="in MVTec AD layout, for `found` and `order`")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--every", type=int, default=EVERY, help="of `false`: one frame in so many is measured")
    options = parser.parse_args()
    if options.what == "false":
        false_alarms(options.runs or 200, FRAMES, options.every)
    elif options.category is None:
        parser.error(f"{options.what} needs a CATEGORY")
    elif options.what == "order":
        order(options.category)
    else:
        delays(options.category, options.runs or 3, 10_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
