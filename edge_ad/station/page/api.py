"""What machines ask: health, metrics, triggers, the journal, pictures, inspections. Everything else is `views.py`.

`gate.py` has refused whoever may not come here. A picture is found by the number of its outcome, through the journal:
no path and no name of a file comes from outside.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from edge_ad._version import __version__
from edge_ad.errors import FrameError, SpecError
from edge_ad.station.journal import LABELS
from edge_ad.station.outcomes import FAULT, GOOD, OUTCOMES
from edge_ad.station.outcomes import LATE as LATE_FAULT
from edge_ad.station.page import kserve, metrics
from edge_ad.station.page.channel import LATE, UNKNOWN, RefusedError
from edge_ad.station.page.context import Context
from edge_ad.station.page.images import Images
from edge_ad.station.page.inspector import BusyError, Inspector
from edge_ad.station.page.paths import NUMBER
from edge_ad.system.names import storable

_MARGIN_S = 1.0  # beyond the deadline, for the outcome to arrive
_LONGEST_S = 100.0  # that a trigger is waited for: `guard.py` ends a request soon after
_MOST_ROWS = 500
_THUMB = 320  # pixels of the longest side
_COMMANDS: dict[
    str, dict[str, type]
] = {  # what an operator may ask for by POST /api/NAME: the texts and numbers of each
    "label": {"camera": str, "part_id": str, "label": str},
    "acknowledge": {"key": str},
    "rollback": {"camera": str},
    "learn": {"camera": str},
    "undo": {"camera": str},
    "renew_drift": {"camera": str},
    "select_recipe": {"camera": str, "number": int},
}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON. No character of it means anything in HTML, should somebody paste it there."""
    text = json.dumps(content, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Response(text, status, headers, media_type="application/json")


def refused(request: Request, error: Exception) -> Response:
    """The answer where something was refused."""
    if isinstance(error, BusyError):
        return answer({"error": str(error)}, 429, {"retry-after": "1"})
    if isinstance(error, RefusedError):
        return answer({"error": str(error)}, error.status)
    return answer({"error": str(error)}, 400 if isinstance(error, (SpecError, FrameError)) else 500)


def unknown(request: Request, error: Exception) -> Response:
    """The answer where there is no such address, or it does not take that method."""
    assert isinstance(error, HTTPException)
    return answer({"error": error.detail.lower()}, error.status_code, error.headers)


def failed(request: Request, error: Exception) -> Response:
    """The answer where the page itself failed. Starlette passes the error on to the log."""
    return answer({"error": "the page failed at this request; its log has more"}, 500)


def routes(context: Context) -> list[Route]:
    """The routes of this file."""
    api = _Api(context)
    gets: list[tuple[str, Callable[[Request], Any]]] = [
        ("/health", api.health),
        ("/ready", api.ready),
        ("/metrics", api.metrics),
        ("/api/state", api.state),
        ("/api/journal", api.journal),
        (f"/api/parts/{NUMBER}", api.part),
        (f"/api/parts/{NUMBER}/frame.png", partial(api.picture, overlay=False)),
        (f"/api/parts/{NUMBER}/overlay.png", partial(api.picture, overlay=True)),
        (f"/api/parts/{NUMBER}/thumb.jpg", api.thumb),
        ("/api/live/{camera:path}/frame.jpg", partial(api.live_picture, heat=False)),
        ("/api/live/{camera:path}/heat.png", partial(api.live_picture, heat=True)),
        ("/api/live/{camera:path}/verdict", api.live),
        ("/api/jobs/{job}", api.job),
        ("/v2", api.v2),
        ("/v2/health/live", api.v2_live),
        ("/v2/health/ready", api.ready),
        ("/v2/models/{camera:path}/ready", api.v2_model_ready),
        ("/v2/models/{camera:path}", api.v2_model),
    ]
    posts: list[tuple[str, Callable[[Request], Any]]] = [
        ("/trigger", api.trigger),
        ("/inspect", api.inspect),
        ("/v2/models/{camera:path}/infer", api.infer),
        *((f"/api/{name}", partial(api.command, name=name)) for name in _COMMANDS),
    ]
    found = [Route(path, _route(handler), methods=["GET"]) for path, handler in gets]
    return found + [Route(path, _route(handler), methods=["POST"]) for path, handler in posts]


def _route(handler: Callable[..., Any]) -> Callable[[Request], Any]:
    """Starlette asks whether a function is one of asyncio; of a `partial` it cannot tell."""
    inner = handler.func if isinstance(handler, partial) else handler
    if asyncio.iscoroutinefunction(inner):

        async def waits(request: Request) -> Any:
            return await handler(request)

        return waits

    async def works(request: Request) -> Any:
        return await run_in_threadpool(handler, request)

    return works


class _Api:
    def __init__(self, context: Context) -> None:
        self._context, self._bridge = context, context.bridge
        self._inspector, self._images = Inspector(context.bridge, context.data), Images(context.data)

    # ------------------------------------------------------------------------------------------------ how it is

    async def health(self, request: Request) -> Response:
        """Whether this page answers; nothing else is told, as no token is needed."""
        return answer({"status": "ok"})

    def ready(self, request: Request) -> Response:
        """Whether each camera would inspect a trigger now; 503 with the reasons where not."""
        try:
            state = self._bridge.state()
        except RefusedError as error:
            return answer({"ready": False, "why": {"": str(error)}}, 503)
        why = {camera["name"]: camera["why"] for camera in state["cameras"] if not camera["ready"]}
        if state["disk"]["blocked"]:
            why[""] = "the journal cannot be written"
        return answer({"ready": not why, "why": why}, 503 if why else 200)

    def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        text, kind = metrics.exposition(self._bridge.state(), request.headers.get("accept", ""))
        return Response(text, headers={"content-type": kind})

    def state(self, request: Request) -> Response:
        """All that is known of the station."""
        return answer(self._bridge.state())

    def job(self, request: Request) -> Response:
        """A job of the station, such as learning."""
        return answer(self._bridge.command("job", id=request.path_params["job"]))

    # ------------------------------------------------------------------------------------------------ parts

    def journal(self, request: Request) -> Response:
        """Rows, the latest first, a page at a time: `next` is `before` of the next page."""
        where, values = _filter(request.query_params)
        most = _whole(request.query_params, "limit", 100, _MOST_ROWS)
        with self._context.journal() as journal:
            rows = list(journal.rows(where, values, "number DESC", most))
        following = rows[-1].number if len(rows) == most else None
        return answer({"parts": [row.to_dict() for row in rows], "next": following})

    def _row(self, request: Request) -> Any:
        with self._context.journal() as journal:
            row = next(journal.rows("number = ?", (min(request.path_params["number"], 2**62),)), None)
        if row is None:
            raise RefusedError("the journal has no outcome of that number", UNKNOWN)
        return row

    def part(self, request: Request) -> Response:
        """One row."""
        return answer(self._row(request).to_dict())

    def _picture(self, request: Request, overlay: bool) -> Path:
        row = self._row(request)
        path = self._images.overlay(row) if overlay else self._images.path(row)
        if path is None:
            raise RefusedError("no such picture is kept of this part", UNKNOWN)
        return path

    def picture(self, request: Request, overlay: bool) -> Response:
        """The kept frame, or its overlay, as PNG."""
        return FileResponse(self._picture(request, overlay), media_type="image/png")

    def thumb(self, request: Request) -> Response:
        """The kept frame, small."""
        small = self._images.jpeg(self._picture(request, False), _THUMB)
        if small is None:
            raise RefusedError("the picture is damaged", UNKNOWN)
        return Response(small, media_type="image/jpeg")

    def _live(self, request: Request) -> Any:
        live = self._bridge.live(request.path_params["camera"])
        if live is None:
            raise RefusedError("no part has come yet", UNKNOWN)
        return live

    def live(self, request: Request) -> Response:
        """The last part of a camera, without its pictures."""
        return answer(self._live(request).verdict)

    def live_picture(self, request: Request, heat: bool) -> Response:
        """The last frame, as JPEG, or its heat, as a PNG that is transparent where there is none."""
        live = self._live(request)
        data = live.heat_png if heat else live.frame_jpeg
        if not data:
            raise RefusedError("the last part has none", UNKNOWN)
        kind = "image/png" if heat else "image/jpeg"
        return Response(data, headers={"x-part-number": str(live.number)}, media_type=kind)

    # ------------------------------------------------------------------------------------------------ commands

    async def command(self, request: Request, name: str) -> Response:
        """Has the station do something."""
        values = _checked(await _json(request), _COMMANDS[name])
        who = request.state.visitor.who
        return answer(await run_in_threadpool(lambda: self._bridge.command(name, **values, who=who)))

    async def trigger(self, request: Request) -> Response:
        """A software trigger: answers with the outcome. It is good only while the deadline has not passed."""
        values = _checked(await _json(request), {"camera": str, "part_id": str})
        camera = await run_in_threadpool(self._bridge.camera, values["camera"])
        found: Future[Any] = await run_in_threadpool(lambda: self._bridge.ask("trigger", **values))
        patience_s = min(camera["deadline_ms"] / 1e3 + _MARGIN_S, _LONGEST_S)
        try:
            told, _ = await asyncio.wait_for(asyncio.wrap_future(found), patience_s)
        except asyncio.TimeoutError as error:
            self._bridge.forget(found)
            raise RefusedError("there was no outcome at the deadline: take the part for a fault", LATE) from error
        deadline_ns = told.pop("deadline_ns")
        if told["outcome"] == GOOD and time.monotonic_ns() >= deadline_ns:
            told |= {"outcome": FAULT, "reason": f"{LATE_FAULT}: the answer would have been after the deadline"}
        return answer(told)

    # ------------------------------------------------------------------------------------------------ inspections

    async def inspect(self, request: Request) -> Response:
        """An inspection that is no part: an image, or a tensor as KServe has it."""
        query = request.query_params
        model = await run_in_threadpool(self._inspector.model, query.get("camera", ""), query.get("bundle", ""))
        if not request.headers.get("content-type", "").startswith("image/"):
            return await self._infer(request, model)
        data = await request.body()
        wanted = {"score": False, "threshold": False, "is_anomalous": False}
        verdict = await run_in_threadpool(self._inspector.inspect_image, model, data)
        return await _inference(verdict, model.name or model.bundle, wanted, "")

    async def infer(self, request: Request) -> Response:
        """KServe's inference."""
        model = await run_in_threadpool(self._inspector.model, request.path_params["camera"])
        return await self._infer(request, model)

    async def _infer(self, request: Request, model: Any) -> Response:
        length = request.headers.get("inference-header-content-length", "")
        asked = await run_in_threadpool(kserve.read_request, await request.body(), length)
        verdict = await run_in_threadpool(self._inspector.inspect_array, model, asked.frame)
        return await _inference(verdict, model.name or model.bundle, asked.outputs, asked.id)

    async def v2(self, request: Request) -> Response:
        """What this server is."""
        return answer({"name": "edge-ad", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def v2_live(self, request: Request) -> Response:
        """Whether it answers."""
        return answer({"live": True})

    def v2_model_ready(self, request: Request) -> Response:
        """Whether a camera has a bundle that could be asked."""
        model = self._inspector.model(request.path_params["camera"])
        return answer({"name": model.name, "ready": True})

    def v2_model(self, request: Request) -> Response:
        """What a camera's bundle takes and gives."""
        model = self._inspector.model(request.path_params["camera"])
        return answer(kserve.metadata(model.name, model.bundle))


async def _inference(verdict: Any, name: str, wanted: Mapping[str, bool], identity: str) -> Response:
    body, length = await run_in_threadpool(kserve.write_response, verdict, name, wanted, identity)
    if length is None:
        return Response(body, media_type="application/json")
    told = {kserve.LENGTH.decode(): str(length)}
    return Response(body, headers=told, media_type="application/octet-stream")


def _filter(query: Mapping[str, str]) -> tuple[str, list[object]]:
    where, values = ["number IS NOT NULL"], list[object]()
    for name, allowed in (("outcome", OUTCOMES), ("label", LABELS)):
        if name in query:
            if query[name] not in allowed:
                raise RefusedError(f"there is no such {name}; expected {', '.join(allowed)}; got {query[name]!r}")
            where.append(f"{name} = ?")
            values.append(query[name])
    if "camera" in query:
        where.append("camera = ?")
        values.append(storable(query["camera"]))
    if query.get("part"):
        where.append("instr(part_id, ?)")
        values.append(storable(query["part"]))
    if "before" in query:
        where.append("number < ?")
        values.append(_whole(query, "before", 0, 2**62))
    if "after" in query:
        where.append("number > ?")
        values.append(_whole(query, "after", 0, 2**62))
    return " AND ".join(where), values


def _whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    given = query.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= most):
        raise RefusedError(f"{name} is out of range; expected a whole number up to {most}; got {given[:30]!r}")
    return int(given)


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the body is no JSON; got {error}") from error


def _checked(given: Any, kinds: Mapping[str, type]) -> dict[str, Any]:
    values = given if isinstance(given, dict) else {}
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind) or isinstance(values.get(name), bool):
            raise RefusedError(f"{name} is missing; expected an object with {', '.join(kinds)}")
    return {name: values[name] for name in kinds}
