"""The audit: records follow one another, and what was changed is found."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError, LearningError
from edge_ad.learning import audit as module
from edge_ad.learning.audit import FIRST, Audit, digest_of
from edge_ad.learning.entries import entries_of


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    found = Audit(tmp_path / "audit.jsonl")
    for name in ("a", "b", "ü\udcff"):
        found.append({"who": name, "value": 0.1})
    return found


def test_records_name_the_one_before(audit: Audit) -> None:
    trail = audit.read()
    assert trail.broken is None
    assert [each["number"] for each in trail.records] == [1, 2, 3]
    assert [each["previous"] for each in trail.records] == [FIRST, *(each["sha256"] for each in trail.records[:2])]
    assert all(digest_of(each) == each["sha256"] for each in trail.records)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0].replace('"a"', '"x"'), *lines[1:]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [*lines[:2], lines[1], lines[2]], 3),
        (lambda lines: [*lines[:2], "[]"], 3),
        (lambda lines: [*lines[:2], "what?"], 3),
        (lambda lines: [*lines[:2], lines[2].replace("0.1", "NaN")], 3),
    ],
)
def test_what_was_changed_is_found(audit: Audit, change, line: int) -> None:  # type: ignore[no-untyped-def]
    lines = audit.path.read_text().splitlines()
    audit.path.write_text("\n".join(change(lines)) + "\n")
    trail = audit.read()
    assert trail.broken is not None
    assert trail.broken.startswith(f"line {line}: ")
    assert len(trail.records) == line - 1
    for act in (audit.sound, lambda: audit.append({"who": "c"})):
        with pytest.raises(LearningError, match=f"line {line}"):
            act()


def test_a_forger_must_forge_all_that_follows(audit: Audit) -> None:
    """A record with a right digest of its own does not fit those after it."""
    lines = audit.path.read_text().splitlines()
    forged = {**json.loads(lines[0]), "who": "x"}
    forged["sha256"] = digest_of(forged)
    audit.path.write_text("\n".join([json.dumps(forged), *lines[1:]]) + "\n")
    assert (audit.read().broken or "").startswith("line 2: ")


def test_a_line_that_was_cut_off_is_replaced(audit: Audit) -> None:
    with audit.path.open("ab") as file:
        file.write(b'{"number": 4, "prev')
    trail = audit.read()
    assert (trail.broken, trail.torn, len(trail.records)) == (None, 19, 3)
    audit.append({"who": "d"})
    assert [each["who"] for each in audit.sound().records][-1] == "d"
    assert audit.read().torn == 0


def test_a_full_disk_leaves_what_was_there(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    before = audit.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(EdgeADError, match="No space left"):
        audit.append({"who": "d"})
    assert audit.path.read_bytes() == before


def test_an_audit_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert Audit(tmp_path / "none.jsonl").read().records == ()


@pytest.mark.parametrize(
    "record",
    [
        {"state": "begun"},
        {"state": "begun", "kind": "lesson", "who": "", "time": "", "before": "", "pictures": [{"odd": 1}]},
        {"state": ["begun"], "of": [1]},
    ],
)
def test_records_of_another_program(tmp_path: Path, record: dict[str, object]) -> None:
    """Their digests are right, and still nobody can read them."""
    audit = Audit(tmp_path / "audit.jsonl")
    audit.append(record)
    with pytest.raises(LearningError, match=r"cannot be understood.*record 1"):
        entries_of(audit.sound().records)


def test_a_line_that_nests_too_deeply(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    audit.path.write_bytes(b"[" * 200_000 + b"\n")
    assert audit.read().broken == "line 1: it is no record"
