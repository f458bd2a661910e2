"""A lesson: what is taught and what is locked, what is refused, and that nothing changes then."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.errors import DatasetError, EdgeADError, LearningError, SpecError
from edge_ad.learning import store as store_module
from edge_ad.learning.entries import chain_of, entries_of
from edge_ad.learning.lesson import learn
from edge_ad.learning.report import ACCEPTED, DEFECT, HELD_BACK, LEFT_OUT, TAUGHT, Report
from edge_ad.learning.store import Store, id_of, sha256_of, store_of
from edge_ad.learning.task import Asked
from edge_ad.learning.undo import undo
from edge_ad.spec import TaughtSpec
from tests.edited import edited
from tests.learning.making import FIGURES, QuickMaker, agrees, lesson, new_lot, usual
from tests.paths import DATA
from tests.tiny import bad_frame, good_frame, picture


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    for at in range(3):
        picture(tmp_path / "bad" / f"bad_{at}.png", bad_frame(2000 + at))
    return tmp_path / "bad"


def names(report: Report, role: str) -> set[str]:
    return {each.name for each in report.pictures if each.role == role}


def test_a_lesson(bundle: Path, bad: Path, tmp_path: Path) -> None:
    before, maker = id_of(bundle), QuickMaker()
    report = lesson(bundle, new_lot(tmp_path / "lot"), maker, bad)
    assert (report.state, report.before, report.after, report.who) == ("learned", before, id_of(bundle), "anna")
    assert names(report, DEFECT) == {"bad_0.png", "bad_1.png", "bad_2.png"}
    taught, locked = names(report, TAUGHT), names(report, HELD_BACK)
    assert len(taught) + len(locked) == 8
    assert locked
    store = Store(store_of(bundle))
    assert {*store.locked(HELD_BACK)} == {each.sha256 for each in report.pictures if each.role == HELD_BACK}
    for role in (HELD_BACK, DEFECT):
        for digest, path in store.locked(role).items():
            assert path.name == f"{digest}.png"
            assert sha256_of(path) == digest
    (task,) = maker.tasks
    assert {path.name for path in task.offered} == taught
    assert {path.parent.name for path in task.goods} == {"good"}
    assert id_of(store.bundle(str(before))) == before
    assert agrees(bundle)
    assert json.loads(json.dumps(report.to_dict()))["figures"][0]["rows"] == [*report.figures[0].rows]


def test_what_is_locked_is_never_taught(bundle: Path, bad: Path, tmp_path: Path) -> None:
    """Not under another name, not saved anew, and not as what it is not."""
    lot, maker = new_lot(tmp_path / "lot"), QuickMaker()
    first = lesson(bundle, lot, maker, bad)
    (held, *_) = names(first, HELD_BACK)
    anew = tmp_path / "anew"
    anew.mkdir()
    cv2.imwrite(str(anew / "copy.bmp"), cv2.imread(str(lot / held)))
    shutil.copy(lot / held, anew / "renamed.png")
    new_lot(anew, 2, 4500)
    report = lesson(bundle, anew, maker)
    assert {"copy.bmp", "renamed.png"} <= names(report, LEFT_OUT) | {"copy.bmp"}
    assert not {"copy.bmp", "renamed.png"} & {path.name for task in maker.tasks for path in task.offered}
    before = bundle.read_bytes()
    cv2.imwrite(str(anew / "defect.bmp"), cv2.imread(str(bad / "bad_0.png")))
    with pytest.raises(LearningError, match=r"defect\.bmp is a locked defect, and can never be taught"):
        lesson(bundle, anew, maker)
    taught = tmp_path / "taught"
    taught.mkdir()
    shutil.copy(lot / min(names(first, TAUGHT)), taught)
    with pytest.raises(LearningError, match="was taught as good"):
        lesson(bundle, None, maker, taught)
    assert bundle.read_bytes() == before


@pytest.mark.parametrize("saved_anew", [False, True])
def test_a_locked_good_image_that_is_a_defect(bundle: Path, tmp_path: Path, saved_anew: bool) -> None:
    """It stands for good parts no longer, so it cannot raise the threshold for ever; and it is good never again."""
    lot, maker = new_lot(tmp_path / "lot"), QuickMaker()
    first = lesson(bundle, lot, maker)
    (held,) = (each for each in first.pictures if each.role == HELD_BACK)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    if saved_anew:
        cv2.imwrite(str(wrong / "anew.bmp"), cv2.imread(str(lot / held.name)))
    else:
        shutil.copy(lot / held.name, wrong)
    report = lesson(bundle, None, maker, wrong)
    assert names(report, DEFECT) == ({"anew.bmp", held.name} if saved_anew else {held.name})
    store = Store(store_of(bundle))
    assert store.locked(HELD_BACK) == {}
    assert held.sha256 in store.locked(DEFECT)
    report = lesson(bundle, new_lot(tmp_path / "more", 4, 4600), maker)
    assert held.sha256 not in {path.name[:64] for path in maker.tasks[-1].goods}
    assert held.sha256 in {path.name[:64] for path in maker.tasks[-1].defects}
    assert held.name in {maker.tasks[-1].names[path] for path in maker.tasks[-1].defects}
    with pytest.raises(LearningError, match="is a locked defect"):
        lesson(bundle, wrong, maker)
    (store.folder / "locked" / "defect" / f"{held.sha256}.png").unlink()
    with pytest.raises(LearningError, match="does not hold what was locked"):
        lesson(bundle, None, maker, wrong)


@pytest.mark.parametrize("part", ["audit.jsonl", "learning.lock", "locked/defect/x.png", "bundles/x.bundle", "link"])
def test_nothing_is_written_into_a_store(bundle: Path, bad: Path, tmp_path: Path, part: str) -> None:
    """Not by --out, and not where a kept bundle is given as the one that learns."""
    maker = QuickMaker()
    lesson(bundle, new_lot(tmp_path / "lot"), maker, bad)
    store = store_of(bundle)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    out = store / part
    if part == "link":
        out = tmp_path / "link.bundle"
        out.symlink_to(store / "audit.jsonl")
    with pytest.raises(SpecError, match="--out lies in a store of lessons"):
        lesson(bundle, usual(tmp_path / "usual"), maker, out=out)
    kept = next((store / "bundles").iterdir())
    with pytest.raises(SpecError, match="BUNDLE lies in a store of lessons"):
        lesson(kept, usual(tmp_path / "usual"), maker)
    with pytest.raises(SpecError, match="BUNDLE lies in a store of lessons"):
        undo(kept, store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_bundle_that_another_store_has_taught(bundle: Path, tmp_path: Path) -> None:
    maker = QuickMaker()
    with Bundle.open(DATA / "format-1.bundle", points=()) as opened:
        taught = TaughtSpec(opened.id, 1, "1.0", "2026-01-01T00:00:00Z")
    edited(bundle, tmp_path / "other.bundle", taught=(taught,))
    report = lesson(tmp_path / "other.bundle", new_lot(tmp_path / "lot"), maker)
    assert "was taught before, of which" in report.notes[0]
    report = lesson(tmp_path / "other.bundle", usual(tmp_path / "usual"), maker)
    assert not any("taught before" in note for note in report.notes)


def test_a_bundle_of_an_abandoned_lesson_goes(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full at the last moment, again and again, does not fill the store."""
    lot = new_lot(tmp_path / "lot")

    def full(*given: object) -> None:
        raise EdgeADError("cannot write", got="no space")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", full)
        for _ in range(2):
            with pytest.raises(EdgeADError, match="no space"):
                lesson(bundle, lot, QuickMaker())
    store = Store(store_of(bundle))
    with store.held():
        store.settle(bundle)
    assert [path.stem for path in (store.folder / "bundles").iterdir()] == [id_of(bundle)]
    assert lesson(bundle, lot, QuickMaker()).state == "learned"
    assert agrees(bundle)


