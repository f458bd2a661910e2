"""Marks of frames, and the health that follows from them, by a clock of the test."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.sources.options import CameraOptions
from edge_ad.sources.watch import Eye, Health, Marks

GOOD, SAME, DARK, BRIGHT = (
    Marks(False, False, False),
    Marks(True, False, False),
    Marks(True, True, False),
    Marks(False, False, True),
)


def noise(low: int, high: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """(300, 400) of random values."""
    return np.random.default_rng(seed).integers(low, high, (300, 400)).astype(dtype)


def test_marks() -> None:
    eye = Eye(CameraOptions())
    frame = noise(0, 256)
    assert eye.look(frame, 255, 0.0) == Marks(False, False, False)
    assert eye.look(frame.copy(), 255, 0.0).same
    frame[17, 23] ^= 1
    assert not eye.look(frame, 255, 0.0).same
    assert not eye.look(frame[:100], 255, 0.0).same
    assert eye.look(noise(0, 12), 255, 0.0) == Marks(False, True, False)
    assert eye.look(noise(251, 256), 255, 0.0) == Marks(False, False, True)
    assert eye.look(np.dstack([noise(0, 12), noise(0, 12), noise(100, 120)]), 255, 0.0) == Marks(False, False, False)


def test_marks_of_12_bits() -> None:
    """4095 is white, and 65535 is not."""
    eye = Eye(CameraOptions())
    assert eye.look(noise(4050, 4096, np.uint16), 4095, 0.0).blinded
    assert not eye.look(noise(4050, 4096, np.uint16), 65535, 0.0).blinded
    assert eye.look(noise(0, 200, np.uint16), 4095, 0.0).dark


def test_a_part_in_the_dark_is_seen() -> None:
    """A small bright part on a dark belt is no darkness, nor a dark one before a bright lamp a glare."""
    eye = Eye(CameraOptions())
    dark, bright = noise(0, 12), noise(252, 256)
    dark[100:120, 100:120] = 80
    bright[100:140, 100:140] = 40
    assert not eye.look(dark, 255, 0.0).dark
    assert not eye.look(bright, 255, 0.0).blinded


def test_large_frames_are_compared_by_some_of_their_rows() -> None:
    eye = Eye(CameraOptions())
    frame = np.zeros((3000, 4000), np.uint8)
    eye.look(frame, 255, 0.0)
    frame[300:310] = 1
    assert not eye.look(frame, 255, 0.0).same


def run(health: Health, marks: Marks, start: float, seconds: float, fps: float = 30.0) -> list[tuple[float, str]]:
    """(time, health) after each frame."""
    times = start + np.arange(int(seconds * fps)) / fps
    return [(float(at), health.see(float(at), marks)) for at in times]


@pytest.mark.parametrize(("marks", "name"), [(SAME, "frozen"), (DARK, "dark"), (BRIGHT, "blinded")])
@pytest.mark.parametrize("fps", [5.0, 30.0, 400.0])
def test_a_mark_that_lasts(marks: Marks, name: str, fps: float) -> None:
    health = Health(CameraOptions())
    assert {word for _, word in run(health, GOOD, 0.0, 10.0, fps)} == {"live"}
    after = run(health, marks, 10.0, 10.0, fps)
    first = next(at for at, word in after if word != "live")
    assert 1.7 < first - 10.0 < 2.5  # nine frames of ten are enough
    assert {word for at, word in after if at >= first} == {name}
    back = run(health, GOOD, 20.0, 10.0, fps)
    assert next(at for at, word in back if word == "live") - 20.0 < 1.0
    assert {word for at, word in back if at > 21.0} == {"live"}


def test_key_frames_do_not_hide_a_standstill() -> None:
    """An encoder changes a frozen picture a little, once a second."""
    health = Health(CameraOptions())
    words = [health.see(n / 30, GOOD if n % 30 == 0 else SAME) for n in range(300)]
    assert set(words[75:]) == {"frozen"}


def test_a_slow_camera_in_a_fast_stream_is_no_standstill() -> None:
    """5 pictures a second, each sent six times."""
    health = Health(CameraOptions())
    assert {health.see(n / 30, GOOD if n % 6 == 0 else SAME) for n in range(300)} == {"live"}


def test_few_frames_say_nothing() -> None:
    """Of a camera that is triggered every ten seconds."""
    health = Health(CameraOptions())
    assert [health.see(10.0 * n, SAME) for n in range(4)] == ["live", "live", "frozen", "frozen"]


def test_a_gap_proves_nothing_and_ends_nothing() -> None:
    health = Health(CameraOptions())
    run(health, DARK, 0.0, 3.0)
    health.forget()
    assert health.see(100.0, DARK) == "dark"
    health = Health(CameraOptions())
    run(health, DARK, 0.0, 1.5)
    health.forget()
    assert health.see(100.0, DARK) == "live"


def test_what_is_not_watched() -> None:
    health = Health(CameraOptions(frozen_s=0.0, dark_s=0.0))
    assert {word for _, word in run(health, DARK, 0.0, 10.0)} == {"live"}


def stood_still(pictures: list[np.ndarray], level: float = 0.15) -> list[bool]:
    """Whether each picture was called the same, at 30 a second."""
    eye = Eye(CameraOptions(frozen_level=level))
    return [eye.look(picture, 255, n / 30).same for n, picture in enumerate(pictures)]


def test_an_encoder_that_repeats_a_picture() -> None:
    """Small errors everywhere, which differ each time, are no movement. A level of 0 asks for the same pixels."""
    base = noise(60, 200).astype(np.int16)
    pictures = [(base + noise(-2, 3, np.int16, seed)).astype(np.uint8) for seed in range(40)]
    assert stood_still(pictures) == [False] * 15 + [True] * 25
    assert not any(stood_still(pictures, 0.0))
    assert all(stood_still([np.dstack([picture] * 3) for picture in pictures])[15:])


def test_what_moves_or_shines_differently_is_alive() -> None:
    """A small part; the light of a lamp."""
    base = noise(60, 200)
    part = [base.copy() for _ in range(40)]
    for n, picture in enumerate(part):
        picture[100:110, 5 * n : 5 * n + 10] = 255
    assert not any(stood_still(part))
    lamp = [np.clip(base + 3 * np.sin(n / 5), 0, 255).astype(np.uint8) for n in range(40)]
    assert sum(stood_still(lamp)[15:]) < 20


def test_frames_smaller_than_a_square() -> None:
    assert stood_still([noise(0, 256)[:20, :16]] * 40)[1:] == [True] * 39
