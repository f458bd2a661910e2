"""The flat index of FAISS, read without faiss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import SpecError
from export.importers.faiss_file import read_flat
from tests.export.importers.made import flat_index

VECTORS = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "index.faiss"
    path.write_bytes(data)
    return path


def test_the_vectors_are_read(tmp_path: Path) -> None:
    found = read_flat(written(tmp_path, flat_index(VECTORS)))
    np.testing.assert_array_equal(found, VECTORS)
    assert found.dtype == np.float32
    assert found.flags.writeable


def test_what_faiss_itself_writes(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    index = faiss.IndexFlatL2(VECTORS.shape[1])
    index.add(VECTORS)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    assert (tmp_path / "index.faiss").read_bytes() == flat_index(VECTORS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": b"IwPQ"}, "IVFPQ"),
        ({"kind": b"IvPQ"}, "IVFPQ"),
        ({"kind": b"IxFI"}, "inner products"),
        ({"kind": b"abcd"}, "begins with"),
        ({"metric": 0}, "metric 0"),
        ({"trained": 0}, "trained 0"),
        ({"dim": 6}, "N \\* D floats"),
        ({"dim": -5}, "N \\* D floats"),
        ({"count": 2**62}, "N \\* D floats"),
        ({"count": 0, "floats": 0}, "N \\* D floats"),
        ({"count": 2**30, "floats": 5 * 2**30}, "bytes for"),
    ],
)
def test_another_index_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=words):
        read_flat(written(tmp_path, flat_index(VECTORS, **changes)))


def test_every_cut_is_refused(tmp_path: Path) -> None:
    data = flat_index(VECTORS)
    for length in range(len(data)):
        with pytest.raises(SpecError):
            read_flat(written(tmp_path, data[:length]))
    with pytest.raises(SpecError):
        read_flat(written(tmp_path, data + b"\0"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(value: float, tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[3, 2] = value
    with pytest.raises(SpecError, match="NaN or Inf"):
        read_flat(written(tmp_path, flat_index(vectors)))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read"):
        read_flat(tmp_path / "none.faiss")