def test_a_store_that_cannot_be(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeADError, match="cannot be made"):
        learn(Asked(bundle, [*new_lot(tmp_path / "lot").iterdir()], (), tmp_path / "a\0b"), QuickMaker())


def test_an_image_given_as_both(bundle: Path, bad: Path) -> None:
    with pytest.raises(LearningError, match=r"bad_0\.png is a locked defect.* and 2 more"):
        lesson(bundle, bad, QuickMaker(), bad)
    assert not (store_of(bundle) / "audit.jsonl").exists()


def test_what_was_taught_is_not_taught_again(bundle: Path, tmp_path: Path) -> None:
    lot, maker = new_lot(tmp_path / "lot"), QuickMaker()
    lesson(bundle, lot, maker)
    report = lesson(bundle, lot, maker)
    assert report.state == "nothing"
    assert len(names(report, LEFT_OUT)) == 8
    assert maker.tasks[-1].offered == ()
    assert agrees(bundle)


def test_defects_alone_are_locked(bundle: Path, bad: Path) -> None:
    before = bundle.read_bytes()
    report = lesson(bundle, None, QuickMaker(), bad)
    assert (report.state, len(Store(store_of(bundle)).locked(DEFECT))) == ("nothing", 3)
    assert bundle.read_bytes() == before


