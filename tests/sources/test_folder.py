"""The hot folder: complete files, each once, in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_ad.errors import ImageWarning, SourceError, SpecError
from edge_ad.sources.base import Capture, Source
from edge_ad.sources.registry import check_source, open_source
from edge_ad.sources.resume import Resume
from tests.tiny import good_frame, picture

QUICK = {"still_ms": 0, "poll_ms": 1}


def opened(base: Path, known: Callable[[str], bool] = lambda part_id: False, **options: object) -> Source:
    return open_source("folder:hot", "top", {**QUICK, **options}, Resume(base, 7, known))


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    for at in range(3):
        picture(tmp_path / f"hot/img{9 + at}.png", good_frame(at))
        os.utime(tmp_path / f"hot/img{9 + at}.png", ns=(10**18, 10**18))
    return tmp_path / "hot"


def read_all(source: Source) -> list[Capture]:
    found = []
    while (capture := source.read(0.05)) is not None:
        found.append(capture)
    return found


def test_in_order_and_moved_once_settled(hot: Path) -> None:
    source = opened(hot.parent)
    found = read_all(source)
    assert [Path(capture.source).name for capture in found] == ["img9.png", "img10.png", "img11.png"]
    assert [capture.sequence for capture in found] == [7, 8, 9]
    np.testing.assert_array_equal(found[0].frame, good_frame(0))
    assert read_all(source) == []
    assert not (hot / "done").exists()
    for capture in found:
        source.settle(capture)
        source.settle(capture)
    assert sorted(os.listdir(hot)) == ["done"]
    assert sorted(os.listdir(hot / "done")) == ["img10.png", "img11.png", "img9.png"]
    assert not source.ended
    source.close()
    source.close()


def test_part_ids_name_the_file_itself(hot: Path) -> None:
    first = [capture.part_id for capture in read_all(opened(hot.parent))]
    assert [capture.part_id for capture in read_all(opened(hot.parent))] == first
    assert [part.rpartition("-")[0] for part in first] == ["img9", "img10", "img11"]
    os.utime(hot / "img9.png", ns=(10**18 + 1, 10**18 + 1))
    assert {capture.part_id for capture in read_all(opened(hot.parent))} != {*first}


def test_what_is_known_is_not_given_again(hot: Path) -> None:
    known = {read_all(opened(hot.parent))[0].part_id}
    found = read_all(opened(hot.parent, known.__contains__))
    assert len(found) == 2
    assert os.listdir(hot / "done") == ["img9.png"]  # a stop had come between
    picture(hot / "img9.png", good_frame(5))
    (capture, *_) = [c for c in read_all(opened(hot.parent)) if c.source.endswith("img9.png")]
    source = opened(hot.parent)
    read_all(source)
    source.settle(capture)
    assert sorted(os.listdir(hot / "done")) == ["img9.png", "img9~2.png"]


def test_files_stay_where_they_are(hot: Path) -> None:
    source = opened(hot.parent, after="keep")
    found = read_all(source)
    for capture in found:
        source.settle(capture)
    assert read_all(source) == []
    assert len(os.listdir(hot)) == 3
    assert read_all(opened(hot.parent, {c.part_id for c in found}.__contains__, after="keep")) == []


def test_a_file_that_grows_is_waited_for(tmp_path: Path) -> None:
    data = picture(tmp_path / "whole.png", good_frame(0)).read_bytes()
    (tmp_path / "hot").mkdir()
    for name in ("a.png.tmp", ".a.png", "b.part"):
        (tmp_path / "hot" / name).write_bytes(data)
    (tmp_path / "hot/notes.txt").write_text("x")
    with pytest.warns(ImageWarning, match=r"left alone in .*: notes\.txt$"):
        source = opened(tmp_path)
    (tmp_path / "hot/a.png").write_bytes(data[:100])
    for end in (200, 300):
        assert source.read(0.05) is None
        (tmp_path / "hot/a.png").write_bytes(data[:end])
    (tmp_path / "hot/a.png").write_bytes(data)
    capture = source.read(60)
    assert capture is not None
    assert capture.frame is not None


def test_stillness_is_counted_from_the_last_change(tmp_path: Path) -> None:
    (tmp_path / "hot").mkdir()
    source = opened(tmp_path, still_ms=300)
    picture(tmp_path / "hot/a.png", good_frame(0))
    began = time.monotonic()
    assert source.read(60) is not None
    assert time.monotonic() - began >= 0.3


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        opened(tmp_path)
    (tmp_path / "hot").mkdir()
    source = opened(tmp_path)
    (tmp_path / "hot").rmdir()
    with pytest.raises(SourceError, match="cannot be read"):
        source.read(60)


def test_a_file_that_cannot_be_moved(hot: Path) -> None:
    source = opened(hot.parent)
    (hot / "done").write_text("a file")
    capture = source.read(60)
    assert capture is not None
    with pytest.raises(SourceError, match="cannot be moved"):
        source.settle(capture)
    assert len(read_all(source)) == 2


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text(hot: Path) -> None:
    os.rename(os.fsencode(hot / "img9.png"), os.fsencode(hot) + b"/\xff.png")
    found = read_all(opened(hot.parent))
    assert any(capture.part_id.startswith("\\xff-") for capture in found)


@pytest.mark.parametrize(
    ("address", "options", "says"),
    [
        ("folder:", {}, "names no folder"),
        ("folder:x", {"after": "delete"}, "expected move or keep"),
        ("folder:x", {"poll_ms": 0}, "out of range"),
        ("folder:x", {"stil_ms": 0}, "did you mean still_ms"),
        ("foldr:x", {}, "Did you mean folder"),
        ("folder", {}, "names no source"),
        ("synthetic:64", {}, "size of the frames"),
        ("synthetic:1x1", {}, "cannot be inspected"),
        ("synthetic:64x64", {"bad": 2}, "out of range"),
    ],
)
def test_what_is_refused(address: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        check_source(address, "top", options)
    with pytest.raises(SpecError, match=says):
        open_source(address, "top", options)


def test_a_file_that_takes_the_name_of_one_in_hand_stays(hot: Path) -> None:
    """A camera that always writes the same name: what comes before the outcome of the one before is the next part."""
    source = opened(hot.parent)
    first = read_all(source)[0]
    picture(hot / "new.png", good_frame(50)).replace(hot / "img9.png")
    source.settle(first)
    assert not (hot / "done").exists()
    (again,) = read_all(source)
    assert again.part_id != first.part_id
    np.testing.assert_array_equal(again.frame, good_frame(50))
    source.settle(again)
    assert os.listdir(hot / "done") == ["img9.png"]


def test_a_file_that_changes_between_the_list_and_the_read_is_no_part_of_its_old_name(hot: Path) -> None:
    source = opened(hot.parent)
    first = source.read(1)
    assert first is not None
    picture(hot / "new.png", good_frame(50)).replace(hot / "img10.png")
    found = read_all(source)
    assert [Path(capture.source).name for capture in found] == ["img11.png", "img10.png"]
    np.testing.assert_array_equal(found[1].frame, good_frame(50))
    assert first.part_id != found[1].part_id
    assert source.read(0.05) is None


@pytest.mark.parametrize("time_ns", [10**18, 4 * 10**18])
def test_a_broken_file_becomes_a_fault_whatever_clocks_say(
    hot: Path, monkeypatch: pytest.MonkeyPatch, time_ns: int
) -> None:
    monkeypatch.setattr("edge_ad.sources.folder._PATIENCE_S", 0.2)
    (hot / "img9.png").write_bytes(b"" if time_ns > time.time_ns() else b"no image")
    os.utime(hot / "img9.png", ns=(time_ns, time_ns))
    source = opened(hot.parent)
    assert len(read_all(source)) == 2
    assert source.waiting
    until = time.monotonic() + 60
    while (found := source.read(0.05)) is None:
        assert time.monotonic() < until
    assert found.frame is None
    assert "img9.png" in found.fault
    assert not source.waiting


def test_what_cannot_be_moved_holds_up_nothing(hot: Path) -> None:
    first = read_all(opened(hot.parent))[0].part_id
    (hot / "done").write_text("a file")
    with pytest.warns(ImageWarning, match="left alone"):
        source = opened(hot.parent, {first}.__contains__)
    with pytest.warns(ImageWarning, match="cannot be moved to the folder done"):
        assert len(read_all(source)) == 2
    assert read_all(source) == []
