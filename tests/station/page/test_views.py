"""The pages, without a browser: what stands in them, what strangers and viewers may not, and foreign texts."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the page needs starlette (the station extra)")
pytest.importorskip("jinja2", reason="the page needs Jinja2 (the station extra)")
pytest.importorskip("prometheus_client", reason="the page needs prometheus-client (the station extra)")
pytest.importorskip("httpx", reason="starlette's client for tests needs httpx")

import warnings

from edge_ad.learning.audit import Audit
from edge_ad.learning.entries import BEGUN, COMPLETED, LESSON, UNDO
from edge_ad.learning.report import HELD_BACK
from edge_ad.station.labels import store_of_camera
from edge_ad.station.page.shown import Lives, ems, mark_of
from edge_ad.station.page.texts import languages, shown
from tests.station.page.staged import TOKENS, Staged, alarm, context_of
from tests.tiny import bad_frame, good_frame

with warnings.catch_warnings():  # it prefers another client than the one that is here
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PAGES = ("/", "/parts", "/parts?outcome=all", "/learn", "/camera/top", "/camera/top?scale=log", "/parts/top/5")
POLLS = ("/poll/live", "/poll/status", "/poll/learn", "/poll/camera/top")


def client_of(staged: Staged, role: str = "operator") -> Any:
    """A browser that is signed in; "" is a stranger."""
    from edge_ad.station.page.app import make_app
    from edge_ad.station.page.limits import Limits

    limits = Limits(rate=1e6, burst=1e6, total_rate=1e6, total_burst=1e6)
    client = TestClient(make_app(context_of(staged), limits), headers={"accept": "text/html"})
    if role:
        assert client.post("/login", data={"token": TOKENS[role]}, follow_redirects=False).status_code == 303
    return client


def csrf_of(client: Any) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/").text)
    assert found is not None
    return found[1]


def text_of(page: str) -> str:
    """What a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