def test_unfit_images_are_named(bundle: Path, tmp_path: Path) -> None:
    lot = new_lot(tmp_path / "lot")
    report = lesson(bundle, lot, QuickMaker(unfit_ones={"lot_4000.png": "the part is not found in it"}))
    (left,) = (each for each in report.pictures if each.role == LEFT_OUT)
    assert (left.name, left.note) == ("lot_4000.png", "the part is not found in it")


@pytest.mark.parametrize("why", ["defect", "power", "growth", "failure"])
def test_refused(bundle: Path, bad: Path, tmp_path: Path, why: str) -> None:
    """Nothing changes but the lock and the audit, which says why."""
    before, lot = bundle.read_bytes(), new_lot(tmp_path / "lot")
    maker, kind = QuickMaker(), LearningError
    if why == "defect":
        maker = QuickMaker(lost={"bad_1.png": "drawn.png"})
    elif why == "power":
        maker = QuickMaker(dataclasses.replace(FIGURES, power=(0.5, 0.4)))
    else:
        kind = LearningError if why == "growth" else EdgeADError  # type: ignore[assignment]
        maker = QuickMaker(error=kind(f"the {why} that is meant"))
    says = {"defect": r"bad_1\.png.*drawn\.png", "power": "blind"}.get(why, why)
    with pytest.raises(kind, match=says) as told:
        lesson(bundle, lot, maker, bad)
    assert bundle.read_bytes() == before
    assert id_of(bundle) is not None
    (entry,) = Store(store_of(bundle)).entries
    assert entry.state == ("failed" if why == "failure" else "refused")
    assert entry.why in str(told.value)
    assert [path.stem for path in (store_of(bundle) / "bundles").iterdir()] == [id_of(bundle)]
    assert len(Store(store_of(bundle)).locked(DEFECT)) == 3
    if why == "defect":
        assert told.value.pictures == ("drawn.png",)
        assert entry.figures == (FIGURES,)


def test_elsewhere(bundle: Path, tmp_path: Path) -> None:
    before, out = bundle.read_bytes(), tmp_path / "there" / "new.bundle"
    report = lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker(), out=out)
    assert bundle.read_bytes() == before
    assert id_of(out) == report.after
    with pytest.raises(LearningError, match="is the first bundle"):
        undo(bundle, store_of(bundle))


def test_a_lock_that_was_touched(bundle: Path, bad: Path, tmp_path: Path) -> None:
    """A defect that was taken out of the lock could be taught."""
    lesson(bundle, None, QuickMaker(), bad)
    (first, second, _) = Store(store_of(bundle)).locked(DEFECT).values()
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(LearningError, match=r"does not hold what was locked.*changed"):
        lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    first.unlink()
    with pytest.raises(LearningError, match=r"gone: bad_\d\.png"):
        lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    first.write_bytes(data)
    assert lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker()).state == "learned"


