"""The measurement of the link to a PLC: it runs, and finds results that differ from the journal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="bench needs what the export needs")
pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")

from bench import plc


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="Windows tells no load")
def test_it_measures_both_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plc.main(["--parts", "5", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 2 * 6
    assert [line for line in lines if "differ" in line] == [
        f"| {role} | results that differ from the journal's | 0 | | |" for role in ("server", "client")
    ]


def test_a_result_that_is_not_the_journals_is_counted(tmp_path: Path) -> None:
    from edge_ad.station.journal import Journal
    from edge_ad.station.outcomes import REJECT, Decision
    from tests.station.making import capture

    (tmp_path / "var").mkdir()
    with Journal(tmp_path / "var/journal.sqlite", writes=True) as journal, journal.transaction():
        for part in ("a", "b"):
            journal.accept(capture(part))
            journal.decide("top", part, capture(part), Decision(REJECT), 1.0, "")
    log = tmp_path / "log"
    lines = [("a", 1, "good"), ("b", 2, "reject"), ("c", 9, "reject")]
    told = [{"part": part, "number": number, "result": result, "seen_ns": 5e6} for part, number, result in lines]
    log.write_text("\n".join(map(json.dumps, told)), encoding="utf-8")
    parts = [part for part, _, _ in lines]
    times, unequal = plc.compare(tmp_path, log, dict.fromkeys(parts, (1e6, 2e6)), dict.fromkeys(parts, 4e6))
    assert unequal == 2
    assert times == {
        "verdict to durable": [1.0],
        "durable to register": [2.0],
        "verdict to register": [3.0],
        "verdict to seen": [4.0],
    }
