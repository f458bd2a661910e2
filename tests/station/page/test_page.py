"""A whole station with its page, over real sockets: what strangers do to the page does nothing to the inspection."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page needs the extra `station`")
pytest.importorskip("uvicorn", reason="the page needs the extra `station`")
pytest.importorskip("prometheus_client", reason="the page needs the extra `station`")
pytest.importorskip("jinja2", reason="the page needs the extra `station`")

from edge_ad.runtime import Runtime
from edge_ad.station import alarms
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, examine
from edge_ad.station.journal import Journal
from edge_ad.station.page import host, priority
from edge_ad.station.page.auth import read_token
from edge_ad.station.plc.table import LINKS
from edge_ad.station.station import Station
from tests.paths import DATA
from tests.processes import child
from tests.station.making import RUN, rows, wait_for, write_config
from tests.tiny import bad_frame

_PATIENCE_S = 120.0
PAGE = '[station]\nhttp = "127.0.0.1:0"\n[retention]\ngood_sample = 1\n'


class Client:
    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self.address = parts.hostname or "", parts.port or 0
        self._token = token

    def __call__(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.address, timeout=_PATIENCE_S)
        told = {"authorization": f"Bearer {self._token}", **{key.replace("_", "-"): headers[key] for key in headers}}
        with contextlib.closing(connection):
            connection.request("GET" if body is None else "POST", path, body, told)
            response = connection.getresponse()
            content: Any = response.read()
            found = {key.lower(): value for key, value in response.getheaders()}
            if found.get("content-type") == "application/json":
                content = json.loads(content)
            return response.status, content, found

    def send(self, path: str, **values: Any) -> tuple[int, Any]:
        return self(path, json.dumps(values).encode())[:2]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page gets what others leave, and where tests run, that may be nothing."""
    monkeypatch.setattr(priority, "NICE", 0)


@contextlib.contextmanager
def running(place: Path, camera: str = 'trigger = "software"') -> Iterator[tuple[Station, Client]]:
    config = load_config(write_config(place, camera, PAGE, source="synthetic:64x64"))
    station = Station(config)
    try:
        wait_for(lambda: station.page.host is not None and station.page.host.url)
        assert station.page.host is not None
        yield station, Client(station.page.host.url, read_token(config.data / "tokens/operator"))
    finally:
        station.close()


def test_what_a_page_is_for(place: Path) -> None:
    """Triggers, state, live pictures, labels, alarms, jobs: through the process of the page and back."""
    with running(place) as (station, client):
        assert client("/ready")[:2] == (200, {"ready": True, "why": {}})
        status, told = client.send("/trigger", camera="top", part_id="p <b>")
        assert (status, told["number"], told["part_id"]) == (200, 1, "p <b>")
        (row,) = rows(station.config.path)
        assert (row.part_id, row.outcome, row.score) == ("p <b>", told["outcome"], told["score"])
        assert client.send("/trigger", camera="side", part_id="p")[0] == 404
        wait_for(lambda: client("/api/state")[1]["cameras"][0]["last"])
        (state,) = client("/api/state")[1]["cameras"]
        assert state["last"]["part_id"] == "p <b>"
        assert sum(state["counts"].values()) == 1
        assert state["p99_ms"] == pytest.approx(row.latency_ms)
        frame = cv2.imdecode(np.frombuffer(client("/api/live/top/frame.jpg")[1], np.uint8), cv2.IMREAD_UNCHANGED)
        heat = cv2.imdecode(np.frombuffer(client("/api/live/top/heat.png")[1], np.uint8), cv2.IMREAD_UNCHANGED)
        assert (frame.shape, heat.shape) == ((64, 64, 3), (64, 64, 4))
        wait_for(lambda: client("/api/parts/1/frame.png")[0] == 200)
        assert client.send("/api/label", camera="top", part_id="p <b>", label="unsure")[0] == 200
        assert rows(station.config.path)[0].label == "unsure"
        assert client.send("/api/label", camera="top", part_id="none", label="good")[0] == 404
        assert client.send("/api/label", camera="top", part_id="p <b>", label="x")[0] == 400
        station.desk.event("top", "refused", "a bundle")
        (alarm,) = wait_for(lambda: client("/api/state")[1]["alarms"])
        assert (alarm["key"], alarm["acknowledged"]) == ("bundle:top", False)
        assert client.send("/api/acknowledge", key="bundle:top")[0] == 200
        assert client.send("/api/acknowledge", key="none")[0] == 404
        status, told = client.send("/api/rollback", camera="top")
        assert (status, "no bundle to go back to" in told["error"]) == (400, True)
        assert client.send("/api/renew_drift", camera="top")[0] == 200
        status, told = client.send("/api/select_recipe", camera="top", number=2)
        assert (status, "has no recipe 2" in told["error"]) == (404, True)


def test_a_job_that_fails_says_why(place: Path) -> None:
    with running(place) as (_, client):
        status, job = client.send("/api/undo", camera="top")
        assert (status, job["state"], job["camera"]) == (200, "running", "top")
        assert client.send("/api/learn", camera="top")[0] in (200, 409)  # one at a time
        done = wait_for(lambda: (found := client(f"/api/jobs/{job['id']}")[1])["state"] != "running" and found)
        assert done["text"]  # there is nothing to undo
        assert client("/api/jobs/none")[0] == 404


