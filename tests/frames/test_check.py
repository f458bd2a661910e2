"""Frames: what a runtime takes, what it refuses, and that their place in memory changes nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import FrameError, Runtime
from edge_ad.spec import MIN_FRAME_SIDE
from tests.edited import edited
from tests.tiny import bad_frame, good_frame


def test_grey_is_the_same_as_three_equal_channels(runtime: Runtime) -> None:
    grey = bad_frame(1)[:, :, 1].copy()
    expected = runtime.inspect(np.stack([grey] * 3, axis=2))
    for frame in (grey, grey[:, :, None]):
        verdict = runtime.inspect(frame)
        assert verdict.score == expected.score
        assert verdict.anomaly_map.shape == grey.shape
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)


def views(frame: np.ndarray) -> dict[str, np.ndarray]:
    """The same pixels in every memory layout that NumPy has."""
    height, width = frame.shape[:2]
    strided = np.zeros((2 * height, 3 * width, 3), np.uint8)
    strided[::2, ::3] = frame
    wide = np.zeros((height, width, 4), np.uint8)
    wide[..., :3] = frame
    unaligned = np.zeros(frame.size + 1, np.uint8)[1:].reshape(frame.shape)
    unaligned[:] = frame
    read_only = frame.copy()
    read_only.flags.writeable = False
    return {
        "fortran": np.asfortranarray(frame),
        "transposed": np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2),
        "channels first": np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
        "rows reversed": np.ascontiguousarray(frame[::-1])[::-1],
        "columns reversed": np.ascontiguousarray(frame[:, ::-1])[:, ::-1],
        "channels reversed": np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1],
        "all reversed": np.ascontiguousarray(frame[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "strided": strided[::2, ::3],
        "without alpha": wide[..., :3],
        "unaligned": unaligned,
        "read-only": read_only,
        "from bytes": np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape),
    }


@pytest.mark.parametrize("size", [64, 90, 40])
@pytest.mark.parametrize("layout", list(views(np.zeros((16, 16, 3), np.uint8))))
def test_memory_layout_does_not_matter(runtime: Runtime, roi: Runtime, layout: str, size: int) -> None:
    frame = bad_frame(5, size)
    view = views(frame)[layout]
    before = view.copy()
    for each in (runtime, roi):
        expected, verdict = each.inspect(frame), each.inspect(view)
        assert verdict.score == expected.score
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)
        np.testing.assert_array_equal(verdict.overlay(view), expected.overlay(frame))
    np.testing.assert_array_equal(view, before)  # the frame is the caller's


@pytest.mark.parametrize("layout", ["plain", "rows reversed", "columns reversed", "transposed", "strided"])
def test_memory_layout_of_deep_grey_frames(deep: Runtime, layout: str) -> None:
    frame = bad_frame(6, 80)[:, :, 0].astype(np.uint16) * 16
    view = {
        "plain": frame.copy(),
        "rows reversed": frame[::-1].copy()[::-1],
        "columns reversed": frame[:, ::-1].copy()[:, ::-1],
        "transposed": frame.T.copy().T,
        "strided": np.repeat(frame, 2, axis=1)[:, ::2],
    }[layout]
    expected = deep.inspect(frame)
    assert deep.inspect(view).score == expected.score
    np.testing.assert_array_equal(deep.inspect(view).overlay(view), expected.overlay(frame))


def test_u16_frames_are_divided_by_the_white_level(deep: Runtime, runtime: Runtime) -> None:
    frame = bad_frame(7)
    wide = np.rint(frame * (4095 / 255)).astype(np.uint16)
    assert deep.inspect(wide).score == pytest.approx(runtime.inspect(frame).score, rel=1e-3)
    assert deep.inspect(frame).score == runtime.inspect(frame).score  # u8 is accepted beside u16
    grey = wide[:, :, 0]
    assert deep.inspect(grey).score == deep.inspect(grey[:, :, None]).score
    above = np.full((64, 64), 60000, np.uint16)  # brighter than white is white
    assert deep.inspect(above).score == deep.inspect(np.full((64, 64), 255, np.uint8)).score


def test_a_dark_frame_is_not_guessed_to_be_something_else(runtime: Runtime, deep: Runtime) -> None:
    dark = np.random.default_rng(0).integers(0, 2, (64, 64, 3), np.uint8)  # 0 and 1: a mask? a float image?
    assert runtime.inspect(dark).is_anomalous
    assert runtime.inspect(dark).score == pytest.approx(runtime.inspect(np.zeros_like(dark)).score, rel=0.05)
    faint = np.full((64, 64), 255, np.uint16)  # of 4095: dark, though it would be white in 8 bits
    assert deep.inspect(faint).score == pytest.approx(deep.inspect(np.full((64, 64), 16, np.uint8)).score, rel=1e-6)


def test_colour_order_is_declared(golden: Path, tmp_path: Path) -> None:
    bgr = Runtime(golden)
    rgb = Runtime(edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"}))
    frame = bad_frame(8)
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), frame)
    score = bgr.inspect(frame).score
    assert rgb.inspect(frame[:, :, ::-1]).score == score
    assert rgb.inspect(np.ascontiguousarray(frame[:, :, ::-1])).score == score
    assert rgb.inspect(frame).score != score
    assert rgb.inspect(path).score == score  # files say themselves what they are
    verdict = rgb.inspect(path)
    np.testing.assert_array_equal(verdict.overlay(path), verdict.overlay(frame[:, :, ::-1]))
    assert rgb.check()  # probes are BGR whatever is declared


BAD_FRAMES: dict[str, tuple[object, str]] = {
    "none": (None, "NoneType"),
    "list": ([[0] * 64] * 64, "list"),
    "bytes": (b"\0" * 4096, "bytes"),
    "int": (3, "int"),
    "float": (np.zeros((64, 64, 3), np.float32), "float32"),
    "float with NaN": (np.full((64, 64, 3), np.nan), "float64"),
    "bool": (np.zeros((64, 64), np.bool_), "bool"),
    "int64": (np.zeros((64, 64, 3), np.int64), "int64"),
    "i8": (np.zeros((64, 64, 3), np.int8), "int8"),
    "u16 without a declaration": (np.zeros((64, 64), np.uint16), "uint16"),
    "big-endian u16": (np.zeros((64, 64), ">u2"), "uint16|>u2"),
    "object": (np.full((64, 64), None), "object"),
    "text": (np.full((64, 64), "x"), "U1"),
    "two channels": (np.zeros((64, 64, 2), np.uint8), "2"),
    "alpha": (np.zeros((64, 64, 4), np.uint8), "alpha"),
    "channels first": (np.zeros((3, 64, 64), np.uint8), "shape"),
    "batch": (np.zeros((1, 64, 64, 3), np.uint8), "batch"),
    "line": (np.zeros(64, np.uint8), "shape"),
    "scalar": (np.uint8(3), "uint8"),
    "no dimensions": (np.array(3, np.uint8), "shape"),
    "empty": (np.zeros((0, 0, 3), np.uint8), "0"),
    "no rows": (np.zeros((0, 64), np.uint8), "0"),
    "no channels": (np.zeros((64, 64, 0), np.uint8), "0"),
    "1x1": (np.zeros((1, 1, 3), np.uint8), "1, 1"),
    "too small": (np.zeros((MIN_FRAME_SIDE - 1, 64), np.uint8), "15"),
    "20000x20000": (np.broadcast_to(np.uint8(0), (20000, 20000, 3)), "20000"),
    "huge": (np.broadcast_to(np.uint8(0), (2**40, 2**20, 3)), "1099511627776"),
    "no such file": ("there/is/no/such.png", "No such file"),
    "folder": (Path("."), "directory"),
    "NUL in the path": ("a\0b.png", "null"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frames_are_refused(runtime: Runtime, case: str) -> None:
    frame, says = BAD_FRAMES[case]
    with pytest.raises(FrameError, match=f"(?i){says}") as caught:
        runtime.inspect(frame)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400
    assert caught.value.expected


def test_a_typo_in_a_path_names_it(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"frame_01\.pgn"):
        runtime.inspect(tmp_path / "frame_01.pgn")


def test_files(runtime: Runtime, tmp_path: Path) -> None:
    frame = bad_frame(9)
    whole = tmp_path / "frame.png"
    cv2.imwrite(str(whole), frame)
    assert runtime.inspect(whole).score == runtime.inspect(str(whole)).score == runtime.inspect(frame).score
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(FrameError, match=r"cut\.png"):
        runtime.inspect(cut)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(FrameError, match=r"text\.png"):
        runtime.inspect(text)
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), frame.astype(np.uint16) * 257)
    with pytest.raises(FrameError, match="uint16"):
        runtime.inspect(wide)


def test_the_frame_may_change_after_it_was_given(runtime: Runtime) -> None:
    """A camera reuses its buffer: what was prepared must not."""
    buffer = np.empty((64, 64, 3), np.uint8)

    def camera() -> Iterator[np.ndarray]:
        for seed in range(6):
            buffer[:] = bad_frame(100 + seed)
            yield buffer

    scores = [verdict.score for verdict in runtime.inspect_many(camera())]
    assert scores == [runtime.inspect(bad_frame(100 + seed)).score for seed in range(6)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    shape=st.lists(st.integers(0, 40), min_size=0, max_size=4).map(tuple),
    dtype=st.sampled_from(["u1", "u2", ">u2", "i2", "f4", "f8", "c8", "O", "M8[s]", "S3", "?"]),
)
def test_any_array_gives_a_verdict_or_a_frame_error(runtime: Runtime, shape: tuple[int, ...], dtype: str) -> None:
    frame = np.zeros(shape, dtype)
    fits = dtype == "u1" and len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,)) and min(shape[:2]) >= 16
    if fits:
        assert math.isfinite(runtime.inspect(frame).score)
    else:
        with pytest.raises(FrameError):
            runtime.inspect(frame)


def test_a_plain_frame_does_not_load_numpy_ma() -> None:
    code = (
        "import sys, numpy; from edge_ad.frames.check import check_frame; from edge_ad.spec import FrameSpec; "
        "check_frame(numpy.zeros((64, 64, 3), numpy.uint8), FrameSpec(None, 'bgr', 8, 65535)); "
        "sys.exit('numpy.ma' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_masked_pixels_are_no_pixels(runtime: Runtime) -> None:
    frame = np.ma.masked_greater(good_frame(1), 100)
    with pytest.raises(FrameError, match="masked pixels"):
        runtime.inspect(frame)
    assert runtime.inspect(np.ma.array(good_frame(1))).score == runtime.inspect(good_frame(1)).score
