"""One station at a time works on a data folder. The lock dies with its owner, on every system."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from edge_ad.errors import EdgeADError
from edge_ad.system.files import write_file


class FolderLock:
    """Held from the moment it is made until `close`, or until the process ends, however it ends.

    It is SQLite's own lock on a file that holds nothing: the same calls on Linux, Windows and macOS.

    Raises:
        EdgeADError: another process has it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        owner = folder / "station.pid"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                folder / "station.lock", timeout=0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(folder, error) from error
        try:
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("CREATE TABLE IF NOT EXISTS held (pid INTEGER)")
            write_file(owner, [f"{os.getpid()}\n".encode()])
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" not in str(error):
                raise _unusable(folder, error) from error
            raise EdgeADError(
                f"another station works on {folder}",
                expected="a data folder of its own for each station",
                got=f"process {_read(owner)}",
                remedy="Stop it, or give this one another data.",
            ) from error
        except OSError as error:
            self._db.close()
            raise _unusable(folder, error) from error

    def close(self) -> None:
        """Gives the folder free. May be called twice."""
        self._db.close()


def is_locked(folder: Path) -> bool:
    """Whether a station works on the folder now."""
    path = folder / "station.lock"
    if not path.exists():
        return False
    db = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        db.execute("BEGIN EXCLUSIVE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    finally:
        db.close()
    return False


def _read(owner: Path) -> str:
    try:
        return owner.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "unknown"


def _unusable(folder: Path, error: Exception) -> EdgeADError:
    got = (error.strerror or error) if isinstance(error, OSError) else error
    return EdgeADError(
        f"the data folder {folder} cannot be written",
        got=got,
        remedy="Check its owner and permissions, and the space on its disk.",
    )
