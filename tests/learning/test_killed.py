"""A lesson that is killed at any step: the bundle is the old one or the new one, and the audit agrees afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ad.learning.store import Store, id_of, store_of
from edge_ad.learning.undo import undo
from tests.learning.making import QuickMaker, agrees, lesson, new_lot
from tests.paths import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
import edge_ad.learning.lesson as lessons, edge_ad.learning.store as stores
from edge_ad.learning.audit import Audit
from edge_ad.learning.undo import undo
from tests.learning.making import QuickMaker, lesson

step, what, bundle, lot = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
done = 0

def counted(inner):
    def call(*args, **kwargs):
        global done
        for _ in range(2):  # before and after
            if done == step:
                print(inner.__name__, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            if _ == 0:
                result = inner(*args, **kwargs)
        return result
    return call

stores.write_file = counted(stores.write_file)
stores.write_output = counted(stores.write_output)
Audit.append = counted(Audit.append)
lessons._keep_new = counted(lessons._keep_new)
undo(bundle, stores.store_of(bundle)) if what == "undo" else lesson(bundle, lot, QuickMaker())
"""


def killed(step: int, what: str, bundle: Path, lot: Path) -> bool:
    """Whether it was killed; where it has no such step, it ended."""
    command = [sys.executable, "-c", KILLED, str(step), what, str(bundle), str(lot)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("step", range(16))
def test_a_lesson(bundle: Path, tmp_path: Path, step: int) -> None:
    """Steps: the old bundle kept, an image locked, begun, the new bundle kept, ready, in place, completed."""
    old, lot = bundle.read_bytes(), new_lot(tmp_path / "lot", 3)
    assert killed(step, "lesson", bundle, lot) == (step < 14)
    there = id_of(bundle)
    assert there is not None
    is_new = bundle.read_bytes() != old
    assert is_new == (step >= 11)
    store = Store(store_of(bundle))
    with store.held():
        said = store.settle(bundle)
    assert len(said) == (5 <= step < 13)
    assert agrees(bundle)
    if is_new:
        undo(bundle, store_of(bundle))
        assert bundle.read_bytes() == old
    assert lesson(bundle, lot, QuickMaker()).state == "learned"
    assert agrees(bundle)
    assert not list(store_of(bundle).rglob("*.tmp"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("step", range(7))
def test_undo(bundle: Path, tmp_path: Path, step: int) -> None:
    old, lot = bundle.read_bytes(), new_lot(tmp_path / "lot", 3)
    lesson(bundle, lot, QuickMaker())
    new = bundle.read_bytes()
    assert killed(step, "undo", bundle, lot) == (step < 6)
    assert bundle.read_bytes() == (old if step >= 3 else new)
    store = Store(store_of(bundle))
    with store.held():
        store.settle(bundle)
    assert agrees(bundle)
    if step < 3:
        undo(bundle, store_of(bundle))
    assert bundle.read_bytes() == old
