"""The bundles that the tests of the file share: written, made by hand, and spoilt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.errors import BundleCorruptError
from tests import bundle_maker as maker

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


same_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


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
