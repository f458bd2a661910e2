"""A shift: 2,000 parts, a PLC, and an operator in a browser who labels 20 false rejects, has the station learn them,
and takes that back. In the end the journal, the PLC's own log and the page say the same of every part.

Parts come marked with a stamp that the bundle has never seen: good ones, and it rejects them. Others have a scratch.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row
from tests.demo.browser import chromium
from tests.processes import child
from tests.sources.partners import free_port
from tests.station.making import RUN, wait_for

pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (the station extra)")

from tests.station.plc.counterpart import ClientWires, Plc  # after the packages that it needs

PARTS, LABELS = 2000, 20
BAD, MARKED, SEED = 0.05, 0.06, 5
# Parts until the labels are there, while the station learns, after it has, while that is undone, and after that.
PHASES = (1000, 300, 300, 200, 200)
CONFIG = """
[station]
name = "shift"
http = "127.0.0.1:{http}"

[[camera]]
name = "top"
source = "synthetic:64x64"
options = {{ bad = {bad}, marked = {marked}, seed = {seed} }}
bundle = "part.bundle"
trigger = "software"
deadline_ms = 60000
threads = 1

[[plc]]
kind = "modbus-server"
camera = "top"
bind = "127.0.0.1:{modbus}"
heartbeat_ms = 60000

[[sink]]
kind = "jsonl"
path = "outcomes.jsonl"
"""


def kind_of(sequence: int) -> str:
    """What a synthetic frame shows, as the source draws it."""
    drawn = np.random.default_rng((SEED, sequence)).random()
    return "bad" if drawn < BAD else "marked" if drawn < BAD + MARKED else "plain"


class Operator:
    """A person before the page, with a mouse and a keyboard."""

    def __init__(self, browser: Any, address: str, token: str) -> None:
        self.browser, self.address = browser, address
        self.go("/login")
        self.one("input[name=token]").send_keys(token)
        self.click("main form button, form.panel button")
        wait_for(lambda: not browser.current_url.endswith("/login"))

    def go(self, path: str) -> None:
        self.browser.get(f"{self.address}{path}")

    def all(self, selector: str) -> list[Any]:
        return list(self.browser.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return wait_for(lambda: self.all(selector))[0]

    def click(self, selector: str) -> None:
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.one(selector).click()

    def label_good(self, number: int, *, by_key: bool) -> None:
        """In the story of a part: a false reject."""
        self.go(f"/parts/top/{number}")
        if by_key:
            self.one("body").send_keys("1")
        else:
            self.click(".labels button[value=good]")
        self.one(".labels button[value=good][aria-pressed=true]")

    def job(self, kind: str, press: Callable[[], None]) -> dict[str, Any]:
        """Starts a job on the page; its end, as the page's own data has it."""
        before = {job["id"] for job in self.state()["jobs"]}
        press()

        def ended() -> dict[str, Any] | None:
            new = [job for job in self.state()["jobs"] if job["id"] not in before and job["kind"] == kind]
            return new[0] if new and new[0]["state"] != "running" else None

        found: dict[str, Any] = wait_for(ended)
        return found

    def state(self) -> dict[str, Any]:
        """What the page is told of the station, with the operator's own session."""
        script = "return fetch('/api/state').then((answer) => answer.json())"
        found: dict[str, Any] = self.browser.execute_script(script)
        return found

    def outcomes(self) -> dict[str, str]:
        """Part and outcome of every card, page by page to the end."""
        found: dict[str, str] = {}
        self.go("/parts?outcome=all")
        while True:
            cards = self.browser.execute_script(
                "return [...document.querySelectorAll('.card')].map("
                "(card) => [card.querySelector('.id').textContent.trim(), card.className.split(' ')[1]])"
            )
            assert not {part for part, _ in cards} & set(found)
            found |= dict(cards)
            following = self.all("a[rel=next]")
            if not following:
                return found
            self.browser.get(following[0].get_attribute("href"))


