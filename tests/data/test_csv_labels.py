"""Labels in a CSV file: one thing whatever its writer called it, and what says nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.data.labelled import load_labelled
from edge_ad.errors import DatasetError


def defect_of(folder: Path, label: str) -> str | None:
    (folder / "a.png").touch()
    (folder / "list.csv").write_text(f"path;label\na.png;{label}\n", encoding="utf-8")
    (image,) = load_labelled(str(folder / "list.csv")).images
    return image.defect


@pytest.mark.parametrize(
    "label", ["0", "0.0", "0,0", "-0.0", "False", "FALSE", "good", "Good", "ok", "OK", "pass", " ok "]
)
def test_good(tmp_path: Path, label: str) -> None:
    assert defect_of(tmp_path, label) is None


@pytest.mark.parametrize("label", ["1", "1.0", "1,0", "True", "bad", "KO", "NG", "NOK", "fail", "defect", "Anomaly"])
def test_a_defect_of_no_kind(tmp_path: Path, label: str) -> None:
    assert defect_of(tmp_path, label) == "defect"


@pytest.mark.parametrize(("label", "kind"), [("scratch", "scratch"), ("Riß 2", "Riß 2"), ("2", "2"), ("3.0", "3")])
def test_a_kind(tmp_path: Path, label: str, kind: str) -> None:
    assert defect_of(tmp_path, label) == kind


@pytest.mark.parametrize("label", ["0.5", "-1", "nan", "inf", "unknown", "None", "no", "?", "-"])
def test_what_says_nothing_is_an_error(tmp_path: Path, label: str) -> None:
    with pytest.raises(DatasetError) as caught:
        defect_of(tmp_path, label)
    message = str(caught.value)
    assert "list.csv" in message
    assert f"line 2: the label {label!r} of a.png" in message
    assert "a label is good, ok, normal, pass, false or 0; bad" in message


@pytest.mark.parametrize("again", ["a.png", "./a.png"])
def test_an_image_is_not_good_and_a_defect(tmp_path: Path, again: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "list.csv").write_text(f"path,label\na.png,0\n{again},1\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"line 3: .*a\.png is good on line 2"):
        load_labelled(str(tmp_path / "list.csv"))


def test_a_column_stands_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,label\na.png,0,1\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="a column twice"):
        load_labelled(str(tmp_path / "list.csv"))