def test_inspections_equal_the_runtime_to_the_bit(place: Path) -> None:
    """KServe's tensors in JSON and in binary, and an image file; none of them is a part."""
    frame = bad_frame(2000)
    verdict = Runtime(DATA / "format-1.bundle", threads=1).inspect(frame)
    with running(place) as (station, client):
        tensor = {"name": "frame", "shape": [1, *frame.shape], "datatype": "UINT8"}
        outputs = [{"name": "score"}, {"name": "is_anomalous"}, {"name": "map", "parameters": {"binary_data": True}}]
        plain = {"id": "7", "inputs": [{**tensor, "data": frame.tolist()}]}
        status, told, _ = client("/v2/models/top/infer", json.dumps(plain).encode())
        values = {each["name"]: each["data"][0] for each in told["outputs"]}
        assert (status, told["id"], told["model_version"]) == (200, "7", verdict.bundle)
        assert values == {"score": verdict.score, "threshold": verdict.threshold, "is_anomalous": verdict.is_anomalous}
        head = json.dumps(
            {"inputs": [{**tensor, "parameters": {"binary_data_size": frame.nbytes}}], "outputs": outputs}
        ).encode()
        status, told, headers = client(
            "/inspect", head + frame.tobytes(), inference_header_content_length=str(len(head))
        )
        size = int(headers["inference-header-content-length"])
        assert json.loads(told[:size])["outputs"][0]["data"] == [verdict.score]
        heat = np.frombuffer(told[size:], "<f4").reshape(frame.shape[:2])
        np.testing.assert_array_equal(heat, verdict.anomaly_map)
        image = cv2.imencode(".png", frame)[1].tobytes()
        status, told, _ = client("/inspect?camera=top", image, content_type="image/png")
        assert (status, told["outputs"][0]["data"]) == (200, [verdict.score])
        for body, kind in ((b"no image", "image/png"), (b"{", "application/json"), (b"{}", "application/json")):
            assert client("/inspect", body, content_type=kind)[0] == 400
        assert client("/inspect?camera=none", image, content_type="image/png")[0] == 404
        assert client(f"/inspect?bundle={verdict.bundle}", image, content_type="image/png")[0] == 200
        assert rows(station.config.path) == []


def test_a_page_that_is_killed_is_started_again(place: Path) -> None:
    """The station goes on, its tokens hold, and what was counted is not lost."""
    with running(place) as (station, client):
        host = station.page.host
        assert host is not None
        assert client.send("/trigger", camera="top", part_id="a")[0] == 200
        first = host.pid
        assert first is not None
        os.kill(first, getattr(signal, "SIGKILL", signal.SIGTERM))
        station.trigger("top", "b")
        wait_for(lambda: len(rows(station.config.path, "outcome IS NOT NULL")) == 2)
        wait_for(lambda: host.url and host.pid not in (None, first))
        again = Client(host.url, client._token)
        assert sum(wait_for(lambda: again("/api/state")[1])["cameras"][0]["counts"].values()) == 2
        assert again.send("/trigger", camera="top", part_id="c")[0] == 200