class Line:
    """The PLC, whose parts go by while other things happen."""

    def __init__(self, port: int) -> None:
        self.log: list[dict[str, Any]] = []
        self.plc = Plc(ClientWires(port), self.log.append, limit_s=120.0)
        self._parts = iter([f"part-{at}" for at in range(PARTS)])

    def run(self, count: int) -> None:
        self.plc.run([next(self._parts) for _ in range(count)])

    def meanwhile(self, count: int) -> threading.Thread:
        thread = threading.Thread(target=self.run, args=(count,), daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self.plc.stop.set()
        self.plc.wires.close()


@pytest.fixture
def shift(tmp_path: Path, golden: Path) -> Iterator[tuple[Path, str, Line]]:
    """A station that runs, its configuration and its page, and the PLC."""
    http, modbus = free_port(), free_port()
    path = tmp_path / "station.toml"
    text = CONFIG.format(http=http, modbus=modbus, bad=BAD, marked=MARKED, seed=SEED)
    path.write_text(text, encoding="utf-8")
    (tmp_path / "part.bundle").write_bytes(golden.read_bytes())
    with (tmp_path / "log.txt").open("w") as log, child([*RUN, str(path)], stderr=log):
        wait_for(lambda: "the operator page is at" in (tmp_path / "log.txt").read_text())
        line = Line(modbus)
        try:
            yield path, f"http://127.0.0.1:{http}", line
        finally:
            line.close()


def rows(config: Path) -> list[Row]:
    with Journal(load_config(config, files=False).journal) as journal:
        return list(journal.rows("number IS NOT NULL", order="number"))


def bundle_in_use(config: Path) -> str:
    with Journal(load_config(config, files=False).journal) as journal:
        return journal.bundles_of("top")[0]


def told(address: str, token: str, path: str) -> Any:
    request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def check_books(config: Path, address: str, line: Line, seen: dict[str, str]) -> list[Row]:
    """Every part stands once in each book, with one outcome."""
    found = rows(config)
    journal = {row.part_id: row.outcome for row in found}
    assert len(found) == len(journal) == PARTS
    assert [entry for entry in line.log if "violation" in entry] == []
    assert {entry["part"]: entry["result"] for entry in line.log} == journal
    assert {entry["part"]: entry["number"] for entry in line.log} == {row.part_id: row.number for row in found}
    assert seen == journal
    sink = [json.loads(each) for each in (config.parent / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {each["part_id"]: each["outcome"] for each in sink} == journal
    assert len(sink) == PARTS
    token = (config.parent / "var/tokens/viewer").read_text().strip()
    (camera,) = told(address, token, "/api/state")["cameras"]
    assert {name: count for name, count in camera["counts"].items() if count} == Counter(journal.values())
    return found


def test_a_shift(shift: tuple[Path, str, Line], tmp_path: Path) -> None:
    config, address, line = shift
    token = (tmp_path / "var/tokens/operator").read_text().strip()
    with chromium(tmp_path / "profile") as browser:
        operator = Operator(browser, address, token)
        line.run(PHASES[0])
        first = bundle_in_use(config)
        rejected = [row for row in rows(config) if row.outcome == "reject"]
        false_rejects = [row for row in rejected if kind_of(row.sequence) == "marked"][:LABELS]
        assert len(false_rejects) == LABELS
        for at, row in enumerate(false_rejects):
            assert row.number is not None
            operator.label_good(row.number, by_key=at % 2 == 0)
        defect = next(row for row in rejected if kind_of(row.sequence) == "bad")
        assert defect.number is not None
        operator.go(f"/parts/top/{defect.number}")
        operator.click(".labels button[value=defect]")
        operator.one(".labels button[value=defect][aria-pressed=true]")

        operator.go("/learn")
        running = line.meanwhile(PHASES[1])
        job = operator.job("learn", lambda: operator.click("form[action$='/learn'] button"))
        assert job["state"] == "done", job
        second = wait_for(lambda: (now := bundle_in_use(config)) != first and now)
        running.join()
        line.run(PHASES[2])

        operator.go("/learn")
        running = line.meanwhile(PHASES[3])
        operator.click("details.sure summary")
        job = operator.job("undo", lambda: operator.click("form[action$='/undo'] button"))
        assert job["state"] == "done", job
        wait_for(lambda: bundle_in_use(config) == first)
        running.join()
        line.run(PHASES[4])
        wait_for(lambda: len((tmp_path / "outcomes.jsonl").read_text().splitlines()) == PARTS)
        found = check_books(config, address, line, operator.outcomes())
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    labelled = {row.part_id: row.label for row in found if row.label}
    assert labelled == {**{row.part_id: "good" for row in false_rejects}, defect.part_id: "defect"}
    outcomes = Counter((row.bundle, kind_of(row.sequence), row.outcome) for row in found)
    assert {bundle for bundle, _, _ in outcomes} == {first, second}
    for bundle in (first, second):  # no defect passes, before and after the lesson
        assert outcomes[bundle, "bad", "good"] == 0
        assert outcomes[bundle, "bad", "reject"] > 0
    passed = {
        bundle: outcomes[bundle, "marked", "good"]
        / (outcomes[bundle, "marked", "good"] + outcomes[bundle, "marked", "reject"])
        for bundle in (first, second)
    }
    assert passed[first] < 0.35 < 0.8 < passed[second], outcomes
    after = found[-PHASES[4] :]
    assert {row.bundle for row in after} == {first}
