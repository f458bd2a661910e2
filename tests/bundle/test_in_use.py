"""What becomes of an open bundle when somebody writes to its file: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_ad import BundleCorruptError, BundleError, Runtime, SpecError
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.spec import Manifest
from edge_ad.spec import codec as manifest_json
from tests.bundle.handmade import CORESET, posix, write
from tests.edited import edited, pointed
from tests.processes import child
from tests.tiny import bad_frame, good_frame

# Prints the answers to two frames, and again for each line that it reads.
INSPECT = """
import hashlib, sys
import numpy as np
from edge_ad import Runtime
runtime = Runtime(sys.argv[1], engine=sys.argv[2], search="graph", threads=2)
def answers():
    found = [runtime.bundle_id]
    for frame in np.load(sys.argv[3]):
        verdict = runtime.inspect(frame)
        found += [verdict.score.hex(), verdict.threshold, hashlib.sha256(verdict.anomaly_map.tobytes()).hexdigest()]
    print(*found, runtime.check(), flush=True)
answers()
for line in sys.stdin:
    answers()
"""


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(path, np.stack([good_frame(3), bad_frame(4)]))
    return path


@pytest.fixture
def used(golden: Path, tmp_path: Path) -> Path:
    return edited(golden, tmp_path / "used.bundle")


@pytest.fixture
def other(golden: Path, used: Path, tmp_path: Path) -> Path:
    """A bundle of the same layout and size whose members are other ones."""
    with Bundle.open(golden) as bundle:
        coreset = bundle.array("coreset") + np.float32(0.5)
    path = edited(golden, tmp_path / "other.bundle", {"coreset": coreset})
    assert path.stat().st_size == used.stat().st_size
    return path


def overwrite(used: Path, other: Path) -> None:
    """As `cp` and `scp` do: the file stays, its bytes become others."""
    with used.open("r+b") as file:
        file.write(other.read_bytes())
        file.truncate()


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "overwritten": overwrite,
    "overwritten by a shorter one": lambda used, other: used.write_bytes(other.read_bytes()[:5000]),
    "truncated": lambda used, other: os.truncate(used, 0),
    "zeroed": lambda used, other: used.write_bytes(bytes(used.stat().st_size)),
    "replaced": lambda used, other: other.replace(used),
    "deleted": lambda used, other: used.unlink(),
}


def test_verdicts_stay_those_of_the_bundle_that_was_opened(used: Path, other: Path, frames: Path, engine: str) -> None:
    command = [sys.executable, "-c", INSPECT, str(used), engine, str(frames)]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first
        for name, change in CHANGES.items():
            change(used, other)
            process.stdin.write("again\n")
            process.stdin.flush()
            assert (name, process.stdout.readline()) == (name, first)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("change", ["overwritten", "zeroed", "replaced"])  # the others are for a child: they may kill
def test_arrays_and_blobs_stay(golden: Path, used: Path, other: Path, change: str) -> None:
    with Bundle.open(golden) as bundle:
        expected = {name: bytes(bundle.blob(name)) for name in bundle.manifest.members}
    opened = Bundle.open(used)
    CHANGES[change](used, other)
    assert {name: bytes(opened.blob(name)) for name in opened.manifest.members} == expected


def test_a_bundle_overwritten_while_it_is_read_is_refused(
    used: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = manifest_json.manifest_from_json

    def parse_late(raw: bytes, version: int) -> Manifest:
        overwrite(used, other)  # after the manifest was read, before the members are
        return parse(raw, version)

    monkeypatch.setattr(manifest_json, "manifest_from_json", parse_late)
    with pytest.raises(BundleCorruptError, match=r"damaged|not what the manifest"):
        Bundle.open(used)


def test_no_view_can_be_written_to(golden: Path) -> None:
    with Bundle.open(golden) as bundle:
        coreset, blob = bundle.array("coreset"), bundle.blob("model.onnx")
    with pytest.raises(ValueError, match="read-only"):
        coreset[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        coreset.flags.writeable = True
    with pytest.raises(TypeError, match="read-only"):
        blob[0] = 1


def test_members_of_other_points_are_verified_and_not_kept(golden: Path, tmp_path: Path) -> None:
    path = pointed(golden, tmp_path / "points.bundle", {"bf16": "bf16", "int8": "int8"})
    with Bundle.open(path, points=("bf16",)) as opened, Bundle.open(path) as whole:
        point, expected = opened.at("bf16"), whole.at("bf16")
        coreset = bytes(expected.blob("coreset"))
        for name in ("coreset", "model.onnx", "model.bin", "graph/links0", "probes/frames"):
            assert point.blob(name) == expected.blob(name)
        for name in ("coreset", "points/int8/coreset", "points/int8/model.onnx"):
            with pytest.raises(BundleError, match="was not kept"):
                opened.blob(name)
    with pytest.raises(SpecError, match="operating point"):
        Bundle.open(path, points=("f16",))
    content = bytearray(path.read_bytes())
    content[content.rindex(coreset)] ^= 1  # the last one is int8's
    path.write_bytes(content)
    with pytest.raises(BundleCorruptError, match="damaged"):
        Bundle.open(path, points=("bf16",))


def test_a_runtime_holds_no_more_than_it_uses(golden: Path, tmp_path: Path) -> None:
    """Neither the members of points that do not serve nor, once the engine has them, the models."""
    path = pointed(golden, tmp_path / "points.bundle", {"large": "f32"})
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        members = {n: bundle.array(n) if m.dtype else bundle.blob(n) for n, m in manifest.members.items()}
        padding = 2**24
        members["points/large/coreset"] = np.zeros((padding // 96, 24), np.float32)
        members["model.bin"] = bytes(members["model.bin"]) + bytes(padding)
        write_bundle(path, manifest, members)
    tracemalloc.start()
    try:
        runtime = Runtime(path, engine="onnxruntime", threads=1)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert runtime.inspect(good_frame(3)).score > 0
    assert held < padding / 2
    assert peak < 1.5 * padding


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

    def truncate_and_parse(raw: bytes, version: int) -> Manifest:
        os.truncate(path, 5000)
        return parse(raw, version)

    monkeypatch.setattr(manifest_json, "manifest_from_json", truncate_and_parse)
    with pytest.raises(BundleError):
        Bundle.open(path)