def test_two_at_once(bundle: Path, tmp_path: Path) -> None:
    store = Store(store_of(bundle))
    with store.held(), pytest.raises(LearningError, match="another lesson is at work"):
        lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    with store.held(), pytest.raises(LearningError, match="another lesson is at work"):
        undo(bundle, store.folder)


def test_undo_down_to_the_first(bundle: Path, tmp_path: Path) -> None:
    ids, data = [id_of(bundle)], [bundle.read_bytes()]
    for at in range(3):
        lesson(bundle, new_lot(tmp_path / f"lot{at}", 3, 4000 + 10 * at), QuickMaker())
        ids.append(id_of(bundle))
        data.append(bundle.read_bytes())
    assert len({*ids}) == 4
    assert len(chain_of(Store(store_of(bundle)).entries, str(ids[-1]))) == 3
    for at in (2, 1, 0):
        report = undo(bundle, store_of(bundle), "eve")
        assert (report.state, report.before, report.after) == ("undone", ids[at + 1], ids[at])
        assert bundle.read_bytes() == data[at]
        assert agrees(bundle)
    with pytest.raises(LearningError, match="is the first bundle"):
        undo(bundle, store_of(bundle))
    again = lesson(bundle, tmp_path / "lot0", QuickMaker())  # what was undone may be taught again
    assert names(again, TAUGHT)


def test_undo_knows_what_it_undoes(bundle: Path, golden_roi: Path, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match="has learned nothing"):
        undo(bundle, store_of(bundle))
    assert not store_of(bundle).exists()
    lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    shutil.copy(golden_roi, bundle)
    with pytest.raises(LearningError, match="does not know"):
        undo(bundle, store_of(bundle))
    assert bundle.read_bytes() == golden_roi.read_bytes()


def test_undo_with_a_kept_bundle_that_is_gone(bundle: Path, tmp_path: Path) -> None:
    first = id_of(bundle)
    lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    there = bundle.read_bytes()
    kept = Store(store_of(bundle)).bundle(str(first))
    kept.write_bytes(kept.read_bytes()[:-10])
    with pytest.raises(LearningError, match="not kept"):
        undo(bundle, store_of(bundle))
    assert bundle.read_bytes() == there


def test_another_export_begins_a_chain_of_its_own(bundle: Path, golden: Path, tmp_path: Path) -> None:
    """Growth counts from the bundle that the engineer has put there."""
    maker = QuickMaker()
    lesson(bundle, new_lot(tmp_path / "lot"), maker)
    other = id_of(golden)
    shutil.copy(golden.parent / "format-2.bundle", bundle)
    lesson(bundle, new_lot(tmp_path / "more", 4, 4700), maker)
    assert [task.first.stem for task in maker.tasks] == [other, id_of(golden.parent / "format-2.bundle")]


@pytest.mark.parametrize("at", ["keep", "lock", "put"])
def test_a_full_disk(bundle: Path, bad: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    before = bundle.read_bytes()
    real = store_module.write_file
    wanted = {"keep": "bundles", "lock": "locked"}

    def full(path: Path, parts: object) -> None:
        if at in wanted and wanted[at] in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, parts)  # type: ignore[arg-type]

    def full_output(path: Path, parts: object) -> None:
        raise EdgeADError(f"cannot write {path}", got="No space left on device")

    monkeypatch.setattr(store_module, "write_file", full)
    if at == "put":
        monkeypatch.setattr(store_module, "write_output", full_output)
    with pytest.raises(EdgeADError, match="No space left"):
        lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker(), bad)
    assert bundle.read_bytes() == before
    assert not list(store_of(bundle).rglob("*.tmp"))
    monkeypatch.undo()
    assert lesson(bundle, tmp_path / "lot", QuickMaker(), bad).state == "learned"
    assert agrees(bundle)


