"""Pictures of an evaluation: heat, blur, opacity, and which are drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import SpecError
from edge_ad.evaluation import pictures, run
from tests.evaluation.evaluating import evaluate
from tests.tiny import SIZE


def test_pictures_of_every_image(done: Path, category: Path) -> None:
    folder = done / "part/format-1"
    for slug in ("good_000", "scratch_003"):
        shapes = {part: cv2.imread(str(folder / f"{slug}_{part}.png"), -1).shape for part in pictures.PARTS}
        assert shapes["gt"] == (SIZE, SIZE)
        assert {shapes[part] for part in ("img", "map", "overlay")} == {(SIZE, SIZE, 3)}
        assert shapes["triptych"][0] == SIZE
        assert shapes["triptych"][1] > 3 * SIZE
    original = cv2.imread(str(category / "test/scratch/003.png"))
    np.testing.assert_array_equal(cv2.imread(str(folder / "scratch_003_img.png")), original)
    assert not cv2.imread(str(folder / "good_000_gt.png"), 0).any()
    assert cv2.imread(str(folder / "scratch_003_gt.png"), 0).max() == 255
    assert len(list(folder.glob("*_overlay.png"))) == 8


def test_pictures_of_the_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, category: Path, golden: Path) -> None:
    monkeypatch.setattr(pictures, "WORST", 1)
    (tmp_path / "part/format-1").mkdir(parents=True)
    (tmp_path / "part/format-1/old_img.png").write_bytes(b"of an earlier run")
    assert evaluate(golden, category, tmp_path, "--no-report") == 0
    result = run.load_result(tmp_path / "part/format-1")
    assert result is not None
    worst = {
        min((i for i in result.images if i.defect), key=lambda i: i.score).slug,
        max((i for i in result.images if not i.defect), key=lambda i: i.score).slug,
    }
    assert {p.name.removesuffix("_img.png") for p in tmp_path.rglob("*_img.png")} == worst


def test_heat_is_measured_by_the_threshold() -> None:
    amap = np.array([[0.0, 0.6, 1.1, 1.6, 9.0]], np.float32)
    heat = pictures.heat_by(2 * amap, 2.0, pictures.Style())
    np.testing.assert_allclose(heat, [[0, 0, 0.5, 1, 1]], atol=1e-6)
    heat = pictures.heat_by(amap, 1.0, pictures.Style(gamma=2))
    np.testing.assert_allclose(heat, [[0, 0, 0.25, 1, 1]], atol=1e-6)


def test_heat_between_quantiles() -> None:
    amap = np.arange(101, dtype=np.float32)[None]
    heat = pictures.heat_by(amap, 1.0, pictures.Style(clip_q=0.9))
    np.testing.assert_allclose(heat[0, [0, 10, 50, 90, 100]], [0, 0, 0.5, 1, 1], atol=1e-6)
    assert not pictures.heat_by(np.ones((3, 3), np.float32), 1.0, pictures.Style(clip_q=0.9)).any()


def test_blur_spreads_a_peak() -> None:
    amap = np.zeros((41, 41), np.float32)
    amap[20, 20] = 100
    blurred = pictures.heat_by(amap, 1.0, pictures.Style(blur=3))
    assert (blurred > 0).sum() > (pictures.heat_by(amap, 1.0, pictures.Style()) > 0).sum()


def test_opacity() -> None:
    image, heat = np.full((1, 3, 3), 100, np.uint8), np.array([[0, 0.25, 1]], np.float32)
    colors = pictures.colors_of(heat).astype(float)
    for style, alpha in (
        (pictures.Style(alpha_min=0.1, alpha_max=0.5), (0.1, 0.3, 0.5)),
        (pictures.Style(alpha_mode="flat", alpha_max=0.5), (0.5, 0.5, 0.5)),
    ):
        weight = np.array(alpha)[None, :, None]
        expected = 100 * (1 - weight) + colors * weight
        np.testing.assert_allclose(pictures.overlay(image, heat, style), expected, atol=0.51)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clip_q", 0.5), ("clip_q", 1.1), ("clip_q", float("nan")), ("alpha_min", 0.9), ("alpha_max", 1.1),
        ("gamma", 0.0), ("gamma", float("nan")), ("blur", -1.0), ("alpha_mode", "other"),
    ],
)  # fmt: skip
def test_a_knob_out_of_its_range(name: str, value: object) -> None:
    with pytest.raises(SpecError, match="--" + name.replace("_", "-")):
        pictures.Style(**{name: value})  # type: ignore[arg-type]


def test_what_is_not_known_is_not_drawn() -> None:
    image = np.full((8, 9, 3), 7, np.uint8)
    drawn = pictures.draw(pictures.Look(image, None, None), pictures.Style())
    assert set(drawn) == {"img", "triptych"}
    drawn = pictures.draw(pictures.Look(image, np.ones((8, 9), bool), np.ones((8, 9), np.float32)), pictures.Style())
    assert set(drawn) == set(pictures.PARTS)


def test_a_thin_crack_is_not_lost_where_it_shrinks() -> None:
    mask = np.zeros((900, 900), bool)
    mask[:, 450] = True
    image = np.zeros((900, 900, 3), np.uint8)
    seen = pictures.fitted(pictures.Look(image, mask, mask.astype(np.float32)), (300, 400))
    assert seen.mask is not None
    assert seen.image.shape == (300, 300, 3)
    assert seen.mask.any(axis=1).all()
    assert pictures.outlined(seen.image, seen.mask).any()
