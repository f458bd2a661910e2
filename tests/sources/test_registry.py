"""The table of sources, their options, and addresses without passwords."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys

import pytest

from edge_ad.errors import SpecError
from edge_ad.sources.address import masked, shown
from edge_ad.sources.genicam import GenicamOptions
from edge_ad.sources.options import CameraOptions, read_options
from edge_ad.sources.registry import SOURCES, check_source, open_source
from edge_ad.sources.stream import StreamOptions
from edge_ad.sources.usb import UsbOptions
from edge_ad.sources.video import VideoOptions
from tests.paths import ROOT


@pytest.mark.parametrize("prefix", SOURCES)
def test_each_line_names_a_source(prefix: str) -> None:
    entry = SOURCES[prefix]
    assert entry.form.startswith(f"{prefix}:")
    for name in ("open_source", "check_source"):
        function = getattr(importlib.import_module(entry.module), name)
        assert list(inspect.signature(function).parameters)[:3] == ["address", "camera", "options"]


def test_a_source_is_imported_when_it_is_opened() -> None:
    code = (
        "import sys, edge_ad.sources.registry as r; print(sorted(e.module for e in r.SOURCES.values() "
        "if e.module in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("address", ["camera", "ftp://me:secret@host/", "", "rtsp"])
def test_an_address_of_no_source(address: str) -> None:
    for function in (open_source, check_source):
        with pytest.raises(SpecError, match=r"names no source; expected .*rtsp://HOST/PATH") as raised:
            function(address, "cam")
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["video:film.mp4", "rtsp://host/", "http://host/", "usb:0", "aravis:x"])
def test_a_check_opens_nothing(address: str) -> None:
    check_source(address, "cam", {"silent_s": 5})
    with pytest.raises(SpecError, match="unknown option"):
        check_source(address, "cam", {"silence": 5})


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("rtsp://host/path", "rtsp://host/path"),
        ("rtsp://me:secret@host:554/a?b=1", "rtsp://me:***@host:554/a?b=1"),
        ("rtsp://me:se@cret:x@host/a", "rtsp://me:***@host/a"),
        ("rtsp://:secret@host/a", "rtsp://:***@host/a"),
        ("http://host/video?user=me&password=secret&x=1", "http://host/video?user=me&password=***&x=1"),
        ("http://host/video?TOKEN=secret", "http://host/video?TOKEN=***"),
        ("rtsp://host/user=me_password=se_cret_channel=1", "rtsp://host/user=me_password=***"),
        ("usb:0", "usb:0"),
        ("aravis:Vendor-Model-123", "aravis:Vendor-Model-123"),
    ],
)
def test_an_address_without_its_password(address: str, seen: str) -> None:
    assert shown(address) == seen


def test_a_message_without_the_password() -> None:
    address = "rtsp://me:top%20secret@host/a?pwd=other"
    said = masked(f"cannot open {address}: user me, password 'top secret' or top%20secret, pwd=other, other", address)
    assert "secret" not in said
    assert "other" not in said
    assert said.startswith("cannot open rtsp://me:***@host/a?pwd=***")
    assert masked("http://you:hidden@elsewhere", address) == "http://you:***@elsewhere"


def test_options_are_checked() -> None:
    assert read_options(CameraOptions, {"silent_s": 3}, "cam").silent_s == 3.0
    with pytest.raises(SpecError, match=r"camera cam has an unknown option; expected one of policy, .*'sielnt_s'"):
        read_options(CameraOptions, {"sielnt_s": 3}, "cam")
    with pytest.raises(SpecError, match=r"option policy of camera cam is unknown; expected 'newest' or 'every'"):
        read_options(CameraOptions, {"policy": "all"}, "cam")
    with pytest.raises(SpecError, match="a whole number"):
        read_options(CameraOptions, {"slots": True}, "cam")
    with pytest.raises(SpecError, match="out of range"):
        read_options(CameraOptions, {"slots": 1}, "cam")
    with pytest.raises(SpecError, match="out of range"):
        read_options(CameraOptions, {"silent_s": float("nan")}, "cam")


def test_the_page_has_every_option_with_its_default() -> None:
    """And every address, on its page or on that of the station."""
    text = (ROOT / "docs/cameras.md").read_text(encoding="utf-8")
    for kind in (CameraOptions, VideoOptions, StreamOptions, UsbOptions, GenicamOptions):
        for field in dataclasses.fields(kind):
            if kind is not CameraOptions and hasattr(CameraOptions(), field.name):
                continue
            default = getattr(kind(), field.name)
            words = {json.dumps(default), *([f"{default:g}"] if isinstance(default, (int, float)) else [])}
            rows = [line for line in text.splitlines() if line.startswith("|") and f"`{field.name}`" in line]
            assert any(word in row for word in words for row in rows), field.name
    text += (ROOT / "docs/station.md").read_text(encoding="utf-8")
    for entry in SOURCES.values():
        assert f"`{entry.form}`" in text
