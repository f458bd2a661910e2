"""GenICam cameras: aravis' fake GigE Vision camera over the loopback, and its fake device."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_ad.errors import SpecError
from edge_ad.sources.aravis import call
from edge_ad.sources.genicam import Genicam, GenicamOptions
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.registry import open_source
from tests.sources.partners import captures, gige, health, need_aravis, network, wait_for, whole

LOCAL = "aravis:127.0.0.1"


def camera(address: str = LOCAL, **options: object) -> ProcessSource:
    """A camera that is opened."""
    source = open_source(address, "cam", {"backoff_s": 0.2, "backoff_max_s": 1.0, "silent_s": 1.0, **options})
    assert isinstance(source, ProcessSource)
    return source


@pytest.fixture
def server() -> Iterator[None]:
    """A GigE Vision camera at 127.0.0.1."""
    with gige():
        yield


@pytest.mark.parametrize(
    ("pixel_format", "shape", "dtype"),
    [
        ("Mono8", (96, 128), np.uint8),
        ("Mono16", (96, 128), np.uint16),
        ("BayerRG8", (96, 128, 3), np.uint8),
        ("RGB8", (96, 128, 3), np.uint8),
    ],
)
def test_pixel_formats(server: None, pixel_format: str, shape: tuple[int, ...], dtype: type) -> None:
    source = camera(pixel_format=pixel_format, features={"Width": 128, "Height": 96}, fps=50.0)
    try:
        first, second = captures(source, whole, 2)
        assert first.frame is not None
        assert second.frame is not None
        assert (first.frame.shape, first.frame.dtype) == (shape, dtype)
        assert (first.frame != second.frame).any()
        assert source.state().missed == 0
    finally:
        source.close()


def test_mono12(tmp_path: Path) -> None:
    """The fake camera has no Mono12; it sends what its registers say, so its description is given one. The values are
    those of its 16 bits: of interest is the way, not the picture (test_pixels.py)."""
    need_aravis()
    xml = _description().replace('Name="Mono16"', 'Name="Mono12"').replace("17825799", "17825797")
    assert "Mono12" in xml
    (tmp_path / "camera.xml").write_text(xml)
    with gige(genicam=tmp_path / "camera.xml"):
        source = camera(pixel_format="Mono12", features={"Width": 128, "Height": 96})
        try:
            frame = captures(source, lambda capture: True)[0]
            assert frame.frame is None or frame.frame.dtype == np.uint16
            found = captures(source, whole)[0].frame
            assert found is not None
            assert (found.shape, found.dtype) == ((96, 128), np.uint16)
        finally:
            source.close()


def _description() -> str:
    """The description of aravis' fake device, which its fake server has too."""
    call("arv_enable_interface", b"Fake")
    device = call("arv_camera_get_device", found := call("arv_camera_new", b"Fake_1"))
    library = ctypes.CDLL("libaravis-0.8.so.0")
    library.arv_device_get_genicam_xml.restype = ctypes.c_void_p
    library.arv_device_get_genicam_xml.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t))
    size = ctypes.c_size_t()
    text = ctypes.string_at(library.arv_device_get_genicam_xml(device, ctypes.byref(size)), size.value)
    call("g_object_unref", found)
    return text.decode()


def test_a_software_trigger(server: None) -> None:
    """No picture without one; each comes with its part."""
    source = camera(trigger="software", trigger_s=10.0)
    try:
        health(source, "live")
        assert source.read(0.5) is None
        for n in range(6):
            source.trigger(f"part {n}")
        found = captures(source, lambda _: True, 6)
        assert [(capture.part_id, capture.fault) for capture in found] == [(f"part {n}", "") for n in range(6)]
        frames = [capture.frame for capture in found if capture.frame is not None]
        assert all((a != b).any() for a, b in itertools.pairwise(frames))
    finally:
        source.close()


