"""The lock of a data folder."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.lock import FolderLock, is_locked
from edge_ad.station.notify import notify, watchdog_s


def test_one_holder(tmp_path: Path) -> None:
    folder = tmp_path / "new/data"
    assert not is_locked(folder)
    lock = FolderLock(folder)
    assert is_locked(folder)
    with pytest.raises(EdgeADError, match="another station works on"):
        FolderLock(folder)
    lock.close()
    lock.close()
    assert not is_locked(folder)
    FolderLock(folder).close()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EdgeADError, match="cannot be written"):
        FolderLock(tmp_path / "file")

    def refuse(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(EdgeADError, match=r"unable to open.*Check its owner"):
        FolderLock(tmp_path / "data")


def test_without_a_service_manager_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    notify("READY=1")
    for text, pid, expected in (("", "", None), ("2000000", "", 2.0), ("2000000", "1", None), ("x", "", None)):
        monkeypatch.setenv("WATCHDOG_USEC", text)
        monkeypatch.setenv("WATCHDOG_PID", pid)
        assert watchdog_s() == expected
