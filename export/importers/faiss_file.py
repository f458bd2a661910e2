"""Reads the vectors of a flat index of FAISS, without faiss.

Layout of an `IndexFlatL2`, little-endian, as faiss 1.5 to 1.15 write it (faiss/impl/index_write.cpp):

    0   4  "IxF2"
    4   4  int32: D
    8   8  int64: N
    16  16 two int64 that mean nothing (1 << 20)
    32  1  uint8: trained
    33  4  int32: metric, 1 for L2
    37  8  uint64: N * D
    45     float32 (N, D)
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.system.inputs import read_input

FLAT = b"IxF2"
_HEADER = struct.Struct("<4siqqqBiQ")
_L2 = 1
_MAX_BYTES = 2**32  # of the file: a bundle is smaller, and holds the vectors as they are
_OTHERS = {
    b"IwPQ": "an IVFPQ index, whose vectors are stored as codes of a few bytes, so that they are not there any more",
    b"IvPQ": "an IVFPQ index of an old version, whose vectors are stored as codes",
    b"IwPR": "an IVFPQ index with refinement, whose vectors are stored as codes",
    b"IwFl": "an IVF index, whose search is not exact",
    b"IxFI": "a flat index of inner products",
    b"IxFl": "a flat index of another metric",
    b"IxPq": "a PQ index, whose vectors are stored as codes",
}


def is_faiss(start: bytes) -> bool:
    """Whether a file that starts so is an index of faiss."""
    return start[:4] == FLAT or start[:4] in _OTHERS


def read_flat(path: Path) -> NDArray[np.float32]:
    """(N, D) float32: the vectors of a flat L2 index.

    Raises:
        SpecError: the file cannot be read, is another index, is not whole, or holds NaN or Inf.
    """
    data = _read(path)
    kind = data[:4]
    if kind != FLAT:
        raise SpecError(
            f"{path} is not a flat index",
            expected="an IndexFlatL2 of FAISS",
            got=_OTHERS.get(kind, f"a file that begins with {kind!r}"),
            remedy="Train the model with the exact FaissNN and a coreset; edge-ad searches it exactly and fast."
            if kind in _OTHERS
            else None,
        )
    if len(data) < _HEADER.size:
        raise _not_whole(path, f"{_HEADER.size} bytes or more", len(data))
    _, dim, count, _, _, trained, metric, floats = _HEADER.unpack_from(data)
    if metric != _L2 or trained != 1:
        raise SpecError(
            f"{path} is an index of another metric, or was not trained",
            expected=f"metric {_L2} (L2), trained 1",
            got=f"metric {metric}, trained {trained}",
        )
    if not (dim > 0 and count > 0 and floats == dim * count):
        raise _not_whole(path, "D and N above 0, and N * D floats", f"D {dim}, N {count}, {floats} floats")
    if len(data) != _HEADER.size + 4 * floats:
        raise _not_whole(path, f"{_HEADER.size + 4 * floats:,} bytes for {count:,} x {dim}", f"{len(data):,}")
    vectors = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(count, dim).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise SpecError(f"{path} holds NaN or Inf", expected="finite numbers", got="others")
    return vectors


def _read(path: Path) -> bytes:
    try:
        return read_input(path, most=_MAX_BYTES)
    except OSError as error:
        raise SpecError(f"cannot read {path}", expected="an index of FAISS", got=error.strerror) from error


def _not_whole(path: Path, expected: object, got: object) -> SpecError:
    return SpecError(f"{path} is not a whole index", expected=expected, got=got, remedy="Copy it again.")
