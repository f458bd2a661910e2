"""What is fuzzed: readers of bytes that anybody may have made. Whatever the bytes, only errors of edge-ad come out."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.errors import EdgeADError
from edge_ad.frames.image_file import image_size, truncated
from edge_ad.spec import Manifest
from edge_ad.spec.codec import manifest_from_json, manifest_to_json
from tests.bundle_maker import document, make, member_entry, to_json

CORPUS = Path(__file__).parent / "corpus"

# members that a manifest of the corpus describes, so that a mutated one still fits some of them
_ARRAY = np.arange(6, dtype=np.float32)
MEMBERS = {"coreset.f32": _ARRAY.tobytes(), "model.onnx": b"none", "roi/mask.u8": bytes(range(12))}
_SIZE_AT, _MANIFEST_AT, _DIGEST = 18, 64, 64  # in a bundle: FORMAT.md


def seeds() -> dict[str, dict[str, bytes]]:
    """The first inputs of each target, which are not worth a file."""
    entries = {
        "coreset.f32": member_entry(MEMBERS["coreset.f32"], "float32", [2, 3]),
        "model.onnx": member_entry(MEMBERS["model.onnx"]),
        "roi/mask.u8": member_entry(MEMBERS["roi/mask.u8"], "uint8", [3, 4]),
    }
    manifest = to_json(document(entries))
    whole = make(manifest, MEMBERS)
    return {
        "bundle": {"file": b"f" + whole, "sealed": b"s" + whole, "manifest": b"m" + manifest},
        "image": {},
    }


def read_bundle(path: Path, data: bytes) -> None:
    """Reads a bundle and all that is in it.

    Random bytes do not get past the hashes. So the first byte says what is put in order before: "f" nothing, "s" the
    hash of the manifest in a whole file, "m" everything but the manifest, which is the rest of the input.
    """
    kind, body = data[:1], data[1:]
    if kind == b"m":
        body = make(body, MEMBERS)
    elif kind == b"s" and len(body) > _MANIFEST_AT + _DIGEST:
        (size,) = struct.unpack_from("<I", body, _SIZE_AT)
        body = body[:-_DIGEST] + hashlib.sha256(body[_MANIFEST_AT : _MANIFEST_AT + size]).hexdigest().encode()
    path.write_bytes(body)
    with contextlib.suppress(EdgeADError), Bundle.open(path) as bundle:
        _use(bundle, bundle.manifest)


def _use(bundle: Bundle, manifest: Manifest) -> None:
    assert manifest_from_json(manifest_to_json(manifest)).head == manifest.head  # what was read can be written
    for name, member in manifest.members.items():
        assert len(bundle.blob(name)) == member.size
        if member.shape is not None:
            array = bundle.array(name)
            assert array.shape == member.shape
            array.sum()
    for point in manifest.points:
        assert bundle.at(point.name).manifest.members is not None


def read_image_header(data: bytes) -> None:
    """Reads what the header of an image file says; its reader raises nothing at all."""
    size = image_size(data)
    assert size is None or min(size) > 0
    assert truncated(data) in (True, False)


def target(name: str) -> Callable[[bytes], None]:
    """The target of that name as a function of the input alone."""
    if name == "image":
        return read_image_header
    folder = Path(tempfile.mkdtemp(prefix="edge-ad-fuzz-"))
    return lambda data: read_bundle(folder / "input.bundle", data)
