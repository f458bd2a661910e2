"""Every byte that is changed, lost or added is found: what cannot be trusted is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import BundleCorruptError, BundleError
from tests import bundle_maker as maker
from tests.bundle.handmade import handmade, opens, refused, same_tmp_path


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """No byte is free: each change of one is refused, so none can load as another content."""
    good = handmade()
    assert len(good) > 2000
    for at in range(len(good)):
        for mask in (0xFF, 1 << at % 8):
            bad = bytearray(good)
            bad[at] ^= mask
            with pytest.raises(BundleError):
                opens(tmp_path, bytes(bad))


def test_every_truncation_is_found(tmp_path: Path) -> None:
    good = handmade()
    for length in range(len(good)):
        with pytest.raises(BundleCorruptError):
            opens(tmp_path, good[:length])


def test_every_zeroed_block_and_lost_byte_is_found(tmp_path: Path) -> None:
    good = handmade()
    for at in range(0, len(good), 16):
        if any(good[at : at + 16]):
            refused(tmp_path, good[:at] + bytes(len(good[at : at + 16])) + good[at + 16 :])
        refused(tmp_path, good[:at] + good[at + 1 :])
        refused(tmp_path, good[:at] + b"\0" + good[at:])


@given(content=st.binary(max_size=400))
@same_tmp_path
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)
    refused(tmp_path, content + b"edge-ad 2 sha256:" + b"0" * 64)


@given(data=st.data())
@same_tmp_path
def test_random_changes_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    good = handmade()
    bad = bytearray(good)
    for at in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=8)):
        bad[at] = data.draw(st.integers(0, 255))
    if bytes(bad) == good:
        assert opens(tmp_path, bytes(bad)).id
    else:
        with pytest.raises(BundleError):
            opens(tmp_path, bytes(bad))


LOCAL_AND_CENTRAL = {
    "compressed": {"method": 8},
    "encrypted": {"flags": 1},
    "data descriptor": {"flags": 8},
    "utf-8 flag": {"flags": 0x800},
    "wrong crc": {"crc": 1},
    "zip64 size": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF},
    "size larger": {"size": 49, "packed": 49},
    "size smaller": {"size": 47, "packed": 47},
    "packed size": {"packed": 47},
    "date": {"date": 0x22},
}


@pytest.mark.parametrize("side", ["local", "central"])
@pytest.mark.parametrize("change", LOCAL_AND_CENTRAL.values(), ids=LOCAL_AND_CENTRAL.keys())
def test_hostile_headers(tmp_path: Path, side: str, change: dict[str, Any]) -> None:
    tweaks = maker.Tweaks()
    getattr(tweaks, side)["coreset"] = change
    refused(tmp_path, handmade(tweaks), "ZIP")


@pytest.mark.parametrize(
    "change",
    [change for key, change in LOCAL_AND_CENTRAL.items() if key != "wrong crc"],
    ids=[key for key in LOCAL_AND_CENTRAL if key != "wrong crc"],
)
def test_hostile_headers_that_agree(tmp_path: Path, change: dict[str, Any]) -> None:
    refused(tmp_path, handmade(maker.Tweaks(local={"coreset": change}, central={"coreset": change})), "ZIP")


@pytest.mark.parametrize(
    "tweaks",
    [
        maker.Tweaks(central={"coreset": {"offset": 0}}),
        maker.Tweaks(central={"coreset": {"offset": 0xFFFFFFFF}}),
        maker.Tweaks(central={"roi/mask": {"offset": 64}}),
        maker.Tweaks(central={"coreset": {"external": 0o120777 << 16}}),
        maker.Tweaks(central={"coreset": {"name_size": 6}}),
        maker.Tweaks(central={"coreset": {"comment_size": 1}}),
        maker.Tweaks(local={"coreset": {"extra_size": 0}}),
        maker.Tweaks(end={"count": 3}),
        maker.Tweaks(end={"here": 65535, "count": 65535}),
        maker.Tweaks(end={"offset": 0}),
        maker.Tweaks(end={"offset": 0xFFFFFFFF, "size": 0xFFFFFFFF}),
        maker.Tweaks(end={"disk": 1}),
        maker.Tweaks(end={"comment_size": 0}),
        maker.Tweaks(order=["manifest.json", "coreset", "coreset", "model.onnx", "roi/mask"]),
        maker.Tweaks(order=["manifest.json", "coreset", "model.onnx"]),
        maker.Tweaks(order=["manifest.json", "manifest.json", "coreset", "model.onnx", "roi/mask"]),
        maker.Tweaks(order=["manifest.json", "roi/mask", "model.onnx", "coreset"]),
        maker.Tweaks(order=["coreset", "manifest.json", "model.onnx", "roi/mask"]),
        maker.Tweaks(order=["manifest.json"]),
        maker.Tweaks(before_directory=b"garbage"),
        maker.Tweaks(before_directory=b"PK\6\6" + bytes(52) + b"PK\6\7" + bytes(16)),
        maker.Tweaks(comment=b""),
        maker.Tweaks(comment=b"edge-ad 2 sha256:" + b"0" * 64),
        maker.Tweaks(comment=b"edge-ad 0 sha256:" + b"0" * 64),
        maker.Tweaks(comment=b"edge-ad 01 sha256:" + b"0" * 64),
    ],
)
def test_hostile_archives(tmp_path: Path, tweaks: maker.Tweaks) -> None:
    refused(tmp_path, handmade(tweaks))


def test_garbage_before_and_after(tmp_path: Path) -> None:
    for content in (
        b"#!/bin/sh\n" + handmade(),
        handmade() + b"\n",
        handmade() + handmade(),
        bytes(64) + handmade(),
    ):
        refused(tmp_path, content)


def test_a_member_that_the_manifest_does_not_name(tmp_path: Path) -> None:
    data = b"x" * 8
    refused(tmp_path, maker.make(maker.to_json(maker.document({})), {"extra": data}), "wrong size")
    named = maker.to_json(maker.document({"other": maker.member_entry(data)}))
    refused(tmp_path, maker.make(named, {"extra": data}), "ZIP")  # of the same length


def test_a_repacked_bundle_is_refused(tmp_path: Path) -> None:
    """What unzip and zip make of it, comment kept: valid for every ZIP tool, and not a bundle."""
    source, target = io.BytesIO(handmade()), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.comment = old.comment
    refused(tmp_path, target.getvalue(), "ZIP tool")
