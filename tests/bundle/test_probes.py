"""Golden probes: answers that are altered, or are no numbers, are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad import ParityError, Runtime
from edge_ad.bundle.file import Bundle
from tests.edited import edited


def with_nan(array: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array.flat[array.size // 2] = np.nan
    return array


@pytest.mark.parametrize("member", ["patches", "distances", "maps", "scores"])
def test_probes_that_hold_nan_prove_nothing(golden: Path, tmp_path: Path, member: str) -> None:
    name = f"probes/{member}"
    array = with_nan(Bundle.open(golden).array(name))
    runtime = Runtime(edited(golden, tmp_path / "nan.bundle", {name: array}))
    with pytest.raises(ParityError):
        runtime.check()


def test_altered_probes_are_found(golden: Path, tmp_path: Path, engine: str) -> None:
    scores = np.array(Bundle.open(golden).array("probes/scores"))
    path = edited(golden, tmp_path / "altered.bundle", {"probes/scores": scores * np.float32(1.01)})
    Runtime(path, engine=engine)  # type: ignore[arg-type]  # opens: only the check tells
    with pytest.raises(ParityError, match="score") as caught:
        Runtime(path, engine=engine, self_check=True)
    assert engine in str(caught.value)