def test_a_page_that_cannot_be_there_is_an_alarm(place: Path) -> None:
    """It is in the journal and among the alarms until the page is there; the doctor says so too."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        page = f'[station]\nhttp = "127.0.0.1:{other.getsockname()[1]}"\n'
        config = write_config(place, 'trigger = "software"', page, source="synthetic:64x64")
        station = Station(load_config(config))
        try:
            wait_for(lambda: [(alarm.key, alarm.active) for alarm in station.alarms.all()] == [("page", True)])
            assert station.desk.flush(60)
            (told,) = [finding for finding in examine(station.config) if finding.what == "page"]
            assert (told.mark, "cannot be at 127.0.0.1" in told.told) == (BAD, True)
            other.close()
            wait_for(lambda: not station.alarms.all()[0].active)
            assert station.desk.flush(60)
            (told,) = [finding for finding in examine(station.config) if finding.what == "page"]
            assert told.mark != BAD
        finally:
            station.close()
    with Journal(station.config.journal) as journal:
        assert next(text for _, _, kind, text in journal.events() if kind == "page") == alarms.AGAIN


def test_warnings_come_once(place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """At the start and where the page changes; not at each reload."""
    monkeypatch.setattr(host, "Host", lambda *given: SimpleNamespace(close=lambda: None, gone=""))
    rest = '[station]\nhttp = "0.0.0.0:0"\nviewer_token_file = "seen"\n'
    (place / "seen").write_text("a-token-that-others-may-read")
    (place / "seen").chmod(0o644)
    config = write_config(place, 'trigger = "software"', rest, source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        station.reload()
    finally:
        station.close()
    assert sum("proxy with TLS" in record.getMessage() for record in caplog.records) == 1
    if os.name == "posix":
        assert sum("chmod 600" in record.getMessage() for record in caplog.records) == 1


def test_the_page_ends_with_its_station(place: Path) -> None:
    """However that ends."""
    config = write_config(place, 'trigger = "software"', PAGE, source="synthetic:64x64")
    with child([*RUN, str(config)], cwd=place, stderr=-1, stdout=-1) as process:
        assert process.stderr is not None
        address = next(line for line in process.stderr if "the operator page is at" in line)
        parts = urlsplit(address.split(" at ")[1].split(";")[0])
        where = parts.hostname or "", parts.port or 0
        socket.create_connection(where).close()
        process.kill()

        def gone() -> bool:
            try:
                socket.create_connection(where, 1.0).close()
            except OSError:
                return True
            return False

        assert wait_for(gone)


def flood(client: Client, stop: threading.Event, statuses: list[int], rate: float) -> None:
    """So many requests a second, over one connection after another, of all kinds."""
    paths = ["/api/state", "/metrics", "/api/journal", "/api/live/top/frame.jpg", "/health", "/none"]
    due, at = time.monotonic(), 0
    while not stop.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            statuses.append(client(paths[at % len(paths)])[0])
        at, due = at + 1, due + 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def trigger_all(station: Station, name: str, count: int) -> None:
    """Triggers come and each has its outcome; none is a fault."""
    for at in range(count):
        station.trigger("top", f"{name} {at}")
    where = f"part_id LIKE '{name} %' AND outcome IS NOT NULL"
    wait_for(lambda: len(rows(station.config.path, where)) == count)
    assert {row.outcome for row in rows(station.config.path, where)} <= {"good", "reject"}


def test_two_hundred_requests_a_second(place: Path) -> None:
    """Most are refused, the page lives, and no trigger is without its outcome."""
    with running(place) as (station, client):
        stop, statuses = threading.Event(), list[int]()
        threads = [threading.Thread(target=flood, args=(client, stop, statuses, 50.0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            trigger_all(station, "flooded", 60)
            wait_for(lambda: len(statuses) > 400)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(statuses) <= {200, 404, 429, 503}
        assert 200 in statuses
        wait_for(lambda: client("/health")[0] == 200)


def test_an_upload_of_100_mb_is_refused_at_once(place: Path) -> None:
    """By what it says of its length, and where it says nothing, when it has become too much."""
    part = b"x" * 2**20
    with running(place) as (station, client):
        for told in (b"content-length: 100000000", b"transfer-encoding: chunked"):
            head = f"POST /inspect HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {client._token}\r\n"
            with socket.create_connection(client.address, _PATIENCE_S) as upload:
                upload.sendall(head.encode() + b"content-type: image/png\r\n" + told + b"\r\n\r\n")
                sent = 0
                chunk = part if b"length" in told else b"%x\r\n%s\r\n" % (len(part), part)
                with contextlib.suppress(ConnectionError):
                    for _ in range(100):
                        upload.sendall(chunk)
                        sent += len(part)
                answer = b""
                with contextlib.suppress(ConnectionError):
                    while found := upload.recv(65536):
                        answer += found
            assert sent < 60_000_000
            assert answer.startswith(b"HTTP/1.1 413") or not answer  # a reset may have overtaken it
        trigger_all(station, "uploaded", 5)
        assert client("/health")[0] == 200


def test_slow_loris(place: Path) -> None:
    """300 connections that never send a whole request: whoever does is served, and parts go by."""
    with running(place) as (station, client), contextlib.ExitStack() as stack:
        for at in range(300):
            slow = stack.enter_context(socket.create_connection(client.address, _PATIENCE_S))
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" if at % 2 else b"POST /inspect HTTP/1.1\r\nhost: x\r\n")
        assert client("/health")[0] == 200
        trigger_all(station, "slow", 5)
        assert client.send("/trigger", camera="top", part_id="a")[0] == 200


def test_a_plc_that_is_gone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown, and an alarm is raised; parts go by."""
    monkeypatch.setitem(LINKS, "gone", "tests.station.page.gone_link")
    monkeypatch.setattr(alarms, "_LINK_S", 0.0)
    link = 'trigger = "software"\n[[plc]]\nkind = "gone"\nname = "press"\n'
    with running(place, link) as (station, client):
        (told,) = client("/api/state")[1]["links"]
        assert told == {"id": "press", "kind": "gone", "well": False, "text": "no answer from 10.0.0.7"}
        assert wait_for(lambda: station.turn() and client("/api/state")[1]["alarms"])[0]["key"] == "link:press"
        assert 'edge_ad_link_well{link="press"} 0.0' in client("/metrics")[1].decode()
        trigger_all(station, "gone", 20)
        assert client.send("/trigger", camera="top", part_id="a")[0] == 200


def test_wrong_tokens(place: Path) -> None:
    with running(place) as (station, client):
        stranger = Client(f"http://{client.address[0]}:{client.address[1]}", "wrong" * 8)
        assert [stranger("/api/state")[0] for _ in range(6)] == [401] * 5 + [429]
        assert client("/api/state")[0] == 429  # the same address: it waits too
        trigger_all(station, "guessed", 5)