class Tags(HTMLParser):
    """Start tags with their attributes, and whether each tag that needs it is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attributes}) == len(attributes), (tag, attributes)
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_live_says_what_is(staged: Staged) -> None:
    staged.inspect([("top", "K2-0009", bad_frame(2003))])
    client = client_of(staged)
    page = client.get("/")
    said = text_of(page.text)
    assert "Cameras 2 of 2 ready" in said
    assert "PLC connected , in order" in said
    assert "Disk 48.3 GB free" in said
    assert "Time p99 62 of 150 ms" in said
    assert "REJECT" in said
    assert re.search(r"Part K2-0009 (just now|\d+ s ago)", said)
    assert "FAULT No frame came" in said
    assert "No picture of this part" in said
    assert '<html lang="en">' in page.text
    assert client.get("/live/top/9.jpg").content[:2] == b"\xff\xd8"
    assert client.get("/live/top/9.png").content[:4] == b"\x89PNG"
    assert client.get("/live/side/8.jpg").status_code == 404
    assert client.get("/live/top/5.jpg").status_code == 404


def test_an_old_picture_is_never_shown_as_live(staged: Staged) -> None:
    staged.inspect([("top", "old", good_frame(1000))], seconds_ago=40)
    staged.told["cameras"][1] |= {"ready": False, "why": "the camera is lost", "health": "lost"}
    client = client_of(staged)
    page = client.get("/").text
    assert re.search(r"No new part for \d+ s", page)
    assert "Not ready" in page
    assert len(re.findall('class="tile old"', page)) == 2
    told = client.get("/poll/live").json()
    assert [tile["old"] for tile in told["tiles"]] == [True, True]
    assert "No new part for" in told["parts"]["0-stale"]
    assert "1 of 2 ready" in told["parts"]["status"]
    staged.ended = True
    assert client.get("/poll/live").status_code == 503
    gone = client.get("/")
    assert gone.status_code == 503
    assert "the station has ended" in text_of(gone.text)


def test_a_verdict_is_never_shown_with_the_picture_of_another(staged: Staged) -> None:
    """The state is newer than the picture for a moment; where it stays so, there is no picture."""
    now = [0.0]
    lives = Lives(staged, lambda: now[0])  # type: ignore[arg-type]
    camera = staged.camera("top")
    verdict, live = lives.newest(camera)
    assert live is not None
    assert (verdict or {})["number"] == live.number == 7
    later = {**camera["last"], "number": 9, "time": "2099-01-01T00:00:00.000Z", "outcome": "fault"}
    assert lives.newest({**camera, "last": later})[1] is live
    now[0] = 2.0
    assert lives.newest({**camera, "last": later}) == (later, None)
    assert lives.newest(camera)[1] is live
    assert lives.newest({**camera, "last": {**camera["last"], "number": 9}})[1] is live  # a fast line
    assert lives.picture("top", 7) is live
    assert lives.picture("top", 5) is None


def test_status_of_what_is_broken(staged: Staged) -> None:
    staged.told["links"][0] |= {"well": False}
    staged.told["sinks"][0] |= {"fails": "refused", "behind": 12}
    staged.told["disk"] |= {"blocked": True}
    staged.told["cameras"][0] |= {"p99_ms": 480.0, "drops": 3}
    said = text_of(client_of(staged).get("/").text)
    for each in ("line is disturbed", "mes fails, 12 waiting", "full: no pictures are kept", "p99 480 of 150 ms"):
        assert f"{each} , disturbed" in said
    assert "Drops 3" in said
    staged.told |= {"links": [], "sinks": []}
    staged.told["cameras"][0] |= {"p99_ms": None, "ready": True}
    staged.told["cameras"][1] |= {"p99_ms": None}
    said = text_of(client_of(staged).get("/").text)
    assert "PLC no link Sinks none set up" in said
    assert "Time not measured yet" in said


def test_alarms_stay_until_acknowledged(staged: Staged) -> None:
    staged.told["alarms"] = [alarm("lost:side", "no answer", active=False), alarm("disk", "full"), alarm("odd:x", "y")]
    client = client_of(staged)
    for path in ("/", "/parts", "/learn", "/camera/top", "/parts/top/5"):
        said = text_of(client.get(path).text)
        assert "Camera lost side gone" in said
        assert "Disk full active" in said
        assert "Alarm x active" in said
    sent = {"csrf": csrf_of(client), "alarm": mark_of("lost:side"), "back": "/parts?outcome=all"}
    done = client.post("/alarms/acknowledge", data=sent, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/parts?outcome=all")
    assert staged.commands[-1] == ("acknowledge", {"key": "lost:side", "who": "operator at testclient"})
    assert "Camera lost" not in client.get("/").text
    client.post("/alarms/acknowledge", data={**sent, "alarm": mark_of("disk")})
    page = client.get("/").text
    assert "Disk full active, acknowledged" in text_of(page)
    assert len(re.findall('action="/alarms/acknowledge"', page)) == 1
    for foreign in ("https://x.example/", "//x.example", "/\\x.example", "/a\r\nb", "javascript:alert(1)"):
        done = client.post("/alarms/acknowledge", data={**sent, "back": foreign}, follow_redirects=False)
        assert done.headers["location"] == "/"


def test_the_story_of_a_part(staged: Staged) -> None:
    row = staged.rows("number = 5")[0]
    client = client_of(staged)
    page = client.get("/parts/top/5").text
    said = text_of(page)
    for each in ("Part K2-0005", row.bundle, row.point, row.engine, f"{row.latency_ms:.0f} ms", "test:", "no label"):
        assert each in said
    assert f"{row.score:.6g}" in said
    assert [each in said for each in ("False reject", "True reject", "Unsure", "Missed defect")] == [True] * 3 + [False]
    assert 'rel="prev" aria-keyshortcuts="ArrowLeft" href="/parts/side/6"' in page
    assert 'rel="next"' not in page
    good = text_of(client.get("/parts/top/3").text)
    assert [each in good for each in ("Truly good", "Missed defect", "False reject")] == [True, True, False]
    fault = text_of(client.get("/parts/side/8").text)
    assert "No frame came the camera gave none in 400 ms" in fault
    assert "No picture of this part was to be kept." in fault
    for each in ("frame.jpg", "overlay.jpg", "thumb.jpg"):
        assert client.get(f"/parts/top/5/{each}").content[:2] == b"\xff\xd8"
        assert client.get(f"/parts/side/8/{each}").status_code == 404
    original = client.get("/parts/top/5/frame.png")
    assert original.content == (staged.data / row.picture).read_bytes()
    for nowhere in ("/parts/side/5", "/parts/top/99", f"/parts/top/{2**70}", "/camera/none", "/parts/none/5"):
        assert client.get(nowhere).status_code == 404


@pytest.mark.parametrize(
    ("number", "label", "shown"),
    [
        (5, "good", "False reject"),
        (5, "defect", "True reject"),
        (5, "unsure", "Unsure"),
        (3, "defect", "Missed defect"),
    ],
)
def test_labels(staged: Staged, number: int, label: str, shown: str) -> None:
    client = client_of(staged)
    sent = {"csrf": csrf_of(client), "label": label}
    done = client.post(f"/parts/top/{number}/label?camera=top", data=sent, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, f"/parts/top/{number}?camera=top")
    assert staged.rows(f"number = {number}")[0].label == label
    page = client.get(f"/parts/top/{number}").text
    assert f'class="badge {label}">{shown}' in page
    assert re.search(f'value="{label}"[^>]*aria-pressed="true"', page)
    told = client.post(f"/parts/top/{number}/label", data={**sent, "label": ""}, headers={"accept": "application/json"})
    assert told.json() == {"back": f"/parts/top/{number}", "label": "", "text": "no label"}
    assert staged.rows(f"number = {number}")[0].label == ""


def test_labels_that_are_none(staged: Staged) -> None:
    client = client_of(staged)
    token = csrf_of(client)
    for path, label in (("/parts/top/5", "great"), ("/parts/top/99", "good"), ("/parts/side/5", "good")):
        sent = client.post(
            f"{path}/label", data={"csrf": token, "label": label}, headers={"accept": "application/json"}
        )
        assert sent.status_code in (400, 404)
        assert sent.json()["error"]
    assert staged.commands == []


def test_a_viewer_sees_but_cannot_press(staged: Staged) -> None:
    staged.told["alarms"] = [alarm("lost:side", "no answer")]
    staged.told["cameras"][0] |= {"recipes": ["a", "b"]}
    staged.drift(0)
    staged.command("label", camera="top", part_id="K2-0005", label="good")
    staged.commands.clear()
    client = client_of(staged, "viewer")
    for path in PAGES:
        tags = Tags(client.get(path).text).found
        loose = [each for name, each in tags if name == "button" and "disabled" not in each]
        gallery = path.startswith("/parts") and not path.endswith("5")
        assert len(loose) == 1 + gallery, (path, loose)  # to sign out, and to search
    token = csrf_of(client)
    posts = (
        "/alarms/acknowledge",
        "/parts/top/5/label",
        "/camera/top/learn",
        "/camera/top/rollback",
        "/camera/top/drift",
    )
    for path in posts:
        assert (
            client.post(path, data={"csrf": token, "label": "good", "alarm": mark_of("lost:side")}).status_code == 403
        )
    assert staged.commands == []


def test_a_stranger_signs_in(staged: Staged) -> None:
    client = client_of(staged, "")
    for path in (*PAGES, *POLLS, "/parts/top/5/thumb.jpg"):
        assert client.get(path, follow_redirects=False).status_code in (303, 401)
    page = client.get("/parts/top/5")  # led to the form
    assert "Token" in text_of(page.text)
    assert '<input type="hidden" name="next" value="/parts/top/5">' in page.text
    assert 'aria-label="Pages"' not in page.text
    assert "K2" not in page.text
    wrong = client.post("/login", data={"token": "x"})
    assert "That is not a token of this station." in text_of(wrong.text)
    assert client.get("/static/page.css").status_code == 200
    for outside in ("/static/../texts.json", "/static/%2e%2e/texts.json", "/static/..%2ftexts.json"):
        assert "outcome_good" not in client.get(outside).text
    sent = client.post("/login", data={"token": TOKENS["viewer"], "next": "/parts/top/5"}, follow_redirects=False)
    assert sent.headers["location"] == "/parts/top/5"


def test_what_an_operator_changes(staged: Staged) -> None:
    staged.told["cameras"][0] |= {"recipes": ["small", "large"], "recipe": 1}
    client = client_of(staged)
    page = client.get("/camera/top").text
    assert '<option value="1" selected>1: large</option>' in page
    token = csrf_of(client)
    who = {"camera": "top", "who": "operator at testclient"}
    for path, sent, told in (
        ("recipe", {"number": "0"}, ("select_recipe", {**who, "number": 0})),
        ("drift", {}, ("renew_drift", who)),
        ("rollback", {}, ("rollback", who)),
        ("learn", {}, ("learn", who)),
        ("undo", {}, ("undo", who)),
    ):
        done = client.post(f"/camera/top/{path}", data={"csrf": token, **sent}, follow_redirects=False)
        assert done.status_code == 303
        assert staged.commands[-1] == told
    client.post("/camera/top/trigger", data={"csrf": token})
    name, values = staged.commands[-1]
    assert (name, values["camera"], values["part_id"][:5]) == ("trigger", "top", "page-")
    count = len(staged.commands)
    assert client.post("/camera/top/recipe", data={"csrf": token, "number": "-1"}).status_code == 400
    assert client.post("/camera/none/rollback", data={"csrf": token}).status_code == 404
    assert client.post("/camera/top/rollback", data={"csrf": "wrong"}).status_code == 403
    assert len(staged.commands) == count


def test_learning(staged: Staged) -> None:
    client = client_of(staged)
    assert re.search(r'aria-label="Learn from[^>]* disabled>', client.get("/learn").text)
    staged.command("label", camera="top", part_id="K2-0005", label="good")
    assert re.search(r'aria-label="Learn from[^"]*camera top"[^>]* disabled>', client.get("/learn").text)
    assert "The first lesson needs two" in text_of(client.get("/learn").text)
    staged.command("label", camera="top", part_id="K2-0007", label="good")
    figures = {"point": "f32", "threshold": [2.5, 2.6], "rows": [400, 410], "misses": [1, 1], "defects": 9}
    figures |= {"held_back": [2, 0], "goods": 30, "offered": [1, 0], "images": 1, "power": None, "synthetic": 0}
    job = {"id": "learn-1", "kind": "learn", "camera": "top", "state": "done", "text": "", "report": {}}
    staged.told["jobs"] = [{**job, "report": {"figures": [figures]}}, {**job, "id": "learn-2", "state": "running"}]
    page = client.get("/learn").text
    said = text_of(page)
    assert "Confirmed false rejects: 2" in said
    assert "The first lesson needs two" not in said
    assert "Locked defects that are missed 1 1 9" in said
    assert "Learning: running" in said
    assert "Synthetic" not in said
    assert re.search(r'aria-label="Learn from[^>]* disabled>', page)  # one runs
    staged.told["jobs"][1] |= {"state": "failed", "text": "no locked pictures"}
    page = client.get("/learn").text
    assert "Learning: failed no locked pictures" in text_of(page)
    assert not re.search(r'aria-label="Learn from[^"]*camera top"[^>]* disabled>', page)
    assert client.get("/poll/learn").json()["again"] == "learn-1 done learn-2 failed"


def test_only_a_lesson_can_be_undone(staged: Staged) -> None:
    """And after the first one, a single good part is enough for the next."""
    client = client_of(staged)
    staged.command("label", camera="top", part_id="K2-0005", label="good")
    assert "/undo" not in client.get("/learn").text
    audit = Audit(store_of_camera(staged.data, "top") / "audit.jsonl")
    audit.path.parent.mkdir(parents=True)
    held = {"sha256": "0" * 64, "name": "a.png", "role": HELD_BACK}
    told = {"who": "anna", "time": "2026-11-30T09:00:00Z", "before": "first"}
    audit.append({"kind": LESSON, "state": BEGUN, **told, "pictures": [held]})
    assert "/undo" not in client.get("/learn").text  # it is not done
    audit.append({"of": 1, "state": COMPLETED, "after": "second"})
    page = client.get("/learn").text
    assert page.count("/undo") == 1
    assert not re.search(r'aria-label="Learn from[^"]*camera top"[^>]* disabled>', page)
    audit.append({"kind": UNDO, "state": BEGUN, **told, "before": "second", "after": "first"})
    audit.append({"of": 3, "state": COMPLETED})
    assert "/undo" not in client.get("/learn").text
    audit.path.write_text("changed\n")  # the command says what is wrong
    assert "/undo" in client.get("/learn").text


@pytest.mark.parametrize("language", languages())
def test_every_page_in_every_language(staged: Staged, language: str) -> None:
    staged.told["alarms"] = [alarm("lost:side", "no answer")]
    client = client_of(staged)
    client.get("/", params={"lang": language})
    for path in (*PAGES, "/parts/side/8", "/parts/top/99", "/login"):
        page = client.get(path, headers={"accept-language": "fr"}).text
        assert f'<html lang="{language}">' in page
        tags = Tags(page).found
        assert not any(name.startswith("on") or name == "style" for _, each in tags for name in each)
        assert [name for name, each in tags if name == "script" and "src" not in each] == []
        assert all(not (each.get(a) or "").startswith(("http", "//")) for _, each in tags for a in ("src", "href"))
        ids = [each["id"] for _, each in tags if "id" in each]
        assert len(ids) == len(set(ids))
        assert sum(name == "h1" for name, _ in tags) == 1
    for path in POLLS:
        told = client.get(path).json()
        for part in told["parts"].values():
            Tags(part)


def test_colours_and_language_are_remembered(staged: Staged) -> None:
    client = client_of(staged)
    page = client.get("/parts?outcome=all&theme=dark&lang=de").text
    assert '<html lang="de" data-theme="dark">' in page
    assert 'href="?outcome=all&amp;theme=light"' in page
    assert '<html lang="de" data-theme="dark">' in client.get("/").text
    assert '<html lang="de">' in client.get("/?theme=auto").text
    assert '<html lang="de">' in client.get('/?lang="><script>&theme=<x>').text


FOREIGN = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "a\x00b\x1b[31m\nc\x7f",
    "שלום עולם",
    "../../../etc/passwd",
    "%2e%2e%2f?a=b&c=d#e",
    "\udc80",
    "a" * 500,
)


@pytest.mark.parametrize("text", FOREIGN, ids=range(len(FOREIGN)))
def test_foreign_texts_are_texts(staged: Staged, text: str) -> None:
    """Part ids come from codes and PLCs, other names from a configuration, reasons from anywhere."""
    from edge_ad.system.names import storable

    text = storable(text)
    staged.inspect([("top", text, bad_frame(2004))])
    camera = staged.told["cameras"][0]
    camera |= {"ready": False, "why": text, "address": text, "health": text, "trigger": text, "bundle": text}
    camera |= {"recipes": [text]}
    drifting = {**staged.drift(0), "alarm": f"{text}.up", "text": text, "picture": text}
    camera["drift"] |= {"reference": text, "statistics": {text: drifting}}
    staged.told["links"][0] |= {"id": text, "well": False}
    staged.told["sinks"][0] |= {"id": text, "fails": text, "behind": 1}
    staged.told["alarms"] = [{**alarm("lost:x", text), "camera": text, "kind": text, "key": text}]
    staged.told["alarms"].append({**alarm(f"drift:{text}:{text}", text), "camera": text})
    staged.told["alarms"].append({**alarm(f"drift:top:{text}", text), "camera": "top"})
    staged.told["jobs"] = [
        {"id": text, "kind": "learn", "camera": "top", "state": "failed", "text": text, "report": {"figures": []}}
    ]
    staged.told["station"] = text
    staged.command("label", camera="top", part_id=text, label="good")
    client = client_of(staged)
    plain = Tags(client.get("/parts/top/5").text)
    for path in (*PAGES, "/parts/top/9", *POLLS, f"/parts?part={'x' if len(text) > 400 else ''}"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        parts = [answer.text] if path not in POLLS else answer.json()["parts"].values()
        for part in parts:
            tags = Tags(part).found
            assert {name for name, _ in tags} <= _NAMES
            assert not any(name.startswith("on") for _, each in tags for name in each)
            assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\x7f]", part)
    assert plain.found
    found = client.get("/parts", params={"part": text})
    assert html.escape(shown(text), quote=False).replace("&#x27;", "'")[:50] in found.text.replace(
        "&#39;", "'"
    ).replace("&#34;", '"')
    assert found.text.count('class="card ') == 1


_NAMES = set(
    """html head meta title link script body a header p nav details summary svg path rect circle line polyline text desc
    div h1 h2 h3 ul li form input button section strong span bdi time main noscript article img label b dl dt dd code
    select option table thead tbody tr th td caption kbd figure figcaption""".split()  # noqa: SIM905
)


@pytest.mark.parametrize(
    "query",
    ["outcome=x", "label=x", "day=today", "before=-1", "before=x", "after=" + "9" * 40, "part=%00", "part=%ff%fe"],
)
def test_queries_that_are_none(staged: Staged, query: str) -> None:
    answer = client_of(staged).get(f"/parts?{query}")
    assert answer.status_code in (200, 400)
    Tags(answer.text)


def test_camera_names_of_any_kind(golden: Any, tmp_path: Any) -> None:
    names = ["a/b", "ß 1?#&", "12", '"x"', "live"]
    staged = Staged(tmp_path / "data", names, golden)
    staged.inspect([(name, "p/1 ü", bad_frame(2000)) for name in names])
    client = client_of(staged)
    page = client.get("/").text
    links = [each["href"] for name, each in Tags(page).found if name == "a" and "/camera/" in (each.get("href") or "")]
    assert len(links) == len(names)
    for link, name in zip(links, names, strict=True):
        assert html.escape(name, quote=False) in client.get(link).text.replace("&#34;", '"')
    for each in [each["src"] for name, each in Tags(page).found if name == "img" and "src" in each]:
        assert client.get(each).status_code == 200, each
    for number, _ in enumerate(names, 1):
        link = re.findall(rf'href="(/parts/[^"]*/{number})"', page)[0]
        assert "p/1 ü" in client.get(link).text


def test_answers_to_scripts_are_json(staged: Staged) -> None:
    client = client_of(staged)
    answer = client.get("/camera/none", headers={"accept": "application/json"})
    assert answer.status_code == 404
    assert "no camera" in json.loads(answer.text)["error"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_width_of_a_word() -> None:
    assert ems("GOOD") < ems("REJECT") < ems("AUSSCHUSS") <= 10
    assert ems("양품") == 2
    assert ems("") == 2
    assert ems("x" * 99) == 10