def test_a_hardware_trigger(server: None) -> None:
    """The camera is set to its line and waits. The fake one has no line that could be triggered; what follows from
    one is tested with a made camera (test_process.py)."""
    source = camera(trigger="Line0", silent_s=0.5)
    try:
        health(source, "live")
        assert source.read(2.0) is None
        assert (source.state().health, source.state().connected) == ("live", True)
    finally:
        source.close()
    with contextlib.closing(Genicam("127.0.0.1", GenicamOptions(policy="every", trigger="Line0"))) as grabber:
        grabber.open()
        assert grabber.grab(0.2) is None
        assert [_text(grabber, name) for name in ("TriggerMode", "TriggerSource")] == ["On", "Line0"]


def _text(grabber: Genicam, name: str) -> str:
    """A feature of a camera."""
    library = ctypes.CDLL("libaravis-0.8.so.0")
    library.arv_camera_get_string.restype = ctypes.c_char_p
    library.arv_camera_get_string.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return str(library.arv_camera_get_string(grabber._camera, name.encode(), None).decode())


@pytest.mark.parametrize("trigger", ["", "software"])
def test_a_camera_that_is_killed_and_comes_back(trigger: str) -> None:
    """Also one that nobody triggers: it is asked whether it is there."""
    with gige() as process:
        source = camera(trigger=trigger)
        try:
            health(source, "live")
            source.events()
            process.kill()
            process.wait()
            assert captures(source, lambda capture: not whole(capture))[0].fault
            if trigger:
                source.trigger("part 1")
                assert captures(source, lambda capture: capture.part_id == "part 1")[0].fault
        except BaseException:
            source.close()
            raise
    with gige():
        try:
            health(source, "live")
            for n in range(10) if trigger else ():
                health(source, "live")
                source.trigger(f"later {n}")
                if whole(captures(source, lambda capture, n=n: capture.part_id == f"later {n}")[0]):
                    break
            else:
                assert not trigger
                captures(source, whole)
            assert {"silent", "lost", "connected", "live"} <= {event.kind for event in source.events()}
        finally:
            source.close()


def test_the_process_is_killed(server: None) -> None:
    """The camera still belongs to it for some seconds, and is refused meanwhile."""
    source = camera()
    try:
        captures(source, whole)
        pid = source.state().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "SIGKILL" in captures(source, lambda capture: not whole(capture))[0].fault
        captures(source, whole, 3)
    finally:
        source.close()


def test_the_network_is_cut() -> None:
    """The cable of a network of its own is pulled while the camera sends."""
    need_aravis()
    with network(2) as (inside, host, cable), gige(host, inside=inside):
        source = camera(f"aravis:{host}", features={"Width": 128, "Height": 96})
        try:
            captures(source, whole, 3)
            cable("down")
            assert "no frame for" in captures(source, lambda capture: not whole(capture))[0].fault
            assert source.state().health == "silent"
            cable("up")
            captures(source, whole, 3)
        finally:
            source.close()


def test_the_fake_device() -> None:
    """aravis' own, without a network; and what it refuses."""
    need_aravis()
    source = camera("aravis:Fake_1", pixel_format="BayerRG8", fps=50.0)
    try:
        frame = captures(source, whole)[0].frame
        assert frame is not None
        assert frame.shape == (512, 512, 3)
    finally:
        source.close()
    source = camera("aravis:Fake_1", pixel_format="Mono12")
    try:
        events: list[str] = []

        def refused() -> bool:
            events.extend(event.text for event in source.events())
            return any("'Mono12' not an entry" in text for text in events)

        wait_for(refused, "it is refused")
    finally:
        source.close()


def test_options() -> None:
    with pytest.raises(SpecError, match="each trigger gets its outcome"):
        open_source(LOCAL, "cam", {"trigger": "software", "policy": "newest"})
    with pytest.raises(SpecError, match="option pixel_format of camera cam is unknown"):
        open_source(LOCAL, "cam", {"pixel_format": "RGB9"})
    for features in ({"Gain": [1]}, {"Gain": "1 Width=5"}, {"Gain 5": 1}):
        with pytest.raises(SpecError, match="cannot be set"):
            open_source(LOCAL, "cam", {"features": features})
    with pytest.raises(SpecError, match="option features of camera cam has the wrong type"):
        open_source(LOCAL, "cam", {"features": [1]})
