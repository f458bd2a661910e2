"""The pages that people see: live, a camera, the gallery of parts, the story of a part, learning, signing in.

A page is whole without a script. With one, it asks each second for the pieces that may have changed. All of it is read
here; what changes something is in `actions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from edge_ad.errors import EdgeADError
from edge_ad.learning.entries import chain_of, locked_in, placed_last
from edge_ad.learning.report import HELD_BACK
from edge_ad.learning.store import Store
from edge_ad.station.events import EventKind
from edge_ad.station.journal import LOST, PLANNED, REMOVED, Row, iso
from edge_ad.station.labels import store_of_camera
from edge_ad.station.page import actions, drift, records, rendering
from edge_ad.station.page.chart import HEIGHT, WIDTH, chart_of
from edge_ad.station.page.context import Context
from edge_ad.station.page.images import Images
from edge_ad.station.page.paths import NUMBER
from edge_ad.station.page.replies import Pages, picture
from edge_ad.station.page.shown import Lives, address, bar, ems, tile_of
from edge_ad.station.page.texts import Words, shown

_SCORES = 200  # parts of the chart
_LEARN = 60  # parts that are shown as confirmed
_GONE = {0: "picture_none", PLANNED: "picture_planned", LOST: "picture_lost", REMOVED: "picture_removed"}


def routes(context: Context) -> list[BaseRoute]:
    """The routes of the pages."""
    views = Views(context)
    number = f"{{camera:path}}/{NUMBER}"
    pages: list[tuple[str, Callable[[Request], Response]]] = [
        ("/", views.live),
        ("/camera/{camera:path}/drift/{statistic}.png", views.then_and_now),
        ("/camera/{camera:path}", views.camera),
        ("/parts", views.parts),
        (f"/parts/{number}", views.story),
        ("/learn", views.learn),
        ("/login", views.login),
        ("/poll/live", views.poll_live),
        ("/poll/status", views.poll_status),
        ("/poll/learn", views.poll_learn),
        ("/poll/camera/{camera:path}", views.poll_camera),
        (f"/live/{number}.jpg", views.frame),
        (f"/live/{number}.png", views.heat),
        (f"/parts/{number}/thumb.jpg", views.thumb),
        (f"/parts/{number}/frame.jpg", views.kept_frame),
        (f"/parts/{number}/overlay.jpg", views.kept_overlay),
        (f"/parts/{number}/frame.png", views.original),
    ]
    files = Mount("/static", StaticFiles(directory=rendering.STATIC))
    return [files, *actions.routes(context, views), *(Route(path, views.guarded(view)) for path, view in pages)]


class Views(Pages):
    """Each is called in a thread of its own."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.lives = Lives(context.bridge)
        self.images = Images(context.data)

    # ------------------------------------------------------------------------------------------------ live

    def _tiles(self, words: Words, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [tile_of(words, camera, at, state["time"], self.lives) for at, camera in enumerate(state["cameras"])]

    def live(self, request: Request) -> Response:
        """A tile a camera."""
        state = self.context.bridge.state()
        tiles = self._tiles(self.words(request), state)
        return self.page(request, "live.html", here="live", poll="/poll/live", tiles=tiles)

    def poll_live(self, request: Request) -> Response:
        """What may have changed of it."""

        def pieces(words: Words, found: dict[str, Any]) -> dict[str, Any]:
            tiles = self._tiles(words, found["state"])
            parts = {
                f"{tile['at']}-{name}": rendering.piece("macros.html", macro, words, tile)
                for tile in tiles
                for name, macro in _PIECES.items()
            }
            told = [
                {
                    **{name: tile[name] for name in ("at", "number", "frame", "heat", "outcome")},
                    "old": bool(tile["stale"]) or not tile["ready"],
                    "alt": words("picture_of", part=tile["part"]),
                    "say": words("announce", camera=tile["name"], outcome=tile["word"], part=tile["part"]),
                }
                for tile in tiles
            ]
            return {"parts": parts, "tiles": told}

        return self.polled(request, pieces)

    def poll_status(self, request: Request) -> Response:
        """Status line and alarms."""
        return self.polled(request, lambda words, found: {"parts": {}})

    def _live_picture(self, request: Request, kind: str) -> Response:
        live = self.lives.picture(request.path_params["camera"], request.path_params["number"])
        data = None if live is None else live.frame_jpeg if kind == "jpeg" else live.heat_png
        return picture(data, kind) if data else Response("", 404)

    def frame(self, request: Request) -> Response:
        """The frame of a part that was just shown."""
        return self._live_picture(request, "jpeg")

    def heat(self, request: Request) -> Response:
        """Its heat."""
        return self._live_picture(request, "png")

    # ------------------------------------------------------------------------------------------------ a camera

    def _of_camera(self, request: Request, words: Words) -> dict[str, Any]:
        name = request.path_params["camera"]
        camera = self.context.bridge.camera(name)
        log = request.query_params.get("scale") == "log"
        with self.context.journal() as journal:
            rows = records.scores(journal, name, _SCORES)
        state = self.context.bridge.state()
        tile = tile_of(words, camera, 0, state["time"])
        moved = drift.panel_of(words, camera)
        chart = chart_of(rows, log=log)
        return {"camera": camera, "tile": tile, "rows": rows, "chart": chart, "log": log, "drift": moved}

    def camera(self, request: Request) -> Response:
        """Scores, state and what may be changed."""
        told = self._of_camera(request, self.words(request))
        poll = address("poll", "camera", request.path_params["camera"]) + ("?scale=log" if told["log"] else "")
        return self.page(request, "camera.html", poll=poll, size=(WIDTH, HEIGHT), **told)

    def poll_camera(self, request: Request) -> Response:
        """What may have changed of it."""

        def pieces(words: Words, found: dict[str, Any]) -> dict[str, Any]:
            told = self._of_camera(request, words)
            chart = (words, told["chart"], told["rows"], (WIDTH, HEIGHT), told["log"])
            parts = {
                "chart": rendering.piece("macros.html", "chart", *chart),
                "table": rendering.piece("macros.html", "table", words, told["rows"]),
                "camera": rendering.piece("macros.html", "camera_state", words, told["camera"], told["tile"]),
                "drift": rendering.piece("macros.html", "drift", words, told["drift"]),
            }
            return {"parts": parts}

        return self.polled(request, pieces)

    def then_and_now(self, request: Request) -> Response:
        """The picture of an alarm of drift."""
        camera = self.context.bridge.camera(request.path_params["camera"])
        return picture(drift.picture_of(self.context.data, camera, request.path_params["statistic"]), "png")

    # ------------------------------------------------------------------------------------------------ parts

    def parts(self, request: Request) -> Response:
        """The gallery."""
        wanted, asked = _filter(request), request.query_params
        cameras = [str(camera["name"]) for camera in self.context.bridge.state()["cameras"]]
        with self.context.journal() as journal:
            edges = _whole(asked.get("before", "")), _whole(asked.get("after", ""))
            found = records.gallery(journal, wanted, cameras, *edges)
        return self.page(
            request,
            "parts.html",
            here="parts",
            wanted=wanted,
            cameras=cameras,
            found=found,
            far=f"{records.FAR:,}",
            query=wanted.query(),
            newer=wanted.query(after=found.newer),
            older=wanted.query(before=found.older),
        )

    def row(self, request: Request) -> Row | None:
        """The part that a request is about."""
        with self.context.journal() as journal:
            return records.part(journal, request.path_params["camera"], request.path_params["number"])

    def story(self, request: Request) -> Response:
        """All that is known of a part."""
        wanted, row = _filter(request), self.row(request)
        if row is None:
            return self.not_found(request)
        if wanted.outcome not in (row.outcome, records.ALL):  # it was not found by this filter
            wanted = records.Filter(row.camera, records.ALL)
        with self.context.journal() as journal:
            newer, older = records.beside(journal, wanted, row.number or 0)
        words = self.words(request)
        word = words(f"outcome_{row.outcome}")
        place = bar(row.score, row.threshold)
        tile = {"outcome": row.outcome, "score": row.score, "threshold": row.threshold, "bar": place, "word": word}
        return self.page(
            request,
            "story.html",
            here="parts",
            row=row,
            newer=newer,
            older=older,
            query=wanted.query(),
            here_path=address("parts", row.camera, row.number),
            tile={**tile, "ems": ems(word)},
            frame=self.images.path(row) is not None,
            overlay=self.images.overlay(row) is not None,
            missing=_GONE.get(row.kept, "picture_lost"),
            utc=iso(row.time_ns),
        )

    def thumb(self, request: Request) -> Response:
        """A small picture of a part."""
        row = self.row(request)
        return picture(None if row is None else self.images.thumb(row), "jpeg")

    def kept_frame(self, request: Request) -> Response:
        """The kept frame, as a browser likes it."""
        row = self.row(request)
        path = None if row is None else self.images.path(row)
        return picture(None if path is None else self.images.jpeg(path), "jpeg")

    def kept_overlay(self, request: Request) -> Response:
        """The overlay, as a browser likes it."""
        row = self.row(request)
        path = None if row is None else self.images.overlay(row)
        return picture(None if path is None else self.images.jpeg(path), "jpeg")

    def original(self, request: Request) -> Response:
        """The kept frame, to the bit."""
        row = self.row(request)
        path = None if row is None else self.images.path(row)
        return Response("", 404) if path is None else FileResponse(path, media_type="image/png", filename=path.name)

    # ------------------------------------------------------------------------------------------------ learning

    def learn(self, request: Request) -> Response:
        """What each camera could learn, what it learns, and what came of it."""
        state = self.context.bridge.state()
        lessons = []
        with self.context.journal() as journal:
            for at, camera in enumerate(state["cameras"]):
                name = str(camera["name"])
                rows = records.confirmed(journal, name, _LEARN + 1)
                jobs = _jobs(state, name)
                is_first, undoes = self._past(name)
                lessons.append(
                    {
                        "at": at,
                        "name": shown(name),
                        "href": address("camera", name),
                        "rows": rows[:_LEARN],
                        "count": len(rows) if len(rows) <= _LEARN else f"{_LEARN}+",
                        "few": is_first and len(rows) == 1,
                        "undoes": undoes,
                        "jobs": jobs,
                        "running": any(job["state"] == "running" for job in jobs),
                    }
                )
        return self.page(request, "learn.html", here="learn", poll="/poll/learn", lessons=lessons)

    def _past(self, camera: str) -> tuple[bool, bool]:
        """Whether the next lesson of a camera is its first, and whether there is one to undo."""
        try:
            entries = Store(store_of_camera(self.context.data, camera)).entries
        except EdgeADError:  # the audit was changed: the command says what is wrong
            return False, True
        is_first = not any(each.role == HELD_BACK for each in locked_in(entries).values())
        return is_first, bool(chain_of(entries, placed_last(entries)))

    def poll_learn(self, request: Request) -> Response:
        """What may have changed of it. Where a job ended, the page loads anew: its buttons change."""

        def pieces(words: Words, found: dict[str, Any]) -> dict[str, Any]:
            parts = {
                f"jobs-{at}": "".join(
                    rendering.piece("macros.html", "job", words, job) for job in _jobs(found["state"], camera["name"])
                )
                for at, camera in enumerate(found["state"]["cameras"])
            }
            states = [f"{job['id']} {job['state']}" for job in found["state"]["jobs"]]
            return {"parts": parts, "again": " ".join(states)}

        return self.polled(request, pieces)

    def login(self, request: Request) -> Response:
        """Asks for a token."""
        failed = {"token": "login_wrong", "wait": "login_wait"}.get(request.query_params.get("failed", ""), "")
        next_page = request.query_params.get("next", "/")
        return self.page(request, "login.html", alone=True, failed=failed, next=next_page)


_PIECES = {"head": "tile_head", "verdict": "tile_verdict", "facts": "tile_facts", "stale": "stale"}


def _jobs(state: Mapping[str, Any], camera: str) -> list[dict[str, Any]]:
    """Those of a camera that this page shows, the latest first."""
    kinds = (EventKind.LEARN, EventKind.UNDO)
    mine = [job for job in state["jobs"] if job["camera"] == camera and job["kind"] in kinds]
    return list(reversed(mine))[:3]


def _filter(request: Request) -> records.Filter:
    asked = {name: request.query_params[name][:200] for name in vars(records.Filter()) if name in request.query_params}
    return records.Filter(**asked)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
