"""An application that is asked without a network, and what stands in for a station."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.station.journal import KEPT, Journal
from edge_ad.station.outcomes import GOOD, REJECT, Decision
from edge_ad.station.page.auth import OPERATOR, VIEWER, Auth, make_token, read_token
from edge_ad.station.page.bridge import Live
from edge_ad.station.page.channel import RefusedError
from edge_ad.station.page.context import Context, Settings
from edge_ad.station.page.limits import Limits
from tests.station.making import capture

HOST = "127.0.0.1:8080"
QUICK = Limits(max_body=10_000, rate=1e6, burst=1e6, total_rate=1e6, total_burst=1e6)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: Any,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | list[bytes] = b"",
    client: str = "127.0.0.1",
    raises: tuple[type[Exception], ...] = (),
) -> Answer:
    """What an application answers. A header whose value is "" is not sent; a body of several parts has no length.
    After its answer, it may raise these errors."""
    parts = [body] if isinstance(body, bytes) else body
    told = {"host": HOST, **({"content-length": str(len(body))} if isinstance(body, bytes) else {}), **(headers or {})}
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in told.items() if value],
        "client": (client, 5000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    sent: list[Any] = []

    async def run() -> None:
        left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        left[-1]["more_body"] = False

        async def receive() -> Any:
            if left:
                return left.pop(0)
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        with contextlib.suppress(*raises):
            await app(scope, receive, send)

    asyncio.run(run())
    begin = sent[0]
    found = [(key.decode().lower(), value.decode("latin-1")) for key, value in begin["headers"]]
    cookies = [value for key, value in found if key == "set-cookie"]
    return Answer(begin["status"], dict(found), cookies, b"".join(each.get("body", b"") for each in sent[1:]))


def camera(name: str = "top", **fields: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "ready": True, "why": "", "deadline_ms": 1000.0, "threshold": 0.5}
    told |= {
        "drops": 1,
        "missed": 2,
        "late": 3,
        "counts": {"good": 5},
        "drift": {"statistics": {"score": {"evidence": 0.25}}},
        "bundle": "b",
    }
    told |= {"histogram": {"buckets": [1, *([0] * 10), 4], "sum_s": 2.5}, "score_quantiles": {"0.5": 0.1}}
    return {**told, **fields}


class Bridge:
    """A station that says what it is told to."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {
            "cameras": [camera()],
            "links": [{"id": "plc", "kind": "x", "well": False, "text": ""}],
            "sinks": [{"id": "csv-1", "behind": 7, "fails": ""}],
            "disk": {"free_bytes": 1, "pictures_bytes": 2, "max_bytes": 3, "blocked": False},
            "alarms": [],
            "jobs": [],
            "queue": 0,
        }
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.error: RefusedError | None = None
        self.outcome: dict[str, Any] | None = {"outcome": GOOD, "deadline_ns": time.monotonic_ns() + 10**12}
        self.last: Live | None = None

    def state(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.told

    def camera(self, name: str) -> dict[str, Any]:
        for each in self.state()["cameras"]:
            if each["name"] == name:
                return dict(each)
        raise RefusedError("there is no camera of that name", "unknown")

    def live(self, name: str) -> Live | None:
        self.camera(name)
        return self.last

    def command(self, name: str, **values: Any) -> dict[str, Any]:
        self.asked.append((name, values))
        if self.error is not None:
            raise self.error
        return {"done": name}

    def ask(self, name: str, **values: Any) -> Future[Any]:
        self.asked.append((name, values))
        if self.error is not None:
            raise self.error
        future: Future[Any] = Future()
        if self.outcome is not None:
            future.set_result((dict(self.outcome), []))
        return future

    def forget(self, future: Future[Any]) -> None:
        future.cancel()


def make_context(folder: Path, **settings: Any) -> Context:
    """A context of a station that stands in `folder`, with its journal and tokens, and `Bridge`."""
    files = {role: folder / "tokens" / role for role in (VIEWER, OPERATOR)}
    for path in files.values():
        make_token(path)
    with Journal(folder / "journal.sqlite", writes=True):
        pass
    told: dict[str, Any] = {"names": ("line4.example",), "metrics_open": False, "max_body": 10_000, **settings}
    fixed = Settings(
        station="s",
        path="s.toml",
        data=str(folder),
        host="127.0.0.1",
        port=8080,
        viewer_token=str(files[VIEWER]),
        operator_token=str(files[OPERATOR]),
        log="text",
        secret="00" * 32,
        **told,
    )
    bridge: Any = Bridge()
    return Context(bridge, folder / "journal.sqlite", folder, fixed, Auth(files, b"secret", "edge_ad_8080"))


def bearer(context: Context, role: str = OPERATOR) -> dict[str, str]:
    path = context.settings.operator_token if role == OPERATOR else context.settings.viewer_token
    return {"authorization": f"Bearer {read_token(Path(path))}"}


def add_part(context: Context, part_id: str, outcome: str = REJECT, picture: str = "") -> int:
    """A row of the journal; its number."""
    with Journal(context.journal_path, writes=True) as journal, journal.transaction():
        taken = capture(part_id)
        journal.accept(taken)
        number = journal.decide("top", part_id, taken, Decision(outcome, score=0.75, threshold=0.5), 12.0, picture)
        assert number is not None
        if picture:
            journal.picture_done(number, KEPT, 1)
    return number
