"""Files of other tools, written byte by byte as they write them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

PARAMS: dict[str, Any] = {
    "backbone.name": "resnet18",
    "layers_to_extract_from": ("layer2", "layer3"),
    "input_shape": (3, 64, 64),
    "pretrain_embed_dimension": 96,
    "target_embed_dimension": 80,
    "patchsize": 3,
    "patchstride": 1,
    "anomaly_scorer_num_nn": 1,
}


def flat_index(vectors: np.ndarray, **changes: Any) -> bytes:
    """What `faiss.write_index` writes for an `IndexFlatL2` of (N, D) vectors."""
    given = {"kind": b"IxF2", "dim": vectors.shape[1], "count": len(vectors), "trained": 1, "metric": 1}
    given = {**given, "floats": vectors.size, **changes}
    order = ("kind", "dim", "count", "first", "second", "trained", "metric", "floats")
    given |= {"first": 1 << 20, "second": 1 << 20}
    return struct.pack("<4siqqqBiQ", *(given[name] for name in order)) + vectors.astype("<f4").tobytes()


def patchcore_inspection(folder: Path, vectors: np.ndarray, prefix: str = "", **changes: Any) -> Path:
    """The folder of a model of patchcore-inspection."""
    folder.mkdir(exist_ok=True)
    params = pickle.dumps({**PARAMS, **changes}, pickle.HIGHEST_PROTOCOL)
    (folder / f"{prefix}patchcore_params.pkl").write_bytes(params)
    (folder / f"{prefix}nnscorer_search_index.faiss").write_bytes(flat_index(vectors))
    return folder
