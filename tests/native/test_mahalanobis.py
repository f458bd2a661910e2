from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import _core, reference
from tests.native.made import misaligned


def made(seed: int, count: int, dim: int, width: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "patches": rng.normal(0, 2, (count, width)).astype(np.float32),
        "channels": rng.permutation(width)[:dim].astype(np.int32),
        "means": rng.normal(0, 1, (count, dim)).astype(np.float32),
        "factors": rng.normal(0, 1, (count, dim * (dim + 1) // 2)).astype(np.float32),
    }


@pytest.mark.parametrize("dim", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 100])
def test_equals_the_twin(each_isa: str, pool: native.Pool, dim: int) -> None:
    for count in (0, 1, 31, 32, 33):
        data = made(dim + count, count, dim, dim + 5)
        got = native.mahalanobis(**data, pool=pool)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, reference.mahalanobis(**data), rtol=2e-5)
        unaligned = {name: misaligned(a) if a.dtype == np.float32 else a for name, a in data.items()}
        np.testing.assert_array_equal(native.mahalanobis(**unaligned, pool=pool), got)


def test_rows(each_isa: str, pool: native.Pool) -> None:
    data, rows = made(1, 3, 6, 9), np.array([8, 0, 5], np.int32)
    data["patches"] = made(2, 10, 6, 9)["patches"]
    np.testing.assert_allclose(
        native.mahalanobis(**data, pool=pool, rows=rows), reference.mahalanobis(**data, rows=rows), rtol=1e-5
    )


def test_nan_and_inf_stay(each_isa: str, pool: native.Pool) -> None:
    data = made(3, 40, 20, 20)
    data["patches"][5, 3], data["patches"][7, 2] = np.nan, np.inf
    found = native.mahalanobis(**data, pool=pool)
    assert not np.isfinite(found[[5, 7]]).any()
    assert np.isfinite(np.delete(found, [5, 7])).all()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("patches", np.zeros((10, 9))),
        ("channels", np.array([0, 9], np.int32)),
        ("channels", np.array([-1, 0], np.int32)),
        ("means", np.zeros((9, 2), np.float32)),
        ("factors", np.zeros((10, 4), np.float32)),
        ("rows", np.array([0, 10] * 5, np.int32)),
        ("rows", np.array([-1] * 10, np.int32)),
        ("pool", 2),
    ],
)
def test_wrong_arguments(pool: native.Pool, name: str, wrong: object) -> None:
    data = {**made(4, 10, 2, 9), "pool": pool, "rows": None, name: wrong}
    with pytest.raises(NativeError):
        native.mahalanobis(**data)
    if name not in ("pool", "patches"):
        core = {"patches": 0, "rows": 1, "channels": 2, "means": 3, "factors": 4}
        arguments = [data[part] for part in core]
        with pytest.raises((NativeError, TypeError)):  # the extension looks again at what could leave its memory
            _core.mahalanobis(*arguments, pool._core, np.empty(10, np.float32))
