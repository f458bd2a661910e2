"""The endpoints of machines, on a station that says what it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page needs the extra `station`")
pytest.importorskip("prometheus_client", reason="the page needs the extra `station`")
pytest.importorskip("jinja2", reason="the page needs the extra `station`")

from edge_ad.station.journal import Journal
from edge_ad.station.outcomes import FAULT, GOOD, Decision
from edge_ad.station.page.app import make_app
from edge_ad.station.page.bridge import Live
from edge_ad.station.page.channel import RefusedError
from edge_ad.station.page.context import Context
from tests.station.making import capture
from tests.station.page.asking import QUICK, Answer, add_part, ask, bearer, camera, make_context
from tests.tiny import good_frame, picture

TRIGGER = b'{"camera": "top", "part_id": "p"}'
EVIL = '"><script>alert(1)</script>&'


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path)


@pytest.fixture
def app(context: Context) -> Any:
    return make_app(context, QUICK)


def get(app: Any, context: Context, path: str, **headers: str) -> Answer:
    return ask(app, path, headers={**bearer(context, "viewer"), **headers})


def post(app: Any, context: Context, path: str, body: bytes) -> Answer:
    return ask(app, path, "POST", bearer(context), body)


def test_ready(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    assert get(app, context, "/ready").json == {"ready": True, "why": {}}
    bridge.told["cameras"].append(camera("side", ready=False, why="the camera is not there"))
    answer = get(app, context, "/ready")
    assert (answer.status, answer.json["why"]) == (503, {"side": "the camera is not there"})
    bridge.told["disk"]["blocked"] = True
    assert "journal" in get(app, context, "/ready").json["why"][""]
    bridge.error = RefusedError("the station has ended", "unavailable")
    assert get(app, context, "/ready").status == 503


def test_a_trigger(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    answer = post(app, context, "/trigger", TRIGGER)
    assert (answer.status, answer.json) == (200, {"outcome": GOOD})
    assert bridge.asked == [("trigger", {"camera": "top", "part_id": "p"})]


def test_good_is_said_only_in_time(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    bridge.outcome = {"outcome": GOOD, "reason": "", "deadline_ns": 1}
    answer = post(app, context, "/trigger", TRIGGER)
    assert answer.json["outcome"] == FAULT
    assert answer.json["reason"].startswith("late: ")
    bridge.outcome = {"outcome": "reject", "reason": "", "deadline_ns": 1}
    assert post(app, context, "/trigger", TRIGGER).json["outcome"] == "reject"


@pytest.mark.parametrize("path", ["/api/parts/{}", "/api/parts/{}/frame.png", "/parts/top/{}", "/live/top/{}.jpg"])
def test_numbers_that_python_does_not_read(app: Any, context: Context, path: str) -> None:
    """Python refuses numbers of more than some thousand digits; there is no such part."""
    for digits in (18, 19, 5000):
        assert get(app, context, path.format("9" * digits)).status == 404
    assert post(app, context, f"/parts/top/{'9' * 5000}/label", b"label=good").status == 404


def test_errors_are_all_of_one_form(app: Any, context: Context) -> None:
    assert (get(app, context, "/api/nothing").status, get(app, context, "/api/nothing").json) == (
        404,
        {"error": "not found"},
    )
    answer = get(app, context, "/trigger")
    assert (answer.status, answer.json, answer.headers["allow"]) == (405, {"error": "method not allowed"}, "POST")


def test_an_error_that_nobody_thought_of(app: Any, context: Context) -> None:
    """The client gets no more of it than that it happened; the log gets it all."""
    bridge: Any = context.bridge
    bridge.state = lambda: {"cameras": 1}["none"]
    answer = ask(app, "/api/state", headers=bearer(context), raises=(KeyError,))
    assert (answer.status, answer.json) == (500, {"error": "the page failed at this request; its log has more"})


def test_a_trigger_without_an_answer(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    bridge.outcome, bridge.told["cameras"] = None, [camera(deadline_ms=1.0)]
    answer = post(app, context, "/trigger", TRIGGER)
    assert (answer.status, "fault" in answer.json["error"]) == (504, True)


@pytest.mark.parametrize(
    ("word", "status"), [("conflict", 409), ("unavailable", 503), ("unknown", 404), ("bad", 400), ("", 500)]
)
def test_triggers_that_are_refused(app: Any, context: Context, word: str, status: int) -> None:
    bridge: Any = context.bridge
    bridge.error = RefusedError("why not", word)
    bridge.camera = lambda name: camera()
    answer = post(app, context, "/trigger", TRIGGER)
    assert (answer.status, answer.json) == (status, {"error": "why not"})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"camera": 1, "part_id": "a"}', b"[" * 9000])
def test_bodies_that_are_no_trigger(app: Any, context: Context, body: bytes) -> None:
    assert post(app, context, "/trigger", body).status == 400
    assert context.bridge.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", {"camera": "top", "part_id": "a", "label": "unsure"}),
        ("acknowledge", {"key": "lost:top"}),
        ("rollback", {"camera": "top"}),
        ("learn", {"camera": "top"}),
        ("undo", {"camera": "top"}),
        ("renew_drift", {"camera": "top"}),
        ("select_recipe", {"camera": "top", "number": 2}),
    ],
)
def test_commands(app: Any, context: Context, name: str, values: dict[str, Any]) -> None:
    answer = post(app, context, f"/api/{name}", json.dumps({**values, "who": "somebody else"}).encode())
    assert (answer.status, answer.json) == (200, {"done": name})
    told = {**values, "who": "operator at 127.0.0.1"}  # nobody else's name is taken
    assert context.bridge.asked == [(name, told)]  # type: ignore[attr-defined]


def test_the_journal_page_by_page(app: Any, context: Context) -> None:
    for at in range(5):
        add_part(context, f"part {at}", GOOD if at % 2 else "reject")
    first = get(app, context, "/api/journal?limit=2").json
    assert [part["number"] for part in first["parts"]] == [5, 4]
    second = get(app, context, f"/api/journal?limit=10&before={first['next']}").json
    assert [part["number"] for part in second["parts"]] == [3, 2, 1]
    assert second["next"] is None
    assert len(get(app, context, "/api/journal?outcome=good").json["parts"]) == 2
    assert get(app, context, "/api/journal?part=t%203&camera=top").json["parts"][0]["part_id"] == "part 3"
    assert get(app, context, "/api/journal?label=defect").json["parts"] == []
    assert get(app, context, "/api/parts/2").json["part_id"] == "part 1"
    for query in ("limit=501", "limit=-1", "limit=x", "before=1e9", "outcome=x", "label=x", f"limit={'9' * 30}"):
        assert get(app, context, f"/api/journal?{query}").status == 400, query


def test_a_part_id_is_never_markup(app: Any, context: Context) -> None:
    """Whatever a PLC or a file calls a part: what is answered is JSON, and has no character that HTML knows."""
    number = add_part(context, EVIL)
    for path in (f"/api/parts/{number}", "/api/journal", "/api/journal?outcome=%3Cb%3E", "/%3Cscript%3E"):
        answer = get(app, context, path)
        assert b"<" not in answer.body
        assert answer.headers["x-content-type-options"] == "nosniff"
    answer = get(app, context, f"/api/parts/{number}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["part_id"] == EVIL
    context.bridge.error = RefusedError(EVIL, "unknown")  # type: ignore[attr-defined]
    answer = post(app, context, "/api/label", json.dumps({"camera": EVIL, "part_id": EVIL, "label": ""}).encode())
    assert b"<" not in answer.body
    assert answer.json == {"error": EVIL}


def test_pictures_come_by_their_number(app: Any, context: Context) -> None:
    frame = good_frame(0, 640)
    picture(context.data / "pictures/day/top/reject/a.png", frame)
    picture(context.data / "pictures/day/top/reject/a.overlay.png", frame[::2])
    number = add_part(context, "a", picture="pictures/day/top/reject/a.png")
    answer = get(app, context, f"/api/parts/{number}/frame.png")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(answer.body, np.uint8), 1), frame)
    overlay = get(app, context, f"/api/parts/{number}/overlay.png")
    assert cv2.imdecode(np.frombuffer(overlay.body, np.uint8), 1).shape == (320, 640, 3)
    small = get(app, context, f"/api/parts/{number}/thumb.jpg")
    assert max(cv2.imdecode(np.frombuffer(small.body, np.uint8), 1).shape) == 320
    assert get(app, context, f"/api/parts/{number + 1}/frame.png").status == 404
    assert get(app, context, f"/api/parts/{10**40}/frame.png").status == 404


@pytest.mark.parametrize("stored", ["../secret.png", "tokens/operator", "pictures/../secret.png", "/etc/passwd", ""])
def test_no_path_leads_out_of_the_pictures(app: Any, context: Context, stored: str) -> None:
    """Not even where the journal itself was changed."""
    (context.data / "pictures").mkdir()
    picture(context.data / "secret.png", good_frame(0))
    picture(context.data.parent / "secret.png", good_frame(0))
    number = add_part(context, "a", picture=stored)
    for name in ("frame.png", "overlay.png", "thumb.jpg"):
        assert get(app, context, f"/api/parts/{number}/{name}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/parts/../../tokens/operator",
        "/api/parts/..%2f..%2ftokens%2foperator",
        "/static/../../../tokens/operator",
        "/static/..%2f..%2fapi.py",
        "/static//etc/passwd",
        "/api/live/../../tokens/operator/frame.jpg",
        "/api/jobs/..%2f..",
        "/../../etc/passwd",
    ],
)
def test_paths_of_strangers_find_nothing(app: Any, context: Context, path: str) -> None:
    token = Path(context.settings.operator_token).read_bytes().strip()
    for each in (path, path.replace("%2f", "/")):
        answer = get(app, context, each)
        assert answer.status in (404, 200)
        assert token not in answer.body
        assert b"root:" not in answer.body
        assert b"def routes" not in answer.body


def test_live_pictures(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    assert get(app, context, "/api/live/top/frame.jpg").status == 404
    bridge.told["cameras"].append(camera("top/left"))
    bridge.last = Live(7, {"part_id": "a"}, b"jpeg", None)
    answer = get(app, context, "/api/live/top/left/frame.jpg")
    assert (answer.body, answer.headers["content-type"], answer.headers["x-part-number"]) == (
        b"jpeg",
        "image/jpeg",
        "7",
    )
    assert get(app, context, "/api/live/top/heat.png").status == 404
    assert get(app, context, "/api/live/top/verdict").json == {"part_id": "a"}
    assert get(app, context, "/api/live/none/verdict").status == 404


def test_metrics(app: Any, context: Context) -> None:
    plain = get(app, context, "/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = plain.body.decode().splitlines()
    for line in (
        'edge_ad_latency_seconds_bucket{camera="top",le="0.005"} 1.0',
        'edge_ad_latency_seconds_bucket{camera="top",le="+Inf"} 5.0',
        'edge_ad_latency_seconds_count{camera="top"} 5.0',
        'edge_ad_latency_seconds_sum{camera="top"} 2.5',
        'edge_ad_outcomes_total{camera="top",outcome="good"} 5.0',
        'edge_ad_outcomes_total{camera="top",outcome="fault"} 0.0',
        'edge_ad_deadline_misses_total{camera="top"} 3.0',
        'edge_ad_frames_dropped_total{camera="top"} 1.0',
        'edge_ad_score{camera="top",quantile="0.5"} 0.1',
        'edge_ad_drift{camera="top",what="score"} 0.25',
        'edge_ad_sink_behind{sink="csv-1"} 7.0',
        'edge_ad_link_well{link="plc"} 0.0',
        "edge_ad_disk_free_bytes 1.0",
        "edge_ad_queue 0.0",
    ):
        assert line in lines, line
    accept = "application/openmetrics-text; version=1.0.0"
    answer = get(app, context, "/metrics", accept=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    assert {"edge_ad_latency_seconds", "edge_ad_outcomes"} <= {each.name for each in parse(answer.body.decode())}


def test_what_kserve_asks_first(app: Any, context: Context) -> None:
    bridge: Any = context.bridge
    bridge.told["cameras"] = [camera(point="f32", engine="onnxruntime", roi="")]
    assert "binary_tensor_data" in get(app, context, "/v2").json["extensions"]
    assert get(app, context, "/v2/health/live").json == {"live": True}
    assert get(app, context, "/v2/models/top").json["versions"] == ["b"]
    assert get(app, context, "/v2/models/top/ready").json["ready"]
    assert get(app, context, "/v2/models/none").status == 404
    assert post(app, context, "/inspect?bundle=../../x", b"{}").status == 404


@pytest.mark.parametrize("path", ["/api/journal?part=nothing", "/parts?outcome=all&part=nothing"])
def test_a_search_that_takes_too_long_says_so(
    app: Any, context: Context, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Nothing is wrong with the journal."""
    with Journal(context.journal_path, writes=True) as journal, journal.transaction():
        for at in range(5000):
            taken = capture(f"part {at}", sequence=at)
            journal.accept(taken)
            journal.decide("top", taken.part_id, taken, Decision(GOOD), 1.0, "")
    monkeypatch.setattr("edge_ad.station.page.context._PATIENCE_S", -1.0)
    answer = get(app, context, path, accept="application/json")
    assert answer.status == 503
    assert "took too long; narrow it" in answer.json["error"]
