"""Aligned tables."""

from __future__ import annotations

from pathlib import Path

from edge_ad.system.tables import aligned, csv_table, named


def test_columns_stand_below_one_another() -> None:
    rows = [("point", "ms"), ("f32", "12.5"), ("int8-openvino", "3")]
    assert aligned(rows) == "point          ms\nf32            12.5\nint8-openvino  3"
    assert aligned(rows, [False, True]) == "point            ms\nf32            12.5\nint8-openvino     3"


def test_a_shorter_row_runs_on_and_widens_no_column() -> None:
    rows = [("point", "ms", "frames"), ("f32", "1.0", "9"), ("bf16", "not run: this CPU has no bf16 arithmetic")]
    assert aligned(rows).splitlines()[1:] == ["f32    1.0  9", "bf16   not run: this CPU has no bf16 arithmetic"]


def test_facts_have_their_values_below_one_another() -> None:
    assert named([("a", "1"), ("longer", "2 3")]) == "a       1\nlonger  2 3"


def test_a_csv_file_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes('file,score\n"a,b.png",1.25\nbroken\xff.png,10\n'.encode("latin-1"))
    assert csv_table(path) == "file            score\na,b.png          1.25\nbroken\\xff.png     10"
