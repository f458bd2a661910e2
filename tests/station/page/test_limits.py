"""What a client may take: requests, bytes, time; and what each answer tells browsers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from edge_ad.station.page.limits import Bodies, Headers, Intake, Limits, Rates
from tests.station.page.asking import ask


async def reads(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the length of its body."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client has gone")
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def test_bodies_that_are_too_large() -> None:
    app = Bodies(reads, Limits(max_body=100_000))
    assert ask(app, "/inspect", "POST", body=b"x" * 100_000).body == b"100000"
    for path, body in (
        ("/inspect", b"x" * 100_001),  # it says so itself
        ("/inspect", [b"x" * 60_000] * 2),  # it is found out
        ("/api/label", b"x" * 70_000),  # small by nature
        ("/api/label", [b"x" * 40_000] * 2),
    ):
        answer = ask(app, path, "POST", body=body)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "too large" in answer.json["error"]
    assert ask(app, "/inspect", "POST", {"content-length": "9" * 30}, b"x").status == 413


def test_bodies_that_are_too_slow() -> None:
    app = Bodies(reads, Limits(part_s=0.01))
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> Any:
            await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/inspect", "method": "POST", "headers": []}
        await app(scope, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 408


def test_bodies_are_taken_in_at_a_pace() -> None:
    now = [0.0]
    intake = Intake(rate=1000, burst=500, clock=lambda: now[0])
    assert [intake.took(300), intake.took(200), intake.took(100)] == [0, 0, pytest.approx(0.1)]
    now[0] = 0.1
    assert intake.took(50) == pytest.approx(0.05)
    now[0] = 100.0  # a rest gives the burst back, and no more
    assert [intake.took(500), intake.took(1)] == [0, pytest.approx(0.001)]
    # Of two bodies the second waits for what the first took.
    app = Bodies(reads, Limits(intake=1e6, intake_burst=1e5))
    began = time.monotonic()
    for _ in range(2):
        assert ask(app, "/inspect", "POST", body=[b"x" * 50_000] * 4).body == b"200000"
    assert time.monotonic() - began >= 0.29


def test_an_error_of_the_application_is_not_swallowed() -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        ask(Bodies(fails, Limits()), "/")


def test_rates_of_an_address_and_of_all() -> None:
    now = [0.0]
    limits = Limits(rate=1, burst=2, total_rate=1, total_burst=3)
    app = Rates(reads, limits, clock=lambda: now[0])
    assert [ask(app, "/", client="a").status for _ in range(3)] == [200, 200, 429]
    assert [ask(app, "/", client="b").status for _ in range(2)] == [200, 429]
    assert ask(app, "/", client="a").headers["retry-after"] == "2"
    now[0] = 10.0
    assert ask(app, "/", client="a").status == 200


def test_requests_at_once() -> None:
    app = Rates(reads, Limits(at_once=0))
    answer = ask(app, "/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    app = Rates(reads, Limits(uploads=0))
    assert [ask(app, "/inspect", method).status for method in ("GET", "POST")] == [200, 503]
    assert ask(app, "/api/label", "POST").status == 200


def test_headers_of_each_answer(tmp_path: Path) -> None:
    app = Headers(reads)
    headers = ask(app, "/").headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "max-age" in ask(app, "/static/a.css").headers["cache-control"]
