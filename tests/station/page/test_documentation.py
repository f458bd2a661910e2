"""What docs/http.md says: metrics as the code has them, and commands that work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `station`")
pytest.importorskip("uvicorn", reason="the page needs the extra `station`")
pytest.importorskip("prometheus_client", reason="the page needs the extra `station`")
pytest.importorskip("jinja2", reason="the page needs the extra `station`")

from edge_ad.station.page import metrics, priority
from edge_ad.station.page.auth import read_token
from tests.paths import ROOT
from tests.station.page.test_page import running

TEXT = (ROOT / "docs/http.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_the_code() -> None:
    assert metrics.table() in TEXT


@pytest.mark.skipif(shutil.which("curl") is None or os.name == "nt", reason="needs curl and a shell")
def test_the_commands_of_the_documentation(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "NICE", 0)
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 3
    shutil.copy(place / "frames/bad_0.png", place / "part.png")
    answers = []
    with running(place) as (station, _):
        host = station.page.host
        assert host is not None
        token = read_token(station.config.data / "tokens/operator")
        for line in lines:
            command = line.replace("http://127.0.0.1:8080/", host.url).replace("side", "top")
            done = subprocess.run(
                ["sh", "-c", command], cwd=place, env={**os.environ, "TOKEN": token}, capture_output=True, timeout=120
            )
            answers.append(json.loads(done.stdout))
    assert answers[0]["outcome"] in ("good", "reject")
    assert answers[1]["name"] == "top"
    assert {output["name"]: output["data"] for output in answers[2]["outputs"]}["is_anomalous"] == [True]
