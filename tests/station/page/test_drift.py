"""The panel of drift and its alarms: what is said in which language, what is drawn, and which pictures are served."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="the page needs starlette (the station extra)")
pytest.importorskip("jinja2", reason="the page needs Jinja2 (the station extra)")
pytest.importorskip("prometheus_client", reason="the page needs prometheus-client (the station extra)")
pytest.importorskip("httpx", reason="starlette's client for tests needs httpx")

from edge_ad.station.page.drift import WIDTH, panel_of, picture_of
from edge_ad.station.page.texts import Words, languages, tables
from edge_ad.station.pictures import to_png
from tests.station.page.staged import Staged, drift_of, statistic
from tests.station.page.test_views import Tags, client_of, csrf_of, text_of

PICTURE = "drift/top/20261129T180752Z-brightness.png"


def pictured(staged: Staged, path: str = PICTURE) -> bytes:
    """Then and now, on the disk."""
    data = to_png(np.full((40, 96, 3), 90, np.uint8))
    target = staged.data / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return data


def panel(page: str) -> str:
    found = re.search(r'<section class="panel" id="drift".*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def rows(drift: dict[str, Any], language: str = "en") -> dict[str, dict[str, Any]]:
    found = panel_of(Words(language), {"name": "top", "drift": drift})["rows"]
    return {row["name"]: row for row in found}


def test_a_row_a_statistic(staged: Staged) -> None:
    told = panel(client_of(staged).get("/camera/top").text)
    said = text_of(told)
    assert "Compared with the good images that the bundle was made of." in said
    assert "The reference is being made: 37 of 200 good parts." in said
    assert "Brightness as the reference Latest 0.505 Reference 0.500 (0.480 … 0.520) Evidence of drift 10 %" in said
    assert "Sharpness may be drifting Latest 0.0329" in said
    assert "Share of coreset rows that a part is nearest to no reference yet Latest 0.0412 Turn" in said
    assert "Turn of the part as the reference Latest 0.00 Reference 0.00 (-1.00 … 1.00) degrees" in said
    assert told.count('class="band"') == told.count('class="bar"') == 3
    assert "Usual causes" not in said


@pytest.mark.parametrize("language", languages())
def test_an_alarm_in_every_language(staged: Staged, language: str) -> None:
    pictured(staged)
    since_ns = staged.drift(0, picture=PICTURE)["since_ns"]
    texts = {key: text[language] for key, text in tables()["texts"].items()}
    client = client_of(staged)
    name, cause = texts["drift_name_brightness"], texts["drift_cause_brightness_down"]
    page = client.get("/camera/top", params={"lang": language}).text
    told = panel(page)
    assert told.index(name) < told.index(texts["drift_name_sharpness"])  # what is wrong stands first
    for each in (texts["drift_down"], cause, texts["drift_then"], texts["drift_now"], "100 %"):
        assert each in told
    address = f"/camera/top/drift/brightness.png?since={since_ns}"
    assert f'src="{address}" alt="{texts["drift_pair"].format(name=name)}"' in told
    for path in ("/", "/camera/top"):
        bar = client.get(path).text.partition("<main")[0]
        title = texts["drift_alarm_down"].format(name=name)
        assert f'<a href="/camera/top#drift"><strong>{title}</strong> <bdi>top</bdi></a>' in bar
        assert f'<span class="text cause">{cause}</span>' in bar
        assert "Usual causes: many" not in bar
    parts = client.get("/poll/camera/top").json()["parts"]
    assert cause in parts["drift"]
    assert cause in parts["alarms"]
    assert client.get(address).content == (staged.data / PICTURE).read_bytes()


def test_an_alarm_whose_cause_is_gone_keeps_the_words_of_the_station(staged: Staged) -> None:
    staged.drift(0)
    staged.told["cameras"][0]["drift"] = drift_of("operator")  # renewed
    staged.told["alarms"][0] |= {"active": False}
    page = client_of(staged).get("/camera/top").text
    assert "Drift: Brightness top gone" in text_of(page)
    assert "brightness is 0.412, below the reference. Usual causes: many." in text_of(page)
    assert "an operator has taken as the new normal" in panel(page)
    staged.told["alarms"][0] |= {"camera": "none", "key": "drift:none:brightness"}
    page = client_of(staged).get("/").text
    assert "Drift: Brightness none gone" in text_of(page)
    assert "#drift" not in page


@pytest.mark.parametrize(
    ("drift", "said"),
    [
        ({}, "is not watched"),
        ({"enabled": False, "reference": "", "statistics": {}}, "is not watched"),
        ({"enabled": True, "reference": "", "statistics": {}, "asked": False}, "No part has been measured yet."),
        ({"enabled": True, "reference": "", "statistics": {}, "asked": True}, "A new reference was asked for."),
        ({**drift_of("station"), "asked": True}, "It begins with the next part that is measured."),
        ({**drift_of("station"), "taken": None, "of": None}, "the first good parts of this camera with this bundle"),
    ],
)
def test_what_the_reference_is(staged: Staged, drift: dict[str, Any], said: str) -> None:
    staged.told["cameras"][0]["drift"] = drift
    told = panel(client_of(staged).get("/camera/top").text)
    assert said in text_of(told)
    assert ("37 of 200" in told) == (drift.get("taken") is not None and not drift["asked"])
    assert ('action="/camera/top/drift"' in told) == bool(drift.get("enabled"))


def test_the_new_normal_is_asked_for_twice(staged: Staged) -> None:
    client = client_of(staged)
    told = panel(client.get("/camera/top").text)
    assert re.search(r"<summary>This is the new normal</summary>.*<button[^>]*>Yes, take a new reference", told, re.S)
    assert client.post("/camera/top/drift", data={"csrf": csrf_of(client)}).status_code == 200
    assert staged.commands == [("renew_drift", {"camera": "top", "who": "operator at testclient"})]
    page = client_of(staged, "viewer").get("/camera/top").text
    assert [each for name, each in Tags(panel(page)).found if name == "button" and "disabled" not in each] == []


@pytest.mark.parametrize(
    "told",
    [
        "../secret.png",
        "drift/../secret.png",
        "drift/top/../../secret.png",
        "drift/top/link.png",
        "drift/top/reference.json",
        "drift/top/none.png",
        "drift/top",
        "drift/top/a\x00.png",
        "/etc/hostname",
        "C:/secret.png",
        "drift",
        ".",
        "",
    ],
)
def test_no_picture_from_elsewhere(staged: Staged, told: str) -> None:
    """The path comes from the station, which this process does not trust more than it must."""
    pictured(staged)
    for outside in (staged.data / "secret.png", staged.data.parent / "secret.png"):
        outside.write_bytes(b"secret")
    (staged.data / "drift/top/reference.json").write_text("{}")
    with contextlib.suppress(OSError):  # Windows lets not everybody make one
        (staged.data / "drift/top/link.png").symlink_to(staged.data / "secret.png")
    staged.drift(0, picture=told)
    assert client_of(staged).get("/camera/top/drift/brightness.png").status_code == 404


def test_no_picture_of_what_has_no_alarm(staged: Staged) -> None:
    pictured(staged)
    staged.drift(0, picture=PICTURE)
    client = client_of(staged)
    assert client.get("/camera/top/drift/brightness.png").headers["content-type"] == "image/png"
    for path in ("top/drift/sharpness", "top/drift/none", "side/drift/brightness", "none/drift/brightness"):
        assert client.get(f"/camera/{path}.png").status_code == 404
    assert client.get("/camera/top/drift/..%2f..%2fsecret.png").status_code == 404
    (staged.data / PICTURE).unlink()
    assert client.get("/camera/top/drift/brightness.png").status_code == 404
    assert client_of(staged, "").get("/camera/top/drift/brightness.png", follow_redirects=False).status_code == 303
    assert picture_of(Path("/"), {"name": "top", "drift": {}}, "brightness") is None


@pytest.mark.parametrize(
    ("low", "middle", "high", "latest"),
    [
        (0.48, 0.5, 0.52, 0.5),
        (0.48, 0.5, 0.52, 5.0),
        (0.48, 0.5, 0.52, -5.0),
        (1.0, 1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 1e-300),
        (-3.0, -2.0, -1.0, 1e9),
        (-3.0, -2.0, -1.0, math.nan),
    ],
)
def test_the_band_is_always_seen(low: float, middle: float, high: float, latest: float) -> None:
    band = rows({"enabled": True, "statistics": {"red": statistic(low, middle, high, latest)}})["Share of red"]["band"]
    assert 0 <= band["x"] <= band["x"] + band["wide"] <= WIDTH + 0.1
    assert band["wide"] >= 2
    assert 0 < band["latest"] < WIDTH
    assert 0 <= band["middle"] <= WIDTH
    if latest > high:
        assert band["latest"] >= band["x"] + band["wide"] / 2 - 0.1


def test_numbers_of_drift() -> None:
    found = rows({"statistics": {"brightness": statistic(0.1, 0.2, 0.3, -0.0001, evidence=0.999)}}, "de")["Helligkeit"]
    assert found["numbers"] == {"low": "0,100", "middle": "0,200", "high": "0,300", "latest": "0,000"}
    assert found["percent"] == 99  # 100 is an alarm
    nothing = {**statistic(0.1, 0.2, 0.3, 0.2), "latest": None}
    found = rows({"statistics": {"brightness": nothing}})["Brightness"]
    assert found["numbers"]["latest"] == "\u2013"
    assert "latest" not in found["band"]
