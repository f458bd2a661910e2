"""The tables of FORMAT.md are those of the declarations."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.spec.table import fields_table, main, with_tables
from tests.paths import ROOT

PAGE = ROOT / "FORMAT.md"


def test_format_md_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), "run python -m edge_ad.spec.table FORMAT.md"


def test_a_table_that_was_changed_by_hand_is_made_anew(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    page = tmp_path / "FORMAT.md"
    page.write_text(text.replace("`backbone.dim`", "`backbone.size`"), encoding="utf-8")
    assert main([str(page)]) == 0
    assert page.read_text(encoding="utf-8") == text


def test_every_field_has_a_meaning() -> None:
    rows = fields_table().splitlines()[2:]
    assert len(rows) > 80
    assert [row for row in rows if row.endswith(("|  |", ": |"))] == []


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="begin fields"):
        with_tables("nothing")
