"""The folder of results: whose it is, which parts count, and who may write."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra fleet)")

import pyarrow.parquet as pq

from edge_ad.errors import BundleError, EdgeADError, SpecError
from edge_ad.fleet.inspector import failed_columns
from edge_ad.fleet.results import Identity, Results
from edge_ad.fleet.tables import facts_of, read_columns, to_parquet
from edge_ad.system.locks import locked

OWN = Identity("bundle-1", {"engine": "auto", "point": None}, 5, "abc", 2)
BOUNDS = [(0, 2), (2, 4), (4, 5)]


def part(count: int, shard: int, identity: Identity = OWN) -> bytes:
    columns = {"path": ["a"] * count, "label": [None] * count, **failed_columns(count, 0.5, "f32", "no")}
    return to_parquet(columns, {**identity.facts(shard), "retries": "3"})


def where(tmp_path: Path, kind: str) -> str:
    if kind == "url":
        pytest.importorskip("fsspec", reason="URLs need fsspec (the extra fleet)")
        return f"memory:/{tmp_path}"
    return str(tmp_path / "out")


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_a_run_goes_on_with_its_own_parts(tmp_path: Path, kind: str) -> None:
    out = where(tmp_path, kind)
    results = Results(out)
    with results.claimed(OWN):
        assert results.parts(OWN, BOUNDS) == {}
        results.write(0, part(2, 0))
        results.write(1, part(2, 1)[:-9])  # cut short by whoever copied it
        results.write(2, part(2, 2))  # of a last shard that had two images
        results.write(7, part(2, 7))
    with Results(out).claimed(OWN):
        assert Results(out).parts(OWN, BOUNDS) == {0: 3}
    other = dataclasses.replace(OWN, images_sha256="def")
    assert Results(out).parts(other, BOUNDS) == {}
    with pytest.raises(BundleError, match=r"of another run.*images_sha256 abc.*got images_sha256 def"):
        Results(out).claimed(other).__enter__()
    for changed in ({"bundle": "bundle-2"}, {"shard_size": 3}, {"options": {"engine": "auto", "point": "int8"}}):
        with pytest.raises(BundleError, match=f"{next(iter(changed))} "):
            Results(out).claimed(dataclasses.replace(OWN, **changed)).__enter__()


def test_parts_that_do_not_count(tmp_path: Path) -> None:
    """Of another shard, another run or another tool, or damaged anywhere: they are done again."""
    whole = part(2, 1)
    assert counts(tmp_path, whole)
    for other in (
        part(2, 0),
        part(2, 1, dataclasses.replace(OWN, bundle="bundle-2")),
        part(2, 1, dataclasses.replace(OWN, options={"engine": "auto", "point": "int8"})),
        part(2, 1, dataclasses.replace(OWN, images_sha256="def")),
        b"",
        b"PAR1PAR1",
    ):
        assert not counts(tmp_path, other)
    table = pq.read_table(io.BytesIO(whole))
    for changed in (table.drop_columns(["error"]), table.replace_schema_metadata({b"\xff": b"\xff"})):
        out = io.BytesIO()
        pq.write_table(changed, out)
        assert not counts(tmp_path, out.getvalue())
    for at in range(4, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        if counts(tmp_path, bytes(flipped)):
            assert read_columns(bytes(flipped)) is not None, "what counts can be read"
    assert not counts(tmp_path, whole[:40] + bytes(200) + whole[240:]), "rows are damaged, and the end is whole"


def counts(tmp_path: Path, data: bytes) -> bool:
    results = Results(str(tmp_path / "out"))
    with results.claimed(OWN):
        results.write(1, data)
        return 1 in results.parts(OWN, BOUNDS)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"mine")
    with pytest.raises(SpecError, match="holds other files"):
        Results(str(tmp_path)).claimed(OWN).__enter__()
    assert os.listdir(tmp_path) == ["photo.png"]
    with pytest.raises(SpecError, match="--out is a file"):
        Results(str(tmp_path / "photo.png")).claimed(OWN).__enter__()
    with pytest.raises(EdgeADError, match="cannot write"):
        Results(str(tmp_path / "photo.png" / "below")).claimed(OWN).__enter__()


def test_a_run_that_failed_at_once_keeps_no_folder(tmp_path: Path) -> None:
    """As with an operating point that the bundle does not have: the next run gives the right one."""
    results, right = Results(str(tmp_path)), dataclasses.replace(OWN, options={"point": "f32"})
    with results.claimed(OWN):
        pass
    with results.claimed(right):
        results.write(0, part(2, 0, right))
    with pytest.raises(BundleError, match="of another run"), results.claimed(OWN):
        pass


def test_what_a_killed_run_left_behind(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "fleet.json").write_text("[" * 100_000)
    with pytest.raises(EdgeADError, match="cannot be read"):
        Results(str(tmp_path)).claimed(OWN).__enter__()
    (tmp_path / "fleet.json").write_text("{")
    (tmp_path / "parts" / ".part-00001.parquet.0123.tmp").write_bytes(b"half")
    with pytest.raises(EdgeADError, match="cannot be read"):
        Results(str(tmp_path)).claimed(OWN).__enter__()
    (tmp_path / "fleet.json").write_text(json.dumps(dataclasses.asdict(OWN)))
    with Results(str(tmp_path)).claimed(OWN):
        assert os.listdir(tmp_path / "parts") == []


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock, busy = tmp_path / "lock", EdgeADError("it is locked")
    script = (
        "import sys; from pathlib import Path; from edge_ad.errors import EdgeADError\n"
        "from edge_ad.system.locks import locked\n"
        "with locked(Path(sys.argv[1]), EdgeADError('')):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EdgeADError, match="it is locked"), locked(lock, busy):
            pass
        holder.kill()
        holder.wait(60)
    with locked(lock, busy):
        pass
    with pytest.raises(EdgeADError, match="cannot write"), locked(tmp_path / "none" / "lock", busy):
        pass


def test_a_part_holds_its_bits() -> None:
    columns = failed_columns(3, 0.1, "f32", "")
    columns["score"][:] = [0.1 + 0.2, 5e-324, float("nan")]
    data = to_parquet({"path": list("abc"), "label": ["x", None, "y"], **columns}, {"shard": "1"})
    assert facts_of(data) == ({"shard": "1"}, 3)
    read = read_columns(data)
    assert read["score"][:2] == [0.1 + 0.2, 5e-324]
    assert read["score"][2] != read["score"][2]
    assert read["label"] == ["x", None, "y"]
    assert list(read_columns(data, ("error", "path", "none"))) == ["path", "error"]
    assert facts_of(data[:-1]) is None
