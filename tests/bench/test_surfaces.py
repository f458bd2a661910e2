"""The bench of defects by depth: its captures, its baseline, what carries normals into the product, its figures."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from bench.surfaces import captures, figures, sheet
from bench.surfaces.baseline import Anywhere, Place
from bench.surfaces.captures import DEPTHS, GOOD, WAYS, draw_captures, open_scene
from bench.surfaces.figures import Record, keep, kept
from bench.surfaces.matched import Matched, Registration
from bench.surfaces.product import as_stack, carriers
from bench.surfaces.table import Row, table
from edge_ad.frames.photometric import normals
from edge_ad.frames.photometric.lights import lights_to_json, make_lights
from tests.frames.photometric.made import angles, part, photograph, ring

LIGHTS = ring(8)


@pytest.fixture
def scene_of(tmp_path, monkeypatch):
    """Opens a rendered set in a way, with few captures."""
    folder = tmp_path / "thing"
    folder.mkdir()
    true, albedo = part((72, 88))
    for number, picture in enumerate(photograph(true, albedo, LIGHTS, noise=0.002)):
        cv2.imwrite(str(folder / f"thing.{number}.png"), picture)
    mask = np.zeros((72, 88), np.uint8)
    mask[4:68, 4:84] = 255
    cv2.imwrite(str(folder / "thing.mask.png"), mask)
    (folder / "lights.json").write_bytes(lights_to_json(make_lights(LIGHTS)))
    for name, value in {"PLACE": 48, "PIECE": 24, "SUBSETS": 4, "TRAINING": 8, "GOOD": 3, "DEPTHS": (2.0,)}.items():
        monkeypatch.setattr(captures, name, value)
    monkeypatch.setattr(captures, "EACH", dict.fromkeys(captures.KINDS, 1))
    return lambda way: open_scene(folder, way)


@pytest.mark.parametrize("way", WAYS)
def test_captures_are_those_of_the_way_and_the_same_again(way, scene_of):
    scene = scene_of(way)
    train, tests = draw_captures(scene, way)
    side = 24 if way == "elsewhere" else 48
    assert len(train) == 8
    assert Counter(one.kind for one in tests) == {"good": 3, **dict.fromkeys(captures.KINDS, 1)}
    assert all(one.normals.shape == (side, side, 3) for one in (*train, *tests))
    assert all(one.defect.any() == (one.kind != "good") for one in tests)
    again = draw_captures(scene, way)
    assert np.array_equal(again[1][-1].normals, tests[-1].normals)


def test_no_subset_of_the_test_is_one_of_the_training(scene_of):
    train, test = captures._subsets(scene_of("subset"), "subset", np.random.default_rng(0))
    assert {*map(tuple, train)}.isdisjoint({*map(tuple, test)})
    assert {len(one) for one in (*train, *test)} == {7}
    alike = captures._subsets(scene_of("station"), "station", np.random.default_rng(0))
    assert alike[0][0].tolist() == alike[1][0].tolist() == [*range(8)]


@pytest.mark.parametrize("modes", [0, 2])
def test_the_baseline_marks_what_is_deep(modes, scene_of):
    train, tests = draw_captures(scene_of("station"), "station")
    own = Place(train, modes)
    good = max(own.map(one).max() for one in tests if one.kind == "good")
    deep = next(one for one in tests if one.kind == "dent")
    seen = own.map(deep)
    assert seen.shape == deep.judged.shape
    assert not seen[~deep.judged].any()
    assert seen[deep.defect].max() == seen.max() > 2 * good


def test_matched_filters_mark_what_is_deep(scene_of):
    train, tests = draw_captures(scene_of("station"), "station")
    own = Matched(train)
    good = max(own.map(one).max() for one in tests if one.kind == "good")
    for kind in ("scratch", "dent"):
        deep = next(one for one in tests if one.kind == kind)
        seen = own.map(deep)
        assert seen.shape == deep.judged.shape
        assert not seen[~deep.judged].any()
        near = cv2.dilate(deep.defect.astype(np.uint8), np.ones((9, 9))) > 0  # a filter reaches beyond it
        assert seen[near].max() == seen.max() > 2 * good


def test_a_movement_and_a_turn_of_the_light_are_found():
    true, _ = part((72, 88))
    inside = np.zeros((72, 88), bool)
    inside[8:64, 8:80] = True
    surface = cv2.GaussianBlur(true.astype(np.float32), (0, 0), 1.5)
    turned = np.array([[1, 0.03, 0], [-0.03, 1, 0.02], [0, 0, 1]])
    moved = cv2.warpAffine(surface, np.array([[1, 0, 0.2], [0, 1, -0.15]]), (88, 72), flags=cv2.INTER_CUBIC)
    linear, shift = Registration(surface, inside).find((moved @ turned.T).astype(np.float32))
    np.testing.assert_allclose(shift, [0.2, -0.15], atol=0.01)
    np.testing.assert_allclose(linear, turned, atol=0.01)


def test_a_surface_that_is_lit_wrongly_as_a_whole_is_not_unusual(scene_of):
    train, tests = draw_captures(scene_of("station"), "station")
    own, good = Place(train), tests[0]
    turned = np.array([[1, 0.03, 0], [-0.03, 1, 0.02], [0, 0, 1]], np.float32)
    other = captures.Capture(good.normals @ turned, good.judged, good.defect)
    assert own.map(other).max() < 2 * own.map(good).max()


def test_without_places_the_high_pass_counts(scene_of):
    train, tests = draw_captures(scene_of("elsewhere"), "elsewhere")
    own = Anywhere(train)
    assert all(np.isfinite(own.map(one)).all() for one in tests)


def test_three_pictures_carry_a_normal_map():
    true, _ = part()
    found = normals(as_stack(true), carriers(), method="least_squares")
    assert found.valid.all()
    assert angles(found.normals, true).max() < 0.05


def _record(**changes):
    scores = [float(i) for i in range(GOOD)]
    kinds, depths = ["good"] * GOOD, [0.0] * GOOD
    for depth in DEPTHS:
        scores += [100 * depth, 100 * depth, 0.0]
        kinds += ["scratch", "dent", "wear"]
        depths += [depth] * 3
    given = {"pixel_auroc": 0.9, "pixel_auroc_all": 0.8, "au_pro": 0.7, "threshold": 20.0, "seconds": (1.0, 2.0)}
    return Record(scores, kinds, depths, **{**given, **changes})


def test_figures_of_a_record(tmp_path):
    one = _record()
    assert sum(score > one.limit for score in one.scores[:GOOD]) == round(figures.REJECTS * GOOD)
    assert one.target == 1
    assert one.found(["scratch"], [0.25]) == 0
    assert one.rejected == (GOOD - 20) / GOOD
    keep(tmp_path / "one.json", one)
    assert kept(tmp_path / "one.json") == one
    (tmp_path / "one.json").write_text("{}")
    assert kept(tmp_path / "one.json") is None


def test_the_table_and_the_figure_have_every_row():
    rows = [Row("subset", "thing", name, _record()) for name in ("baseline", "padim")]
    lines = table(rows).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert sum("| thing |" in line for line in lines) == 2
    assert sheet.depth_figure(rows).shape[2] == 3
