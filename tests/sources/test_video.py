"""`video:`: a file, from its beginning to its end."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import SourceError
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.registry import open_source
from edge_ad.sources.resume import Resume
from tests.sources.partners import captures, wait_for, whole

FRAMES = 20


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video whose frame n is as grey as 10 n."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for n in range(FRAMES):
        writer.write(np.full((48, 64, 3), 10 * n, np.uint8))
    writer.release()
    return path


def video(path: Path, **options: object) -> ProcessSource:
    """A video that is opened."""
    source = open_source(f"video:{path}", "cam", options)
    assert isinstance(source, ProcessSource)
    return source


@pytest.mark.parametrize("pace", [False, True])
def test_every_frame_once(film: Path, pace: bool) -> None:
    source = video(film, pace=pace)
    try:
        found = captures(source, whole, FRAMES)
        wait_for(lambda: source.ended, "the end")
        assert source.read(0.0) is None
    finally:
        source.close()
    assert [capture.sequence for capture in found] == list(range(FRAMES))
    assert [round(capture.frame.mean() / 10) for capture in found if capture.frame is not None] == list(range(FRAMES))
    assert found[0].source == str(film)


def test_a_video_that_begins_again(film: Path) -> None:
    source = video(film, loop=True)
    try:
        found = captures(source, whole, 2 * FRAMES + 3)
        assert found[-1].frame is not None
        assert round(found[-1].frame.mean() / 10) == 2
    finally:
        source.close()


def test_what_is_no_video(film: Path) -> None:
    with pytest.raises(SourceError, match=r"no file /not/there\.mp4"):
        open_source("video:/not/there.mp4", "cam")
    film.write_bytes(b"not a video")
    source = video(film)
    try:
        with pytest.raises(SourceError, match="cannot be opened"):
            source.read(60.0)
        assert not source.ended
    finally:
        source.close()


def test_without_pace_its_times_are_those_of_the_reading(film: Path) -> None:
    """Frames that lie ready while one is inspected are not late for that."""
    source = video(film)
    try:
        wait_for(lambda: source.state().frames >= 4, "frames that lie ready")
        now = time.monotonic_ns()
        assert all(capture.clock_ns >= now for capture in captures(source, whole, 4))
    finally:
        source.close()


def test_a_path_starts_from_the_folder_of_whoever_opens_it(film: Path) -> None:
    source = open_source(f"video:{film.name}", "cam", {}, Resume(film.parent))
    try:
        assert source.read(60) is not None
    finally:
        source.close()
    with pytest.raises(SourceError, match="no file"):
        open_source(f"video:{film.name}", "cam", {}, Resume(film.parent / "elsewhere"))
