"""The page against programs: requests that no browser makes get nothing that was not uploaded. Needs no browser."""

from __future__ import annotations

import json
import os
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.demo.browser import served
from tests.paths import ROOT
from tests.tiny import good_frame, picture

PLAIN = urllib.request.build_opener(urllib.request.ProxyHandler({}))
DEAD = "127.0.0.1:9"
PROXIES = {"http_proxy": f"http://{DEAD}", "https_proxy": f"http://{DEAD}", "ALL_PROXY": f"socks5://{DEAD}"}


@pytest.fixture(scope="module")
def address(golden: Path) -> Iterator[str]:
    """Of the page of the golden bundle, where proxies are set and one of them needs a package that is not installed."""
    with served(golden, "--threads", 1, env={**os.environ, "PYTHONPATH": str(ROOT), **PROXIES}) as (found, _):
        yield found


def uploaded(address: str, file: Path, name: str) -> str:
    """Where the page keeps a file that was uploaded by that name."""
    head = f'--cut\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + file.read_bytes() + b"\r\n--cut--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=cut"}
    request = urllib.request.Request(f"{address}gradio_api/upload", body, kind)
    return str(json.load(PLAIN.open(request, timeout=60))[0])


def file_at(path: object, **more: object) -> dict[str, object]:
    """As the browser names a file that it has uploaded."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


def inspected(address: str, given: dict[int, object]) -> str:
    """What the page answers to an upload whose event has these inputs, by number: the file is 0, the threshold 2."""
    page = json.load(PLAIN.open(f"{address}config", timeout=60))
    values = {part["id"]: part["props"].get("value") for part in page["components"]}
    event = next(each for each in page["dependencies"] if each["targets"][0][1] == "upload")
    data: list[Any] = [values[part] for part in event["inputs"]]
    for at, value in given.items():
        data[at] = value
    session = uuid.uuid4().hex
    asked = {"data": data, "fn_index": event["id"], "session_hash": session, "trigger_id": event["targets"][0][0]}
    kind = {"Content-Type": "application/json"}
    PLAIN.open(urllib.request.Request(f"{address}gradio_api/queue/join", json.dumps(asked).encode(), kind), timeout=60)
    with PLAIN.open(f"{address}gradio_api/queue/data?session_hash={session}", timeout=60) as lines:
        return next(line.decode() for line in lines if b"process_completed" in line)


def test_an_upload_is_inspected_and_its_name_leads_nowhere(address: str, tmp_path: Path) -> None:
    file = picture(tmp_path / "good.png", good_frame(1))
    kept = Path(uploaded(address, file, "../../../outside.png"))
    assert kept.name == "outside.png"
    assert kept.parent.parent.name.startswith("edge-ad-demo-")
    assert "edge-score" in inspected(address, {0: file_at(kept)})


@pytest.mark.parametrize("at", [0, 2])  # the file, and the slider, to which no file belongs
@pytest.mark.parametrize("more", [{}, {"is_stream": True}])
def test_a_file_that_was_not_uploaded(address: str, tmp_path: Path, at: int, more: dict[str, object]) -> None:
    file = picture(tmp_path / "private.png", good_frame(1))
    answer = inspected(address, {at: file_at(file, **more)})
    assert "edge-score" not in answer
    assert "not uploaded" in answer


@pytest.mark.parametrize("at", [0, 2])
def test_an_address_is_not_fetched(address: str, at: int) -> None:
    answer = inspected(address, {at: file_at("http://localhost:9/good.png")})
    assert "fetches nothing" in answer


@pytest.mark.parametrize("typed", [None, 9999, -3])
def test_a_number_that_is_half_typed(address: str, tmp_path: Path, typed: int | None) -> None:
    """The field beside a slider sends what stands in it, whatever its range."""
    kept = uploaded(address, picture(tmp_path / "good.png", good_frame(1)), "good.png")
    assert "edge-score" in inspected(address, {0: file_at(kept), 2: typed, 3: typed})
