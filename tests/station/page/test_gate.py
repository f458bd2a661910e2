"""Who comes through to the routes: names, tokens, sessions, sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("starlette", reason="the page needs the extra `station`")
pytest.importorskip("prometheus_client", reason="the page needs the extra `station`")
pytest.importorskip("jinja2", reason="the page needs the extra `station`")

from edge_ad.station.page.app import make_app
from edge_ad.station.page.auth import OPERATOR, VIEWER, read_token
from edge_ad.station.page.context import Context
from tests.station.page.asking import HOST, QUICK, Answer, ask, bearer, make_context

FORM = "application/x-www-form-urlencoded"
LABEL = b'{"camera": "top", "part_id": "a", "label": "good"}'


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path)


@pytest.fixture
def app(context: Context) -> Any:
    return make_app(context, QUICK)


def login(app: Any, context: Context, role: str, **headers: str) -> Answer:
    path = context.settings.operator_token if role == OPERATOR else context.settings.viewer_token
    body = urlencode({"token": read_token(Path(path)), "next": "/api/state"}).encode()
    return ask(app, "/login", "POST", {"content-type": FORM, "origin": f"http://{HOST}", **headers}, body)


def session_of(answer: Answer) -> dict[str, str]:
    return {"cookie": answer.cookies[0].partition(";")[0]}


@pytest.mark.parametrize("path", ["/api/state", "/ready", "/metrics", "/api/journal", "/v2", "/none", "/api/parts/1"])
def test_strangers_see_nothing(app: Any, path: str) -> None:
    answer = ask(app, path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(app, path, headers={"authorization": "Bearer wrong"}).status == 401


def test_browsers_are_led_to_the_login(app: Any) -> None:
    answer = ask(app, "/parts", headers={"accept": "text/html,*/*"})
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/parts")


def test_health_is_open_and_tells_nothing(app: Any) -> None:
    answer = ask(app, "/health")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_metrics_may_be_opened(tmp_path: Path) -> None:
    app = make_app(make_context(tmp_path, metrics_open=True), QUICK)
    assert ask(app, "/metrics").status == ask(app, "/ready").status == 200
    assert ask(app, "/api/state").status == 401


def test_a_viewer_reads_and_changes_nothing(app: Any, context: Context) -> None:
    viewer = bearer(context, VIEWER)
    assert ask(app, "/api/state", headers=viewer).status == 200
    for path in ("/api/label", "/trigger", "/inspect", "/api/learn", "/v2/models/top/infer"):
        assert ask(app, path, "POST", viewer, LABEL).status == 403
    assert context.bridge.asked == []  # type: ignore[attr-defined]
    assert ask(app, "/api/label", "POST", bearer(context), LABEL).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HOST, 200),
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.7.1", 200),
        ("line4.example", 200),
        ("LINE4.example.", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_names_of_the_page(app: Any, host: str, status: int) -> None:
    """A foreign name that leads here (DNS rebinding) is refused before anything else."""
    assert ask(app, "/health", headers={"host": host}).status == status


def test_a_session_of_a_browser(app: Any, context: Context) -> None:
    answer = login(app, context, OPERATOR)
    assert (answer.status, answer.headers["location"]) == (303, "/api/state")
    (cookie,) = answer.cookies
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert read_token(Path(context.settings.operator_token)) not in cookie
    cookies = session_of(answer)
    assert ask(app, "/api/state", headers=cookies).status == 200
    out = ask(app, "/logout", "POST", cookies)
    assert out.status == 303
    assert "Max-Age=0" in out.cookies[0]
    assert ask(app, "/api/state", headers=cookies).status == 401


def test_a_cookie_behind_tls_is_secure(app: Any, context: Context) -> None:
    answer = login(app, context, VIEWER, host="line4.example", origin="https://line4.example")
    assert "Secure" in answer.cookies[0]


def test_what_a_browser_changes_needs_the_csrf_token(app: Any, context: Context) -> None:
    cookies = session_of(login(app, context, OPERATOR))
    visitor = context.auth.visitor(cookies["cookie"].partition("=")[2], "")
    assert visitor is not None
    asked = context.bridge.asked  # type: ignore[attr-defined]
    form = {**cookies, "content-type": FORM}
    for headers, body in (
        (cookies, LABEL),
        ({**cookies, "x-csrf-token": "wrong"}, LABEL),
        ({**cookies, "x-csrf-token": context.auth.session(OPERATOR)}, LABEL),
        (form, b"csrf=wrong"),
        (form, b"x=1"),
        (form, b"csrf=" + b"x" * 9000),
    ):
        answer = ask(app, "/api/label", "POST", headers, body)
        assert (answer.status, "CSRF" in answer.json["error"]) == (403, True)
    assert asked == []
    right = {**cookies, "x-csrf-token": visitor.csrf}
    assert ask(app, "/api/label", "POST", right, LABEL).status == 200
    assert asked[0][1]["who"] == "operator at 127.0.0.1"
    body = urlencode({"csrf": visitor.csrf}).encode()
    assert ask(app, "/api/label", "POST", form, [body[:10], body[10:]]).status == 400  # it got through; it is no JSON


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"origin": "http://127.0.0.1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_changes_nothing(app: Any, context: Context, headers: dict[str, str]) -> None:
    """Neither with a session nor by a login of its own, nor with a token."""
    cookies = session_of(login(app, context, OPERATOR))
    visitor = context.auth.visitor(cookies["cookie"].partition("=")[2], "")
    assert visitor is not None
    right = {**cookies, "x-csrf-token": visitor.csrf}
    assert ask(app, "/api/label", "POST", {**right, **headers}, LABEL).status == 403
    assert ask(app, "/api/label", "POST", {**bearer(context), **headers}, LABEL).status == 403
    assert login(app, context, OPERATOR, **{"origin": "", **headers}).status == 403
    assert context.bridge.asked == []  # type: ignore[attr-defined]


def test_wrong_tokens_are_slowed(app: Any, context: Context) -> None:
    for _ in range(5):
        assert ask(app, "/api/state", headers={"authorization": "Bearer wrong"}).status == 401
    for headers in ({"authorization": "Bearer wrong"}, bearer(context)):
        answer = ask(app, "/api/state", headers=headers)
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 11
    assert login(app, context, OPERATOR).headers["location"] == "/login?failed=wait"
    assert ask(app, "/api/state", headers=bearer(context), client="10.0.0.2").status == 200  # another address


def test_a_wrong_login(app: Any) -> None:
    answer = ask(app, "/login", "POST", {"content-type": FORM}, b"token=wrong")
    assert (answer.status, answer.headers["location"], answer.cookies) == (303, "/login?failed=token", [])


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nx: y", "a", ""]
)
def test_a_login_leads_nowhere_else(app: Any, context: Context, where: str) -> None:
    token = read_token(Path(context.settings.viewer_token))
    body = urlencode({"token": token, "next": where}).encode()
    answer = ask(app, "/login", "POST", {"content-type": FORM}, body)
    assert (answer.status, answer.headers["location"]) == (303, "/")