@pytest.fixture
def small(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A disk of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("a small disk is mounted by root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full(small: Path, golden: Path, tmp_path: Path) -> None:
    """However much room is left, the bundle is the old one or the new one, and the audit says which."""
    bundle, lot = small / "part.bundle", new_lot(tmp_path / "lot")
    size, learned = golden.stat().st_size, set()
    for room in (0.05, 0.5, 1.1, 1.7, 2.2, 2.8, 3.3, 4.5):
        shutil.rmtree(store_of(bundle), ignore_errors=True)
        shutil.copy(golden, bundle)
        filler = small / "filler"
        free = shutil.disk_usage(small).free
        filler.write_bytes(bytes(max(0, free - int(room * size))))
        try:
            lesson(bundle, lot, QuickMaker())
            learned.add(True)
        except (EdgeADError, OSError):
            learned.add(False)
            assert bundle.read_bytes() == golden.read_bytes()
        filler.unlink()
        with Store(store_of(bundle)).held():
            Store(store_of(bundle)).settle(bundle)
        assert agrees(bundle)
    assert learned == {True, False}


def test_bad_input(bundle: Path, tmp_path: Path) -> None:
    lot = new_lot(tmp_path / "lot")
    with pytest.raises(DatasetError, match="nothing to learn"):
        lesson(bundle, None, QuickMaker())
    with pytest.raises(SpecError, match="--who is too long"):
        lesson_as(bundle, lot, "x" * 201)
    with pytest.raises(EdgeADError, match="no bundle at"):
        lesson(tmp_path / "typo.bundle", lot, QuickMaker())
    with pytest.raises(EdgeADError, match=r"a\.png: this is no bundle"):
        lesson(picture(tmp_path / "x" / "a.png", good_frame(1)), lot, QuickMaker())
    (lot / "broken.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot be used"):
        lesson(bundle, lot, QuickMaker())
    (lot / "broken.png").unlink()
    cv2.imwrite(str(lot / "deep.png"), np.full((64, 64), 4000, np.uint16))
    with pytest.raises(DatasetError, match="8 bits"):
        lesson(bundle, lot, QuickMaker())
    (lot / "deep.png").unlink()
    for path in sorted(lot.iterdir())[1:]:
        path.unlink()
    with pytest.raises(LearningError, match="two good images"):
        lesson(bundle, lot, QuickMaker())
    assert not (store_of(bundle) / "audit.jsonl").exists()


def lesson_as(bundle: Path, lot: Path, who: str) -> Report:
    from edge_ad.learning.lesson import learn
    from edge_ad.learning.task import Asked

    return learn(Asked(bundle, sorted(lot.iterdir()), (), store_of(bundle), who=who), QuickMaker())


def test_the_user_is_named_if_nobody_is(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ines")
    assert lesson_as(bundle, new_lot(tmp_path / "lot"), "  ").who == "ines"

    def nobody() -> str:
        raise KeyError("uid 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert lesson_as(bundle, new_lot(tmp_path / "more", 3, 4800), "").who == "unknown"


def test_a_tampered_audit_stops_lessons(bundle: Path, tmp_path: Path) -> None:
    lesson(bundle, new_lot(tmp_path / "lot"), QuickMaker())
    path, before = store_of(bundle) / "audit.jsonl", bundle.read_bytes()
    path.write_text(path.read_text().replace("anna", "eve"))
    with pytest.raises(LearningError, match="was changed after it was written"):
        lesson(bundle, new_lot(tmp_path / "more", 3, 4800), QuickMaker())
    with pytest.raises(LearningError, match="was changed after it was written"):
        undo(bundle, store_of(bundle))
    assert bundle.read_bytes() == before


def test_roles_of_accepted_images(bundle: Path, tmp_path: Path) -> None:
    class Half(QuickMaker):
        def make(self, task, folder):  # type: ignore[no-untyped-def]
            made = super().make(task, folder)
            return dataclasses.replace(made, taught=frozenset(p for p in task.offered if p.name.startswith("lot")))

    report = lesson(bundle, usual(new_lot(tmp_path / "lot")), Half())
    assert all(name.startswith("usual") for name in names(report, ACCEPTED))
    assert names(report, ACCEPTED)
    (entry,) = entries_of(Store(store_of(bundle)).audit.sound().records)
    assert entry.pictures == report.pictures
