"""What sinks and links have in common: kinds, each with its keys, its files and its opener."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edge_ad.station import kinds
from edge_ad.station.kinds import Kinds
from edge_ad.station.plc.table import LINKS
from edge_ad.station.sinks.table import SINKS, sink_place
from edge_ad.system.keys import Key, text

ALL = [(SINKS, "open_sink", kind) for kind in SINKS] + [(LINKS, "open_link", kind) for kind in LINKS]


@pytest.mark.parametrize(("table", "opener", "kind"), ALL)
def test_each_kind_is_whole(table: Kinds[Any, Any], opener: str, kind: str) -> None:
    keys = table.keys_of(kind)
    assert {"name", *table.own(kind, "KEYS")} <= {*keys}
    assert all(key.help for key in keys.values())
    assert {*table.files_of(kind)} <= {*keys}
    assert callable(table.own(kind, opener))


def test_where_a_sink_leads_is_among_its_keys() -> None:
    assert all({*sink_place(kind)} <= {*SINKS.own(kind, "KEYS")} for kind in SINKS)
    assert (sink_place("webhook"), sink_place("jsonl")) == (("url",), ("path",))


def test_what_a_module_may_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = SimpleNamespace(KEYS={"path": Key(text, "a file")}, open_it=lambda opening: f"opened {opening}")
    full = SimpleNamespace(KEYS={}, FILES=("path",), problems=lambda values: [("path", f"it is {values['path']}")])
    monkeypatch.setattr(kinds.importlib, "import_module", {"a.bare": bare, "a.full": full}.__getitem__)
    table: Kinds[str, str] = Kinds("open_it", {"name": Key(text, "a name")}, {"bare": "a.bare", "full": "a.full"})
    assert [*table.keys_of("bare")] == ["name", "path"]
    assert (table.files_of("bare"), table.problems_of("bare", {})) == ((), [])
    assert (table.files_of("full"), table.problems_of("full", {"path": "x"})) == (("path",), [("path", "it is x")])
    assert table.open("bare", "here") == "opened here"
    with pytest.raises(AttributeError):
        table.open("full", "here")
