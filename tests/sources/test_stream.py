"""Streams from real servers: JPEGs over HTTP by Python's, H.264 over RTSP by GStreamer's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import SpecError
from edge_ad.sources.base import Capture
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.registry import open_source
from tests.sources.partners import (
    ENCODED,
    captures,
    free_port,
    health,
    network,
    rtsp,
    silent_server,
    wait_for,
    web,
    whole,
)


def stream(address: str, **options: object) -> ProcessSource:
    """A stream that is opened."""
    source = open_source(address, "cam", options)
    assert isinstance(source, ProcessSource)
    return source


def fault(capture: Capture) -> bool:
    """Whether a capture has no frame."""
    return capture.frame is None


def kinds(source: ProcessSource) -> list[str]:
    """What happened since the last call, without the drops."""
    return [event.kind for event in source.events() if event.kind != "drops"]


def test_a_camera_that_sees_nothing_new() -> None:
    """Frozen, dark, blinded, silent: each is reported, no frame of it is given out, and the camera comes back."""
    with web() as camera:
        source = stream(camera.address, silent_s=1.0, frozen_s=1.0, dark_s=1.0, blinded_s=1.0)
        try:
            frame = captures(source, whole, 3)[-1].frame
            assert frame is not None
            assert frame.shape == (120, 160, 3)
            for shows, name in (("still", "frozen"), ("dark", "dark"), ("bright", "blinded")):
                source.events()
                camera.shows = shows
                health(source, name)
                assert captures(source, lambda _: True)[0].fault == f"the camera is {name}"
                camera.shows = "moving"
                health(source, "live")
                assert kinds(source) == [name, "live"]
                captures(source, whole)
            assert source.state().withheld > 0
            camera.shows = "nothing"
            assert "no frame for" in captures(source, fault)[0].fault
            assert source.state().health == "silent"
            camera.shows = "moving"
            health(source, "live")
        finally:
            source.close()


def test_what_is_not_watched() -> None:
    with web() as camera:
        camera.shows = "still"
        source = stream(camera.address, frozen_s=0)
        try:
            assert {capture.fault for capture in captures(source, whole, 60)} == {""}
        finally:
            source.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_that_says_nothing(scheme: str) -> None:
    """It is reported long before FFmpeg would give up by itself (30 s), and tried again."""
    with silent_server() as host:
        source = stream(f"{scheme}://operator:top%20secret@{host}/live?password=hidden", open_s=2.5)
        try:
            found = captures(source, fault)[0]
            events = list(source.events())

            def lost() -> bool:
                events.extend(source.events())
                return any(event.kind == "lost" for event in events)

            wait_for(lost, "FFmpeg gives up")
        finally:
            source.close()
    assert "no frame for" in found.fault
    said = " ".join([found.source, found.fault, source.state().address, *(event.text for event in events)])
    assert not any(secret in said for secret in ("top%20secret", "top secret", "hidden")), said
    assert found.source == f"{scheme}://operator:***@{host}/live?password=***"


def test_a_camera_that_is_killed_and_comes_back() -> None:
    port = free_port()
    with rtsp(port=port) as (server, address):
        source = stream(address, backoff_s=0.2, backoff_max_s=1.0)
        try:
            assert captures(source, whole, 5)[0].frame is not None
            source.events()
            server.kill()
            assert "lost" in captures(source, fault)[0].fault
            state = source.state()
            assert (state.connected, state.health) == (False, "silent")
            assert kinds(source)[:2] == ["lost", "silent"]
            with rtsp(port=port):
                after = captures(source, whole, 5)
                assert after[0].sequence > 5
                assert source.state().reconnects == 1
        finally:
            source.close()


def test_the_process_is_killed_while_it_streams() -> None:
    with rtsp() as (_, address):
        source = stream(address)
        try:
            captures(source, whole)
            pid = source.state().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            assert "SIGKILL" in captures(source, fault)[0].fault
            captures(source, whole, 3)
        finally:
            source.close()


def test_the_network_is_cut() -> None:
    """The cable of a network of its own is pulled: nobody says good-bye."""
    with (
        network(1) as (inside, host, cable),
        rtsp(host=host, port=8554, inside=inside) as (_, address),
    ):
        source = stream(address, open_s=2.0, backoff_s=0.2, backoff_max_s=1.0)
        try:
            captures(source, whole, 5)
            source.events()
            cable("down")
            assert "no frame for" in captures(source, fault)[0].fault
            assert source.state().health == "silent"
            cable("up")
            captures(source, whole, 5)
            assert {"silent", "lost", "connected", "live"} <= set(kinds(source))
        finally:
            source.close()


def test_a_frozen_camera_whose_encoder_lives(tmp_path: Path) -> None:
    """Not one frame equals the one before; and what moves is not frozen."""
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8), (0, 0), 2)
    cv2.imwrite(str(tmp_path / "still.png"), picture)
    still = f"filesrc location={tmp_path / 'still.png'} ! pngdec ! imagefreeze is-live=true ! videoconvert"
    caps = "video/x-raw,format=I420,framerate=30/1"
    with rtsp(f"( {still} ! {caps} ! {ENCODED} )") as (_, address):
        source = stream(address)
        try:
            health(source, "frozen")
            assert captures(source, lambda _: True)[0].fault == "the camera is frozen"
        finally:
            source.close()
    with rtsp() as (_, address):
        source = stream(address)
        try:
            assert {capture.fault for capture in captures(source, whole, 100)} == {""}
            assert source.state().withheld == 0
        finally:
            source.close()


def test_options() -> None:
    with pytest.raises(SpecError, match="unknown option"):
        open_source("rtsp://host/", "cam", {"transprot": "tcp"})
    with pytest.raises(SpecError, match="option transport of camera cam is unknown"):
        open_source("rtsp://host/", "cam", {"transport": "quic"})
    with pytest.raises(SpecError, match=r"option open_s of camera cam has the wrong type.*a number"):
        open_source("rtsp://host/", "cam", {"open_s": "5"})
