"""Pictures: names for any part id, what is kept, whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.station import pictures as module
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.journal import KEPT, LOST, Journal, Row
from edge_ad.station.outcomes import Decision, fault
from edge_ad.station.pictures import Pictures, folder_name, overlay_of, safe_name, to_png
from tests.station.making import capture, wait_for
from tests.tiny import good_frame

FRAME = good_frame(0)


@pytest.mark.parametrize(
    "text", ["a", "../../etc/passwd", "C:\\x", "CON", "ä" * 300, "\udc80", "a\0b", "", ".", "a b.png"]
)
def test_a_name_for_any_text(tmp_path: Path, text: str) -> None:
    name = safe_name(text)
    (tmp_path / f"{name}.overlay.png").write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.overlay.png"]
    assert name != safe_name(text + "x") != safe_name(text, "x")
    assert folder_name("top") == "top"
    assert folder_name("a/b") != folder_name("a_b")


class Made:
    def __init__(self, folder: Path, good_sample: float = 1.0, full: bool = False) -> None:
        self.folder = folder
        self.pictures = Pictures(folder, good_sample, lambda: full)
        self.desk = Desk(folder / "journal.sqlite", self.pictures.plan)
        self.pictures.start(self.desk)

    def part(self, part_id: str, decision: Decision, frame: np.ndarray | None = FRAME, drawing: object = None) -> Row:
        ticket = self.desk.accept(capture(part_id, frame), 6e5, self.pictures.keep)
        assert ticket is not None
        self.desk.decide(ticket, decision, drawing)  # type: ignore[arg-type]
        return wait_for(lambda: self.row(part_id))  # type: ignore[no-any-return]

    def row(self, part_id: str) -> Row | None:
        with Journal(self.folder / "journal.sqlite") as journal:
            return next(iter(journal.rows("part_id = ? AND outcome IS NOT NULL AND kept != 1", (part_id,))), None)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path)
    yield made
    made.pictures.close()
    made.desk.close()


def read(path: Path) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def test_frame_and_overlay(made: Made, tmp_path: Path) -> None:
    row = made.part("a/1", Decision("reject"), drawing=lambda: FRAME // 2)
    assert row.kept == KEPT
    np.testing.assert_array_equal(read(tmp_path / row.picture), FRAME)
    np.testing.assert_array_equal(read(overlay_of(tmp_path / row.picture)), FRAME // 2)
    assert row.bytes == sum(path.stat().st_size for path in (tmp_path / "pictures").rglob("*.png"))


def test_faults_are_kept_where_there_is_a_frame(made: Made) -> None:
    assert made.part("a", fault("late", "x")).kept == KEPT
    assert made.part("b", fault("no_frame", "x"), None).kept == 0


def test_good_ones_by_sample(tmp_path: Path) -> None:
    none = Pictures(tmp_path, 0.0)
    some = Pictures(tmp_path, 0.5)
    tickets = [Ticket(capture(f"{at}"), 0, lambda ticket: None, f"{at}", FRAME, Decision("good")) for at in range(400)]
    assert not any(map(none.plan, tickets))
    assert 140 < sum(bool(some.plan(ticket)) for ticket in tickets) < 260
    assert [some.plan(ticket) for ticket in tickets] == [some.plan(ticket) for ticket in tickets]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_one_that_cannot_be_written_is_lost(made: Made, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(path: Path, parts: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(module, "write_file", fail)
    row = made.part("a", Decision("reject"))
    assert row.kept == LOST
    assert row.to_dict()["picture"] == ""


def test_an_overlay_that_cannot_be_drawn_ends_nothing(made: Made) -> None:
    def fail() -> np.ndarray:
        raise cv2.error("no")

    assert made.part("a", Decision("reject"), drawing=fail).kept == LOST
    assert made.part("b", Decision("reject")).kept == KEPT


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (4, 5, 7), (4, 5, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_loses_nothing(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    frame = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    (tmp_path / "a.png").write_bytes(to_png(frame))
    np.testing.assert_array_equal(read(tmp_path / "a.png").reshape(shape), frame)


def test_what_a_crash_left(tmp_path: Path) -> None:
    """A picture that is whole counts; one that is half written is removed, and its row says that it is lost."""
    made = Made(tmp_path)
    made.pictures.keep = lambda ticket: None  # type: ignore[method-assign]
    tickets = []
    for part in ("whole", "half"):
        ticket = made.desk.accept(capture(part, FRAME), 6e5, lambda ticket: None)
        assert ticket is not None
        made.desk.decide(ticket, Decision("reject"))
        tickets.append(ticket)
    wait_for(lambda: all(ticket.number for ticket in tickets))
    made.pictures.close()
    made.desk.close()
    whole, half = (tmp_path / ticket.picture for ticket in tickets)
    whole.parent.mkdir(parents=True)
    whole.write_bytes(b"12345")
    (half.parent / f".{half.name}.0123456789abcdef.tmp").write_bytes(b"1")
    again = Desk(tmp_path / "journal.sqlite", size_of=Pictures(tmp_path, 1.0).size_of)
    again.close()
    with Journal(tmp_path / "journal.sqlite") as journal:
        found = {row.part_id: (row.kept, row.bytes) for row in journal.rows()}
    assert found == {"whole": (KEPT, 5), "half": (LOST, 0)}
    assert [path.name for path in whole.parent.iterdir()] == [whole.name]
