"""Options of a Runtime: numbers of any type are numbers, and all are given by name. And the colours of `probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import Runtime, SpecError
from tests.edited import edited
from tests.tiny import bad_frame, good_frame


def test_options_go_by_name(golden: Path) -> None:
    with pytest.raises(TypeError, match="positional"):
        Runtime(golden, "auto")  # type: ignore[misc]


NUMBERS = [
    ("threshold", np.float32(2.5), 2.5),
    ("threshold", np.float64(2.5), 2.5),
    ("threshold", np.int64(3), 3.0),
    ("threshold", np.array(2.5), 2.5),
    ("threads", np.int64(1), 1),
    ("threads", np.uint8(1), 1),
    ("threads", np.array(1), 1),
    ("budget_ms", np.float32(10_000), 10_000.0),
    ("budget_ms", np.int32(10_000), 10_000.0),
]


@pytest.mark.parametrize(("name", "value", "wanted"), NUMBERS, ids=lambda value: repr(value))
def test_numbers_of_numpy_are_numbers(golden: Path, name: str, value: Any, wanted: float) -> None:
    found = getattr(Runtime(golden, **{name: value}), name)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize("cores", [np.array([0]), [np.int64(0)], (np.uint8(0),), range(1)], ids=repr)
def test_cores_of_numpy_are_cores(golden: Path, cores: Any) -> None:
    runtime = Runtime(golden, cores=cores)
    assert runtime._point.settings.cores == (0,)
    assert type(runtime._point.settings.cores[0]) is int
    assert runtime.inspect(good_frame(3)).score > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("threshold", "budget_ms") for value in (np.float32("nan"), np.float64("inf"))),
        *((name, value) for name in ("threshold", "budget_ms") for value in (np.True_, 10**400, np.array([2.5]), 1j)),
        *(("threads", value) for value in (np.True_, np.float32(1), np.int64(0), np.array([1]), "1", int)),
        *(("cores", value) for value in (np.array([0.0]), np.array([True]), np.array(0), np.array([[0]]))),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(golden: Path, name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=name):
        Runtime(golden, **{name: value})


def test_probe_takes_arrays_in_the_order_that_the_bundle_declares(golden: Path, tmp_path: Path, engine: str) -> None:
    frame = bad_frame(3)
    wanted = Runtime(golden, engine=engine, threads=1, search="exact").probe(frame)
    rgb = Runtime(
        edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"}),
        engine=engine,
        threads=1,
        search="exact",
        self_check=True,  # the golden probes are BGR whatever is declared
    )
    turned = np.ascontiguousarray(frame[:, :, ::-1])
    found = rgb.probe(turned)
    assert found.score == wanted.score == rgb.inspect(turned).score
    np.testing.assert_array_equal(found.patches, wanted.patches)
    np.testing.assert_array_equal(found.anomaly_map, wanted.anomaly_map)
