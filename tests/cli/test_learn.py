"""`edge-ad learn` and `edge-ad log` as a person, a script or the page of a station calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_ad.cli import learn as command
from edge_ad.cli import main
from edge_ad.learning.store import Store, id_of, store_of
from tests.cli.calling import failing
from tests.learning.making import QuickMaker, new_lot
from tests.tiny import bad_frame, good_frame, picture


@pytest.fixture(autouse=True)
def maker(monkeypatch: pytest.MonkeyPatch) -> QuickMaker:
    """Lessons without a fit: tests/export/test_learn.py has those with one."""
    found = QuickMaker()
    monkeypatch.setattr(command, "export_module", lambda name, remedy: found)
    return found


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    return new_lot(tmp_path / "lot")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    picture(tmp_path / "bad" / "below" / "scratch.png", bad_frame(2000))
    return tmp_path / "bad"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def test_learn_log_and_undo(bundle: Path, lot: Path, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = id_of(bundle)
    out = said(capsys, "learn", bundle, "--good", lot, "--defects", bad, "--who", "anna")
    assert f"{before} -> {id_of(bundle)}" in out
    assert "1 locked defects, which are never taught: scratch.png" in out
    assert "power" in out
    log = said(capsys, "log", bundle)
    for text in ("lesson, completed", "anna", "50.0% -> 49.0%", "scratch.png", "with 1 lesson", f"{before} -> "):
        assert text in log
    assert f"{bundle} is {before} again" in said(capsys, "learn", bundle, "--undo", "--who", "eve")
    log = said(capsys, "log", bundle)
    assert "undone, completed" in log
    assert "eve" in log
    assert "with 0 lessons" in log
    failing(["learn", bundle, "--undo"], capsys, "is the first bundle")


def test_json(bundle: Path, lot: Path, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = id_of(bundle)
    found = json.loads(said(capsys, "learn", bundle, "--good", lot, "--defects", bad, "--json"))
    assert (found["state"], found["before"], found["after"]) == ("learned", before, id_of(bundle))
    assert found["figures"][0]["power"] == [0.5, 0.49]
    log = json.loads(said(capsys, "log", bundle, "--json"))
    assert (log["known"], log["broken"], log["chain"]) == (True, None, [1])
    (entry,) = log["entries"]
    digests = {each["sha256"] for each in entry["pictures"]}
    assert {*Store(store_of(bundle)).locked("defect")} < digests
    assert entry["unfinished"] is False


def test_a_refusal_in_json(
    bundle: Path, lot: Path, bad: Path, maker: QuickMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page shows the picture of the defect that would pass."""
    maker.lost = {"scratch.png": "drawn.png"}
    out = failing(["learn", bundle, "--good", lot, "--defects", bad, "--json"], capsys, "a known defect would pass")
    found = json.loads(out)
    assert (found["state"], found["pictures"]) == ("refused", ["drawn.png"])
    assert "scratch.png" in found["what"]
    out = failing(["learn", bundle, "--good", lot / "typo", "--json"], capsys, "there is no ")
    assert json.loads(out)["state"] == "failed"


def test_elsewhere_and_another_store(
    bundle: Path, lot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle.read_bytes()
    out, store = tmp_path / "new.bundle", tmp_path / "store"
    said(capsys, "learn", bundle, "--good", lot, "--out", out, "--store", store)
    assert bundle.read_bytes() == before
    assert id_of(out) != id_of(bundle)
    assert not store_of(bundle).exists()
    assert "with 0 lessons" in said(capsys, "log", bundle, "--store", store)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["BUNDLE"], "there is nothing to learn"),
        (["BUNDLE", "--good", "TYPO"], "there is no .*typo"),
        (["BUNDLE", "--good", "EMPTY"], "no images|no good images|is no category|not a category"),
        (["BUNDLE", "--defects", "EMPTY"], "there are no images below"),
        (["BUNDLE", "--good", "IMAGE", "IMAGE"], "two good images"),
        (["IMAGE", "--good", "LOT"], "a.png: this is no bundle"),
        (["TYPO", "--good", "LOT"], "there is no bundle"),
        (["--good", "LOT"], "which bundle is meant"),
        (["BUNDLE", "--good", "LOT", "--max-growth", "nan"], "growth"),
        (["BUNDLE", "--good", "LOT", "--max-power-drop", "-1"], "power_drop"),
        (["BUNDLE", "--good", "LOT", "--threads", "0"], "--threads is out of range"),
        (["BUNDLE", "--undo", "--good", "LOT"], "--undo takes no images"),
        (["BUNDLE", "--undo"], "has learned nothing"),
        (["BUNDLE", "--good", "LOT", "--out", "BUNDLE"], "--out would replace the bundle"),
        (["BUNDLE", "--good", "LOT", "--camera", "top"], "which bundle is meant"),
        (["--station", "TYPO"], "--station with --camera"),
        (["--station", "TYPO", "--camera", "top"], "typo"),
    ],
)
def test_bad_input(
    bundle: Path, lot: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    image = picture(tmp_path / "one" / "a.png", good_frame(4400))
    places = {"BUNDLE": bundle, "LOT": lot, "TYPO": tmp_path / "typo", "EMPTY": tmp_path / "empty", "IMAGE": image}
    before = bundle.read_bytes()
    failing(["learn", *(places.get(each, each) for each in arguments)], capsys, says)
    assert bundle.read_bytes() == before
    assert not (store_of(bundle) / "audit.jsonl").exists()


def test_a_log_that_was_changed(bundle: Path, lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is before the broken record is told, and then where it is."""
    said(capsys, "learn", bundle, "--good", lot, "--who", "anna")
    audit = store_of(bundle) / "audit.jsonl"
    lines = audit.read_text().splitlines(keepends=True)
    audit.write_text("".join([lines[0], lines[1].replace("0.49", "0.51"), *lines[2:]]))
    out = failing(["log", bundle], capsys, r"was changed after it was written.*line 2: its content does not fit")
    assert "lesson, unfinished" in out
    out = failing(["log", bundle, "--json"], capsys, "line 2")
    assert json.loads(out)["broken"].startswith("line 2")


def test_a_log_tells_what_is_odd(bundle: Path, golden_roi: Path, lot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing(["log", bundle], capsys, "has no audit")
    said(capsys, "learn", bundle, "--good", lot)
    with (store_of(bundle) / "audit.jsonl").open("ab") as file:
        file.write(b'{"number"')
    assert "was cut off while it was written (9 bytes)" in said(capsys, "log", bundle)
    shutil.copy(golden_roi, bundle)
    assert "of which this audit knows nothing" in said(capsys, "log", bundle)
    bundle.unlink()
    assert "is no bundle now" in said(capsys, "log", bundle)


def test_records_that_are_missing_at_the_end_show_in_the_bundle(
    bundle: Path, lot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "learn", bundle, "--good", lot)
    audit = store_of(bundle) / "audit.jsonl"
    audit.write_text("".join(audit.read_text().splitlines(keepends=True)[:1]))
    out = said(capsys, "log", bundle)
    assert "of which this audit knows nothing" in out
    assert "record 1 is unfinished" in out
