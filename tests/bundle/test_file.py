"""The bundle: what is written is read, and whatever else is refused. Over 400 lines: one list of attacks."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad import spec
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    SpecError,
)
from edge_ad.spec import codec as manifest_json
from tests import bundle_maker as maker

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")
same_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

CORESET = np.arange(12, dtype=np.float32).reshape(3, 4)
MEMBERS: dict[str, Any] = {
    "coreset": CORESET,
    "model.onnx": b"an onnx file",
    "roi/mask": np.eye(3, dtype=np.uint8),
}


def write(path: Path, **members: Any) -> str:
    return write_bundle(path, maker.example_manifest(), members or MEMBERS)


def handmade(tweaks: maker.Tweaks | None = None, **changes: Any) -> bytes:
    """The bundle of `MEMBERS`, by hand; `changes` are to the parsed manifest."""
    data = {name: bytes(value) for name, value in MEMBERS.items()}
    entries = {
        "coreset": maker.member_entry(data["coreset"], "float32", [3, 4]),
        "model.onnx": maker.member_entry(data["model.onnx"]),
        "roi/mask": maker.member_entry(data["roi/mask"], "uint8", [3, 3]),
    }
    return maker.make(maker.to_json({**maker.document(entries), **changes}), data, tweaks)


def sealed(manifest: bytes) -> bytes:
    """A bundle without members around any manifest text."""
    return maker.make(manifest, {})


def opens(tmp_path: Path, content: bytes) -> Bundle:
    path = tmp_path / "x.bundle"
    path.write_bytes(content)
    return Bundle.open(path)


def refused(tmp_path: Path, content: bytes, match: str | None = None) -> None:
    with pytest.raises(BundleCorruptError, match=match) as caught:
        opens(tmp_path, content)
    assert caught.value.remedy


# ------------------------------------------------------------------------------------------------- round trip


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "cable.bundle"
    identity = write(path)
    with Bundle.open(path) as bundle:
        assert bundle.path == path
        assert bundle.id == identity
        assert len(identity) == 16
        assert bundle.manifest.calibration == maker.example_manifest().calibration
        np.testing.assert_array_equal(bundle.array("coreset"), CORESET)
        assert bytes(bundle.blob("model.onnx")) == b"an onnx file"
        assert bytes(bundle.blob("coreset")) == CORESET.tobytes()
        assert "coreset" in bundle
        assert "nothing" not in bundle
        assert [*bundle.manifest.members] == ["coreset", "model.onnx", "roi/mask"]
    assert [*tmp_path.iterdir()] == [path]


def test_the_writer_agrees_with_one_made_by_hand(tmp_path: Path) -> None:
    write(tmp_path / "cable.bundle")
    assert (tmp_path / "cable.bundle").read_bytes() == handmade()


arrays = st.sampled_from(["uint8", "int32", "float32"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
names = st.from_regex(r"[a-z0-9_-][a-z0-9_.-]{0,8}(/[a-z0-9_-][a-z0-9_.-]{0,8}){0,2}", fullmatch=True).filter(
    lambda name: name != "manifest.json"
)


@given(members=st.dictionaries(names, st.one_of(arrays, st.binary(max_size=200)), max_size=6))
@same_tmp_path
def test_any_members_come_back(tmp_path: Path, members: dict[str, Any]) -> None:
    path = tmp_path / "any.bundle"
    write_bundle(path, maker.example_manifest(), members)
    with Bundle.open(path) as bundle:
        assert {*bundle.manifest.members} == {*members}
        for name, value in members.items():
            if isinstance(value, bytes):
                assert bundle.blob(name) == value
                continue
            found = bundle.array(name)
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
            assert found.tobytes() == value.tobytes()  # NaN and -0.0 too
            assert found.ctypes.data % 64 == 0 or found.size == 0
            assert not found.flags.writeable
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_arrays_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle")
    bundle = Bundle.open(tmp_path / "a.bundle")
    array, blob = bundle.array("coreset"), bundle.blob("coreset")
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    assert blob.readonly


@pytest.mark.parametrize(
    "value",
    [
        CORESET.T,
        CORESET[:, ::2],
        CORESET.astype(">f4"),
        np.asfortranarray(CORESET),
        CORESET[::-1],
        CORESET[0, 0],
    ],
    ids=["transposed", "strided", "big-endian", "fortran", "reversed", "scalar"],
)
def test_any_memory_layout_is_written_in_c_order(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "a.bundle", coreset=np.asarray(value))
    found = Bundle.open(tmp_path / "a.bundle").array("coreset")
    assert found.flags.c_contiguous
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(data * 2)[::2][:0]])
def test_bytes_of_any_kind(tmp_path: Path, kind: Any) -> None:
    value = kind(b"model")
    write(tmp_path / "a.bundle", **{"model.bin": value})
    assert Bundle.open(tmp_path / "a.bundle").blob("model.bin") == bytes(value)


def test_zip_tools_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    identity = write(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "coreset", "model.onnx", "roi/mask"]
        assert archive.read("coreset") == CORESET.tobytes()
        assert archive.comment.startswith(f"edge-ad 1 sha256:{identity}".encode())
        assert json.loads(archive.read("manifest.json"))["format"] == "edge-ad-bundle"


def test_equal_input_gives_an_equal_file(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", maker.example_manifest(), MEMBERS)
    write_bundle(tmp_path / "b", maker.example_manifest(), dict(reversed(MEMBERS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_bundle_can_be_written_from_another(tmp_path: Path) -> None:
    first = write(tmp_path / "a.bundle")
    bundle = Bundle.open(tmp_path / "a.bundle")
    members = {name: bundle.blob(name) for name in ("model.onnx",)} | {
        name: bundle.array(name) for name in ("coreset", "roi/mask")
    }
    assert write_bundle(tmp_path / "a.bundle", bundle.manifest, members) == first


def test_members_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle")
    bundle = Bundle.open(tmp_path / "a.bundle")
    for name in ("nothing", "manifest.json", ""):
        for get in (bundle.array, bundle.blob):
            with pytest.raises(BundleCorruptError, match="no member"):
                get(name)
    with pytest.raises(BundleCorruptError, match="not an array"):
        bundle.array("model.onnx")


def test_closing(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle")
    bundle = Bundle.open(tmp_path / "a.bundle")
    array, blob = bundle.array("coreset"), bundle.blob("model.onnx")
    bundle.close()
    bundle.close()
    np.testing.assert_array_equal(array, CORESET)  # a view outlives the bundle
    assert bytes(blob) == b"an onnx file"
    for get in (bundle.array, bundle.blob):
        with pytest.raises(BundleError, match="closed"):
            get("coreset")


def test_threads_share_a_bundle(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle")
    bundle = Bundle.open(tmp_path / "a.bundle")
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(1 for _ in range(500) if not np.array_equal(bundle.array("coreset"), CORESET))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------------------------------------- corruption


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
    refused(tmp_path, content + b"edge-ad 1 sha256:" + b"0" * 64)


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
        maker.Tweaks(comment=b"edge-ad 1 sha256:" + b"0" * 64),
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


# --------------------------------------------------------------------------------------------------- manifest


def with_text(old: str, new: str) -> bytes:
    text = maker.to_json(maker.document({})).decode()
    assert text.count(old) == 1
    return sealed(text.replace(old, new).encode("utf-8", "surrogatepass"))


HOSTILE_TEXT = {
    "nan": ('"value":99.5', '"value":NaN'),
    "infinity": ('"value":99.5', '"value":-Infinity'),
    "overflowing float": ('"value":99.5', '"value":1e999'),
    "huge int": ('"seed":0', f'"seed":{"9" * 100_000}'),
    "int beyond 64 bits": ('"seed":0', '"seed":18446744073709551616'),
    "duplicate key": ('"seed":0', '"seed":0,"seed":0'),
    "half a surrogate": ('"name":"cable"', '"name":"\\ud800"'),
    "wrong type": ('"name":"cable"', '"name":5'),
    "true as int": ('"seed":0', '"seed":true'),
    "out of range": ('"threshold":2.5', '"threshold":-2.5'),
    "format": ('"edge-ad-bundle"', '"another"'),
    "version 0": ('"format_version":1', '"format_version":0'),
    "version text": ('"format_version":1', '"format_version":"1"'),
    "version true": ('"format_version":1', '"format_version":true'),
    "no version": ('"format_version":1,', ""),
    "missing field": ('"name":"cable",', ""),
}


@pytest.mark.parametrize(("old", "new"), HOSTILE_TEXT.values(), ids=HOSTILE_TEXT.keys())
def test_hostile_manifest_text(tmp_path: Path, old: str, new: str) -> None:
    assert opens(tmp_path, with_text(old, old)).id  # so that it is the change that is refused
    refused(tmp_path, with_text(old, new))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"edge-ad-bundle"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + maker.to_json(maker.document({})),
        maker.to_json(maker.document({})) + b"{}",
        maker.to_json(maker.document({})).decode().encode("utf-16"),
        b"[" * 9_000,
        b'{"a":' * 9_000,
        b"[" * 2**20,
        b'{"format":"edge-ad-bundle","format_version":1,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"[" + b"{}," * 2**20 + b"{}]",
    ],
    ids=range(15),
)
def test_hostile_manifests(tmp_path: Path, manifest: bytes) -> None:
    refused(tmp_path, sealed(manifest))


def test_a_manifest_above_its_cap(tmp_path: Path) -> None:
    text = maker.to_json(maker.document({}))
    assert opens(tmp_path, sealed(text + b" " * (2**24 - len(text)))).id
    refused(tmp_path, sealed(text + b" " * (2**24 - len(text) + 1)), "too large")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            ".hidden",
            "a\\b",
            "c:a",
            "A",
            "ä",
        ),
        *("a b", "a\n", "a\0b", "manifest.json", "a" * 201),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    entry = {name: maker.member_entry(b"x")}
    refused(tmp_path, maker.make(maker.to_json(maker.document(entry)), {name: b"x"}), "name")
    with pytest.raises(SpecError, match="name"):
        write(tmp_path / "a.bundle", **{name: b"x"})
    assert not (tmp_path / "a.bundle").exists()


def test_too_many_members(tmp_path: Path) -> None:
    members = {f"m{number:04}": b"" for number in range(1001)}
    entries = {name: maker.member_entry(b"") for name in members}
    refused(tmp_path, maker.make(maker.to_json(maker.document(entries)), members), "too many members")
    with pytest.raises(SpecError, match="too many members"):
        write(tmp_path / "a.bundle", **members)
    del members["m1000"]
    write(tmp_path / "a.bundle", **members)
    assert len(Bundle.open(tmp_path / "a.bundle").manifest.members) == 1000


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"size": 2**62, "sha256": "0" * 64}, "wrong size"),
        ({"size": 2**32, "sha256": "0" * 64}, "wrong size"),
        ({"size": -64, "sha256": "0" * 64}, "out of range"),
        ({"size": 8, "sha256": "0" * 64}, "damaged"),
        ({"size": 8, "sha256": "x"}, "digest"),
        ({**maker.member_entry(bytes(8), "float32", [3])}, "shape"),
        ({**maker.member_entry(bytes(8), "float32", [-1, -2])}, "shape"),
        ({**maker.member_entry(bytes(8), "float64", [1])}, "dtype"),
        ({**maker.member_entry(bytes(8), "object", [1])}, "dtype"),
        ({**maker.member_entry(bytes(8), "float32", None)}, "dtype and shape"),
        ({**maker.member_entry(bytes(8), "uint8", [1] * 8 + [8])}, "shape"),
        ({**maker.member_entry(b"", "uint8", [0, 2**31, 2**31, 2**31])}, "shape"),
    ],
)
def test_hostile_member_entries(tmp_path: Path, entry: dict[str, Any], match: str) -> None:
    manifest = maker.to_json(maker.document({"coreset": entry}))
    refused(tmp_path, maker.make(manifest, {"coreset": bytes(8)}), match)


def test_an_unknown_field_is_passed_over(tmp_path: Path) -> None:
    assert opens(tmp_path, handmade(later={"a": [1, 2]})).manifest.name == "cable"


def test_a_newer_bundle_is_named_as_such(tmp_path: Path) -> None:
    newer = maker.to_json({"format": "edge-ad-bundle", "format_version": 7, "members": "of another shape"})
    comment = b"edge-ad 7 sha256:" + b"0" * 64
    for content in (sealed(newer), handmade(maker.Tweaks(comment=comment)), b"another layout" + comment):
        with pytest.raises(BundleVersionError, match="bundle format 7") as caught:
            opens(tmp_path, content)
        assert "Upgrade edge-ad" in str(caught.value)


# ------------------------------------------------------------------------------------------------------ files


def test_nothing_at_the_path(tmp_path: Path) -> None:
    write(tmp_path / "a.bundle")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "none", tmp_path / "a.bundle" / "b", tmp_path / "dangling"):
        with pytest.raises(BundleNotFoundError, match="no bundle"):
            Bundle.open(path)


def test_paths_that_are_no_bundle_files(tmp_path: Path) -> None:
    refused(tmp_path, b"", "size")
    with pytest.raises(BundleError, match=r"Give the path of a \.bundle"):
        Bundle.open(tmp_path)
    for path in ("a\0b", "x" * 5000):
        with pytest.raises(BundleError):
            Bundle.open(path)
        with pytest.raises(BundleError):
            write(Path(path))


@posix
def test_devices_and_fifos_do_not_hang_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    code = "import sys; from edge_ad.bundle.file import Bundle; Bundle.open(sys.argv[1])"
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null")):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=30)
        assert "BundleError" in done.stderr
        assert "not a regular file" in done.stderr


@posix
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store" / "a.bundle")
    identity = write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert Bundle.open(tmp_path / "link").id == Bundle.open(tmp_path / "store" / "a.bundle").id == identity


@posix
def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    path.chmod(0)
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(BundleError, match="Permission denied"):
            Bundle.open(path)
        with pytest.raises(BundleError, match="Permission denied"):
            write(path)
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert [*tmp_path.iterdir()] == [path]


@posix
def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    for umask in (0o022, 0o027):
        old = os.umask(umask)
        try:
            write(tmp_path / "a.bundle")
        finally:
            os.umask(old)
        assert (tmp_path / "a.bundle").stat().st_mode & 0o777 == 0o666 & ~umask


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(BundleError, match=r"Is a directory\. Give the path of a \.bundle file"):
        write(tmp_path / "directory")
    with pytest.raises(BundleError, match="Make its directory"):
        write(tmp_path / "none" / "a.bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_the_longest_name(tmp_path: Path) -> None:
    for name in ("n" * 248 + ".bundle", "ä" * 124 + ".bundle"):
        write(tmp_path / name)
        assert Bundle.open(tmp_path / name).id


@pytest.mark.parametrize("dtype", ["float64", "float16", "bool", "object", "U3", "datetime64[s]", "complex64"])
def test_dtypes_that_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(BundleError, match="dtype"):
        write(tmp_path / "a.bundle", coreset=np.zeros(3, dtype))


def test_a_manifest_that_no_reader_takes_is_not_written(tmp_path: Path) -> None:
    import dataclasses

    good = maker.example_manifest()
    for change in (
        {"name": "\udcff"},
        {"name": 5},
        {"producer": {"numpy": np.float32(1)}},
        {"created": float("nan")},
    ):
        with pytest.raises(SpecError):
            write_bundle(tmp_path / "a.bundle", dataclasses.replace(good, **change), {})
    assert not [*tmp_path.iterdir()]


def test_a_file_above_4_gib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.bundle.file.MAX_FILE_BYTES", len(handmade()))
    write(tmp_path / "a.bundle")
    assert Bundle.open(tmp_path / "a.bundle").id
    monkeypatch.setattr("edge_ad.bundle.file.MAX_FILE_BYTES", len(handmade()) - 1)
    with pytest.raises(BundleError, match="too large"):
        write(tmp_path / "b.bundle")
    with pytest.raises(BundleCorruptError, match="size"):
        Bundle.open(tmp_path / "a.bundle")


@posix
def test_sizes_are_checked_before_they_are_allocated(tmp_path: Path) -> None:
    comment = b"edge-ad 1 sha256:" + b"0" * 64
    refused(tmp_path, bytes(18) + (2**24).to_bytes(4, "little") + comment, "cut off")
    path = tmp_path / "sparse.bundle"
    with path.open("wb") as file:
        file.write(bytes(18) + (2**29).to_bytes(4, "little"))
        file.seek(2**30)
        file.write(comment)
    tracemalloc.start()
    try:
        with pytest.raises(BundleCorruptError, match="too large"):
            Bundle.open(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@posix
def test_a_sparse_file_above_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    path.write_bytes(handmade())
    os.truncate(path, 2**32)
    with pytest.raises(BundleCorruptError, match="size"):
        Bundle.open(path)


# ------------------------------------------------------------------------------------------------- atomicity


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "a.bundle"
    old = write(path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises((BundleError, KeyboardInterrupt)) as caught:
        write(path, coreset=np.zeros(5, np.float32))
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert "Free some space" in str(caught.value)
        assert caught.value.__cause__ is error
    assert Bundle.open(path).id == old
    assert [*tmp_path.iterdir()] == [path]


CHILD = """
import os, resource, signal, sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from edge_ad.bundle import file as bundle
from tests import bundle_maker

