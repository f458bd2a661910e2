"""The autoencoder's head: its equation, bundles that were tampered with, and verdicts by both engines without torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import BundleCorruptError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from edge_ad.heads.autoencoder import FACTORS, MEANS, SPREAD, USUAL, Autoencoder, AutoencoderSpec
from edge_ad.registry import METHODS
from edge_ad.serving.point import Point, Settings
from tests.edited import edited, read
from tests.tiny import SIZE, bad_frame, good_frame

PLACES = 12
ROWS = np.array([1, 2, 5, 11], np.int32)


def errors(seed: int, count: int = PLACES) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 2)).astype(np.float32)


def head(rows: np.ndarray | None) -> Autoencoder:
    count = PLACES if rows is None else len(rows)
    return Autoencoder(errors(1, count), errors(2, count) + np.float32(0.1), rows)


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
def test_by_its_equation(rows: np.ndarray | None) -> None:
    frame, count = errors(3), PLACES if rows is None else len(rows)
    inside = frame if rows is None else frame[rows]
    usual, spread = errors(1, count), errors(2, count) + 0.1
    places = [zip(*place, strict=True) for place in zip(inside, usual, spread, strict=True)]
    wanted = [sum(max(0.0, (e - u) / s) for e, u, s in place) for place in places]
    found = head(rows)(frame)
    np.testing.assert_allclose(found.distances, wanted, rtol=1e-5, atol=1e-6)
    assert found.score == found.distances.max()


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
def test_a_frame_with_a_mask_of_its_own_counts_there_alone(rows: np.ndarray | None) -> None:
    some = np.array([2, 11], np.int32)
    whole = head(rows)(errors(3))
    numbers = some if rows is None else np.searchsorted(rows, some)
    found = head(rows)(errors(3), rows=some)
    np.testing.assert_array_equal(found.distances, whole.distances[numbers])
    assert found.score == whole.distances[numbers].max()


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 1])
def test_what_is_no_number_never_becomes_a_score(rows: np.ndarray | None, value: float, column: int) -> None:
    frame = errors(3)
    frame[11, column] = value
    assert not np.isfinite(head(rows)(frame).score)


def test_outside_the_region_nothing_counts() -> None:
    frame = errors(3)
    frame[np.setdiff1d(np.arange(PLACES), ROWS)] = np.nan
    assert head(ROWS)(frame).score == head(ROWS)(errors(3)).score


def test_from_images_to_verdicts(autoencoder: Path, engine: str) -> None:
    runtime = Runtime(autoencoder, engine=engine, self_check=True, threads=1)
    assert isinstance(runtime.manifest.head, AutoencoderSpec)
    assert runtime.manifest.backbone.dim == 2
    good = [runtime.inspect(good_frame(6000 + seed)).score for seed in range(8)]
    bad = [runtime.inspect(bad_frame(6000 + seed)) for seed in range(8)]
    assert min(verdict.score for verdict in bad) > max(good)
    for verdict in bad:
        y, x = np.unravel_index(int(verdict.anomaly_map.argmax()), (SIZE, SIZE))
        assert 16 <= y < 48 and 16 <= x < 48  # noqa: PT018  # on the disc, where the scratch is


def test_a_mask_leaves_the_defect_out(autoencoder: Path) -> None:
    runtime, mask = Runtime(autoencoder, threads=1), np.zeros((SIZE, SIZE), bool)
    mask[:12] = True
    assert runtime.inspect(bad_frame(6000), roi=mask).score < 0.5 * runtime.inspect(bad_frame(6000)).score


def test_what_the_method_says_of_itself_is_what_its_head_does(autoencoder: Path) -> None:
    method = METHODS["autoencoder"]
    with Bundle.open(autoencoder) as bundle:
        point = Point(bundle, "f32", Settings("auto", "CPU", 1, None, "auto"))
        assert point.sights[0].head.has_map == method.has_map
        assert point.sights[0].head.search in method.searches
        own = {member for member in bundle.manifest.members if not member.startswith(("model.", "probes/"))}
        assert own == {USUAL, SPREAD} == {name for name in method.members if name not in (MEANS, FACTORS)}


_NO_TORCH = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
from edge_ad import Runtime
print(*(Runtime(sys.argv[1], engine=engine, self_check=True).inspect(sys.argv[2]).score for engine in sys.argv[3:]))
"""


def test_without_torch_both_engines_give_the_same(autoencoder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame.png"), bad_frame(3))
    command = [sys.executable, "-c", _NO_TORCH, str(autoencoder), str(tmp_path / "frame.png"), *installed_engines()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    scores = [float(text) for text in done.stdout.split()]
    assert len(scores) == len(installed_engines())
    assert scores == pytest.approx([scores[0]] * len(scores), rel=1e-3)


def _changed(value: float) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array[3, 1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("member", "change", "says"),
    [
        (SPREAD, _changed(0), "holds no deviations; expected numbers above 0"),
        (SPREAD, _changed(-1), "holds no deviations"),
        (SPREAD, _changed(1e-44), "holds no deviations"),
        (SPREAD, _changed(3e38), "holds no errors of pictures"),
        (USUAL, _changed(3e38), "holds no errors of pictures"),
        (USUAL, _changed(-3e38), "holds no errors of pictures"),
        (SPREAD, _changed(np.nan), "holds NaN or Inf"),
        (USUAL, _changed(np.inf), "holds NaN or Inf"),
        (USUAL, lambda array: array[:-1], "has another shape"),
        (USUAL, lambda array: np.repeat(array, 2, axis=1), "has another shape"),
        (USUAL, lambda array: array.astype(np.int32), "has another shape or dtype"),
        (SPREAD, lambda array: None, "has no member"),
    ],
)
def test_a_hostile_member_is_refused(autoencoder: Path, tmp_path: Path, member: str, change: Any, says: str) -> None:
    array = change(read(autoencoder)[1][member])
    with pytest.raises(BundleCorruptError, match=says):
        Runtime(edited(autoencoder, tmp_path / "x.bundle", {member: array}))


def test_a_hostile_manifest_is_refused(autoencoder: Path, tmp_path: Path) -> None:
    other = edited(autoencoder, tmp_path / "x.bundle", backbone={"dim": 3})
    with pytest.raises(BundleCorruptError, match="gives other numbers; expected 2 errors; got 3"):
        Runtime(other)
    other = edited(autoencoder, tmp_path / "y.bundle", backbone={"grid": (4, 4)})
    with pytest.raises(BundleCorruptError, match="shape"):
        Runtime(other)
    spec = read(autoencoder)[0].head
    for changes in ({"steps": 0}, {"spoilt": 1.5}, {"spoilt": float("nan")}):
        with pytest.raises(SpecError, match="out of range"):
            edited(autoencoder, tmp_path / "z.bundle", head=dataclasses.replace(spec, **changes))
