"""The bundle: what is written is read; paths, permissions and sizes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.errors import BundleCorruptError, BundleError, BundleNotFoundError, SpecError
from tests import bundle_maker as maker
from tests.bundle.handmade import CORESET, MEMBERS, handmade, posix, refused, same_tmp_path, write

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
        assert archive.comment.startswith(f"edge-ad 2 sha256:{identity}".encode())
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
    comment = b"edge-ad 2 sha256:" + b"0" * 64
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
