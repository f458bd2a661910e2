"""Messages between the station and its page, and what the page keeps of them."""

from __future__ import annotations

import io
import json
import os
import struct
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.page.bridge import Bridge
from edge_ad.station.page.channel import MOST_ASKED, Channel, RefusedError


def message(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def received(data: bytes, most: int = 1000) -> Any:
    return Channel(io.BytesIO(data), io.BytesIO(), most).receive()


def test_there_and_back() -> None:
    pipe = io.BytesIO()
    channel = Channel(io.BytesIO(), pipe, 1000)
    channel.send({"a": "ü<"}, [b"one", memoryview(b"")])
    channel.send({})
    reader = Channel(io.BytesIO(pipe.getvalue()), io.BytesIO(), 1000)
    assert reader.receive() == ({"a": "ü<"}, [b"one", b""])
    assert reader.receive() == ({}, [])
    assert reader.receive() is None


def test_a_message_that_is_cut_is_the_end() -> None:
    pipe = io.BytesIO()
    Channel(io.BytesIO(), pipe, 1000).send({"a": 1}, [b"blob"])
    for size in range(len(pipe.getvalue())):
        assert received(pipe.getvalue()[:size]) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"1", b"{}", b'{"blobs": 1}', b'{"blobs": [-1]}', b'{"blobs": ["x"]}', b"\xff", b"[" * 900],
)
def test_what_is_no_message(content: bytes) -> None:
    """The page is what strangers reach: whatever it sends, the station reads no further."""
    with pytest.raises(EdgeADError, match=r"damaged|too long"):
        received(message(content))


def test_sizes_that_are_too_large() -> None:
    for data in (struct.pack(">I", 1001), message(b'{"blobs": [1001]}')):
        with pytest.raises(EdgeADError, match="too long"):
            received(data)


@pytest.fixture
def ends() -> Iterator[tuple[Bridge, Channel, threading.Thread]]:
    """A bridge that listens, and the station's end of its channel."""
    to_page, to_station = os.pipe(), os.pipe()
    files = [os.fdopen(to_page[0], "rb"), os.fdopen(to_page[1], "wb")]
    files += [os.fdopen(to_station[0], "rb"), os.fdopen(to_station[1], "wb")]
    bridge: Any = Bridge(Channel(files[0], files[3], 2**20))  # type: ignore[arg-type]
    station: Any = Channel(files[2], files[1], MOST_ASKED)  # type: ignore[arg-type]
    thread = threading.Thread(target=bridge.listen)
    thread.start()
    yield bridge, station, thread
    files[1].close()
    thread.join()
    for file in files:
        file.close()


def answering(station: Channel, *answers: tuple[dict[str, Any], list[bytes]]) -> list[dict[str, Any]]:
    """Answers what the page asks, from another thread; what it was."""
    asked: list[dict[str, Any]] = []

    def run() -> None:
        for told, blobs in answers:
            found = station.receive()
            assert found is not None
            asked.append(found[0])
            station.send({"id": found[0]["id"], **told}, blobs)

    threading.Thread(target=run).start()
    return asked


CAMERAS = {"result": {"cameras": [{"name": "top"}]}}


def test_what_is_asked_and_refused(ends: tuple[Bridge, Channel, threading.Thread]) -> None:
    bridge, station, _ = ends
    asked = answering(station, ({"result": {"a": 1}}, []), ({"error": "no", "word": "conflict"}, []), (CAMERAS, []))
    assert bridge.command("do", camera="top") == {"a": 1}
    assert asked[0] == {"do": "do", "id": 1, "values": {"camera": "top"}}
    with pytest.raises(RefusedError, match="no") as caught:
        bridge.command("do")
    assert caught.value.word == "conflict"
    assert bridge.state() is bridge.state()  # asked once
    assert bridge.camera("top") == {"name": "top"}
    with pytest.raises(RefusedError, match="there is no camera"):
        bridge.camera("side")


def test_a_live_part_is_encoded_here(ends: tuple[Bridge, Channel, threading.Thread]) -> None:
    bridge, station, _ = ends
    frame, heat = np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), np.uint8)
    heat[1, 2] = 255
    told = {"result": {"number": 7, "verdict": {"part_id": "a"}, "frame": [4, 6, 3]}}
    answering(station, (CAMERAS, []), (told, [frame.tobytes(), heat.tobytes()]))
    live = bridge.live("top")
    assert live is not None
    assert bridge.live("top") is live  # within half a second nobody is asked
    assert (live.number, live.verdict) == (7, {"part_id": "a"})
    assert cv2.imdecode(np.frombuffer(live.frame_jpeg, np.uint8), 1).shape == (4, 6, 3)
    assert live.heat_png is not None
    layer = cv2.imdecode(np.frombuffer(live.heat_png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert layer.shape == (4, 6, 4)
    assert layer[..., 3].nonzero() == (np.array([1]), np.array([2]))


def test_a_part_without_a_frame(ends: tuple[Bridge, Channel, threading.Thread]) -> None:
    bridge, station, _ = ends
    answering(station, (CAMERAS, []), ({"result": {"number": 1, "verdict": {}, "frame": None}}, []))
    live = bridge.live("top")
    assert live is not None
    assert (live.frame_jpeg, live.heat_png) == (b"", None)


def test_who_waits_hears_of_the_end(ends: tuple[Bridge, Channel, threading.Thread]) -> None:
    bridge, station, _ = ends
    future = bridge.ask("do")
    station._writer.close()
    with pytest.raises(RefusedError, match="has ended"):
        future.result(60)
    with pytest.raises(RefusedError, match="has ended"):
        bridge.command("do")


def test_json_knows_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Channel(io.BytesIO(), io.BytesIO(), 1).send({"a": float("nan")})
    assert json.loads("{}") == {}