moment, path = sys.argv[1], sys.argv[2]
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
def after(real):
    def wrapped(*args):
        real(*args)
        kill()
    return wrapped
parts = bundle._file_parts
def cut(*args):
    for number, part in enumerate(parts(*args)):
        if number == int(moment[5:]): kill()
        yield part
if moment.startswith("part"): bundle._file_parts = cut
elif moment == "fsync": os.fsync = kill
elif moment == "replace": os.replace = kill
elif moment == "after replace": os.replace = after(os.replace)
elif moment == "limit": resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print("ready", flush=True)
while True:
    members = {"coreset": np.full((300, 300), 7, np.float32)}
    bundle.write_bundle(path, bundle_maker.example_manifest("new"), members)
    if moment == "once": break
"""


def start_writer(moment: str, path: Path) -> subprocess.Popen[str]:
    """A process that writes the bundle "new" to `path` until it is killed at `moment`."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", CHILD, moment, str(path), root]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@posix
@pytest.mark.parametrize("moment", [f"part {n}" for n in range(5)] + ["fsync", "replace", "after replace"])
def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    process = start_writer(moment, path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    name = Bundle.open(path).manifest.name
    assert name == ("new" if moment == "after replace" else "cable")
    rest = [other.name for other in tmp_path.iterdir() if other != path]
    assert all(other.startswith(".a.bundle.") and other.endswith(".tmp") for other in rest)
    write(path)  # what the killed one left is in nobody's way
    assert Bundle.open(path).manifest.name == "cable"


@posix
def test_readers_see_only_whole_bundles_while_one_writes_and_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    process = start_writer("loop", path)
    names = [Bundle.open(path).manifest.name for _ in range(300)]
    end = time.monotonic() + 60
    while names[-1] != "new" and time.monotonic() < end:  # a crowded machine may not have run the writer yet
        names.append(Bundle.open(path).manifest.name)
    process.kill()
    process.communicate(timeout=60)
    assert {*names} <= {"cable", "new"}
    assert Bundle.open(path).manifest.name == "new"


@posix
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE gives a real error from the kernel in the middle of the largest member."""
    path = tmp_path / "a.bundle"
    old = write(path)
    process = start_writer("limit", path)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "BundleError" in stderr.splitlines()[-1]
    assert "File too large" in stderr
    assert Bundle.open(path).id == old
    assert [*tmp_path.iterdir()] == [path]


@posix
def test_a_reader_keeps_the_bundle_that_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    bundle = Bundle.open(path)
    array = bundle.array("coreset")
    write(path, coreset=np.zeros((1000, 100), np.float32))
    path.unlink()
    np.testing.assert_array_equal(array, CORESET)
    np.testing.assert_array_equal(bundle.array("coreset"), CORESET)


@posix
def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bundle"
    write(path, coreset=np.zeros(10**6, np.float32))
    parse = manifest_json.manifest_from_json

    def truncate_and_parse(raw: bytes) -> spec.Manifest:
        os.truncate(path, 5000)
        return parse(raw)

    monkeypatch.setattr(manifest_json, "manifest_from_json", truncate_and_parse)
    with pytest.raises(BundleError):
        Bundle.open(path)
