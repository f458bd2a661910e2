"""The table of an evaluation as text."""

from __future__ import annotations

from edge_ad.evaluation import summary


def test_the_table_is_aligned() -> None:
    row = {"category": "a", "method": "m", "backbone": "b", "bundle": "x", "tp": 1, "fn": 2, "miss": 2 / 3, "mb": 1.25}
    text = summary.to_text([row, {**row, "category": "longer", "image_auroc": 0.5}]).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[1].split()[3:] == ["-"] * 8 + ["2/3"] + ["-"] * 4 + ["1.2"]


def test_the_table_fits_the_terminal() -> None:
    row = {"category": "part", "method": "padim", "backbone": "resnet18", "bundle": "x.bundle", "image_auroc": 0.5}
    other = {**row, "method": "knn"}
    whole = summary.to_text([row, other]).splitlines()
    assert "bundle" not in whole[0], "it says nothing that the others do not"
    assert "bundle" in summary.to_text([row, row]).splitlines()[0]
    for width in range(64, len(whole[0]) + 2):
        text = summary.to_text([row, other], width).splitlines()
        assert max(map(len, text)) <= width
        assert ("more columns in summary.csv" in text[-1]) == (width < len(whole[0]))
        assert "image AUROC" in text[0]
    assert "image AUROC" in summary.to_text([row], 10)
