"""`--align`, from images to verdicts: the part is judged where it lies, and what shows none does not pass."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import DatasetError, FrameError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from edge_ad.frames.align import pose_of
from edge_ad.frames.place import Place
from edge_ad.spec import FrameSpec
from edge_ad.verdict.verdict import Verdict
from export.pipeline import export_bundle
from export.power import draw_defects
from export.summary import Summary
from tests.aligning import SIDE, SPOT, aligner, part_frame, small_place, write_moving_category
from tests.tiny import picture, tiny_options, write_backbone

PART = "20,24,76,74"  # a box around it
PLACES = [small_place(501), pose_of(-15, 1.0, 0.06, -0.08, (SIDE, SIDE)), pose_of(14, 0.95, -0.05, 0.1, (SIDE, SIDE))]
BLANK = np.full((SIDE, SIDE, 3), 128, np.uint8)
Make = Callable[..., Summary]

pytestmark = pytest.mark.skipif(len(installed_engines()) < 2, reason="needs both engines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("align")
    write_moving_category(found / "part")
    write_backbone(found / "backbone.onnx")
    return found


@pytest.fixture(scope="module")
def make(folder: Path) -> Make:
    """Exports the category with changed options; the same summary for the same options."""
    kept: dict[str, Summary] = {}

    def run(**changes: Any) -> Summary:
        key = repr(sorted(changes.items()))
        if key not in kept:
            given = {
                "input_size": (SIDE, SIDE),
                "align": "similarity",
                "out": folder / f"{len(kept)}.bundle",
                **changes,
            }
            kept[key] = export_bundle(tiny_options(folder, **given))
        return kept[key]

    return run


def said(summary: Summary, name: str) -> str:
    return "\n".join(text for label, text in summary.lines if label == name)


def spot_in(place: Place) -> tuple[float, float]:
    """(y, x) of the middle of the spot in a frame whose part lies there."""
    y0, x0, y1, x1 = SPOT
    x, y = place.matrix @ [(x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2, 1]
    return float(y), float(x)


def judged(runtime: Runtime, frame: np.ndarray, place: Place, **options: Any) -> Verdict:
    """A verdict on a bad frame, whose highest peak lies on its spot."""
    verdict = runtime.inspect(frame, **options)
    assert verdict.found
    assert verdict.is_anomalous
    assert verdict.regions[0].peak_at == pytest.approx(spot_in(place), abs=6)
    return verdict


@pytest.mark.parametrize("place", PLACES)
def test_a_moved_part_is_judged_where_it_lies(make: Make, engine: str, place: Place) -> None:
    runtime = Runtime(make(roi=PART).bundle, engine=engine, self_check=True)
    good = runtime.inspect(part_frame(601, place=place))
    assert (good.found, good.is_anomalous) == (True, False)
    bad = judged(runtime, part_frame(602, place=place, spot=True), place)
    assert bad.anomaly_map.shape == (SIDE, SIDE)
    assert not bad.anomaly_map[place.mask_in_frame(np.ones((SIDE, SIDE), np.bool_)) == 0].any()
    unmoved = runtime.inspect(part_frame(603)).place
    assert bad.place is not None
    assert unmoved is not None
    assert bad.place.turn_deg - unmoved.turn_deg == pytest.approx(place.turn_deg, abs=1)
    assert bad.place.scale / unmoved.scale == pytest.approx(place.scale, abs=0.02)
    assert bad.timings.keys() == {"read", "align", "crop", "engine", "head", "total"}
    again = pickle.loads(pickle.dumps(bad))
    np.testing.assert_array_equal(again.anomaly_map, bad.anomaly_map)
    assert again.overlay(part_frame(602, place=place, spot=True)).shape == (SIDE, SIDE, 3)


def test_the_region_follows_the_part(make: Make) -> None:
    """Beyond it nothing counts, wherever it lies; without --align it stays where it was drawn."""
    runtime, place = Runtime(make(roi=PART).bundle), pose_of(0, 1, 0, 0.12, (SIDE, SIDE))
    frame = part_frame(3, place=place)
    frame[30:40, 4:12] = (0, 0, 250)  # where the region's left side was drawn, it would be inside
    assert not runtime.inspect(frame).is_anomalous
    assert (runtime.inspect(frame).anomaly_map[:, :20] == 0).all()


@pytest.mark.parametrize("motion", ["shift", "similarity"])
def test_what_shows_no_part_does_not_pass(make: Make, motion: str) -> None:
    runtime = Runtime(make(align=motion).bundle)
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for frame in (BLANK, BLANK[:, :, 0], noise, np.ascontiguousarray(part_frame()[::-1, ::-1])):
        verdict = runtime.inspect(frame)
        assert (verdict.found, verdict.is_anomalous) == (False, True)
        assert verdict.score >= verdict.threshold
        assert verdict.p_value is None
        assert verdict.to_dict()["found"] is False
        assert json.loads(json.dumps(verdict.to_dict()))["place"]["confidence"] == verdict.confidence
        assert verdict.overlay(frame).shape == (SIDE, SIDE, 3)
        with pytest.raises(FrameError, match="the part was not found"):
            list(runtime.scores_and_peaks([frame]))
    assert Runtime(runtime._path, threshold=1e6).inspect(BLANK).is_anomalous


def test_what_an_export_says_and_writes(make: Make) -> None:
    summary = make(roi=PART)
    assert "similarity: the part is found in 10 good images and again in 10 of 10" in said(summary, "align")
    drawn = Path(said(summary, "preview"))
    assert drawn == summary.bundle.with_suffix(".align.png")
    assert cv2.imread(str(drawn)).shape[1] > 4 * 240
    with Bundle.open(summary.bundle) as bundle:
        own = bundle.manifest.align
        assert own is not None
        assert 0.35 <= own.least < own.good
        assert (own.images, own.least_seen, own.motion) == (10, 0.97, "similarity")


def test_without_it_nothing_is_there(make: Make) -> None:
    summary = make(align=None)
    assert not summary.bundle.with_suffix(".align.png").exists()
    assert not {label for label, _ in summary.lines} & {"align", "preview"}
    verdict = Runtime(summary.bundle).inspect(BLANK)
    assert (verdict.found, verdict.confidence, verdict.place) == (True, None, None)
    assert summary.bundle.read_bytes()[-150:].count(b"edge-ad 2 sha256:") == 1
    assert make(roi=PART).bundle.read_bytes()[-150:].count(b"edge-ad 3 sha256:") == 1


def test_the_same_images_and_seed_give_the_same_reference(make: Make, folder: Path) -> None:
    again = export_bundle(
        tiny_options(folder, input_size=(SIDE, SIDE), align="similarity", roi=PART, out=folder / "again.bundle")
    ).bundle
    with Bundle.open(make(roi=PART).bundle) as one, Bundle.open(again) as other:
        assert one.manifest.align == other.manifest.align
        for name in ("reference", "mask", "picture"):
            np.testing.assert_array_equal(one.array(f"align/{name}"), other.array(f"align/{name}"))


WAYS: dict[str, dict[str, Any]] = {
    "second size": {"second_size": (64, 64), "roi": PART},
    "tiles": {"tiles": (64, 64), "input_size": None},
    "roi auto": {"roi": "auto"},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_works_with(make: Make, way: str) -> None:
    summary = make(**WAYS[way])
    runtime, place = Runtime(summary.bundle, self_check=True), PLACES[1]
    if way == "roi auto":
        assert runtime.manifest.roi is not None
    assert not runtime.inspect(part_frame(701, place=place)).is_anomalous
    judged(runtime, part_frame(702, place=place, spot=True), place)
    assert not runtime.inspect(BLANK).found


def test_synthetic_defects_are_drawn_where_the_region_lies(folder: Path) -> None:
    """In the frame, where the part is in it."""
    paths = sorted((folder / "part/train/good").glob("*.png"))[:4]
    region = np.zeros((SIDE, SIDE), np.bool_)
    region[24:74, 28:48] = True
    whole = FrameSpec((SIDE, SIDE))
    found = draw_defects(paths, np.arange(4), region, whole, seed=0, aligner=aligner())
    assert len(found.defects) > 20
    for defect in found.defects:
        place = aligner().find(cv2.imread(str(paths[defect.image])))
        y0, x0, y1, x1 = defect.box
        changed = (defect.pixels != cv2.imread(str(paths[defect.image]))[y0:y1, x0:x1]).any(axis=2)
        assert not (changed & ~place.mask_in_frame(region)[y0:y1, x0:x1]).any()


def test_operating_points_share_the_reference(make: Make) -> None:
    path, place = make(more_sizes=((64, 64),), max_drop=1.0).bundle, PLACES[2]
    for name in Runtime(path).manifest.point_names:
        runtime = Runtime(path, point=name, self_check=True)
        assert runtime.point == name
        judged(runtime, part_frame(702, place=place, spot=True), place)
    assert Runtime(path, budget_ms=60_000, profile=False).inspect(part_frame(703, place=place)).found


def test_a_mask_of_the_frame(make: Make) -> None:
    """It is in pixels of the frame, like the map."""
    runtime, place = Runtime(make().bundle), PLACES[1]
    frame = part_frame(702, place=place, spot=True)
    y, x = (round(value) for value in spot_in(place))
    around = np.zeros((SIDE, SIDE), np.bool_)
    around[y - 10 : y + 10, x - 10 : x + 10] = True
    seen = judged(runtime, frame, place, roi=around)
    assert not seen.anomaly_map[~cv2.dilate(around.astype(np.uint8), np.ones((13, 13))).astype(np.bool_)].any()
    away = np.zeros((SIDE, SIDE), np.bool_)
    away[y + 24 :, :] = True
    assert not runtime.inspect(frame, roi=away).is_anomalous
    assert runtime.inspect(BLANK, roi=around).is_anomalous


def test_calibrate_and_teach(make: Make, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, new = make(roi=PART).bundle, tmp_path / "new.bundle"
    assert main(["calibrate", str(path), "--data", str(folder / "part"), "--out", str(new)]) == 0
    assert Runtime(new, self_check=True).manifest.align == Runtime(path).manifest.align
    images = [
        picture(tmp_path / "more" / f"{n}.png", part_frame(800 + n, place=small_place(800 + n))) for n in range(3)
    ]
    picture(tmp_path / "more" / "blank.png", np.random.default_rng(0).integers(0, 9, BLANK.shape).astype(np.uint8))
    capsys.readouterr()
    assert main(["teach", str(path), str(tmp_path / "more"), "--out", str(tmp_path / "taught.bundle")]) == 0
    assert "1 in which the part is not found: blank.png" in capsys.readouterr().out
    taught = Runtime(tmp_path / "taught.bundle", self_check=True)
    assert not taught.inspect(images[0]).is_anomalous
    judged(taught, part_frame(702, place=PLACES[0], spot=True), PLACES[0])
    assert main(["calibrate", str(path), "--data", str(tmp_path / "more"), "--out", str(tmp_path / "y.bundle")]) == 2
    assert "the part was not found in" in capsys.readouterr().err
    assert main(["teach", str(path), str(tmp_path / "more"), "--align", "shift"]) == 2
    assert "--align is for a new bundle" in capsys.readouterr().err


def test_inspect_and_info(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, blank = make(roi=PART).bundle, picture(tmp_path / "blank.png", BLANK)
    assert main(["inspect", str(path), str(blank), "--jsonl", "--overlay", str(tmp_path / "seen")]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["found"], found["is_anomalous"]) == (False, True)
    assert (tmp_path / "seen" / "blank.png").is_file()
    assert main(["info", str(path)]) == 0
    assert "similarity up to 20% of the frame, turn 20 degrees, scale 10%" in capsys.readouterr().out


def test_eval_counts_what_is_not_found(
    make: Make, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_moving_category(tmp_path / "part", goods=2, tests=2)
    picture(tmp_path / "part" / "test" / "spot" / "blank.png", BLANK)
    out, bundle = tmp_path / "out", make(roi=PART).bundle
    assert main(["eval", str(bundle), "--data", str(tmp_path / "part"), "--out", str(out), "--no-report"]) == 0
    said_there = "\n".join(path.read_text() for path in out.rglob("*") if path.suffix in (".csv", ".json"))
    assert "the part was not found in 1 images (0 of them good), which are rejected" in said_there


def test_images_that_are_not_alike(folder: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for n in range(6):
        blocks = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture(tmp_path / "part/train/good" / f"{n}.png", cv2.resize(blocks, (SIDE, SIDE)))
    with pytest.raises(DatasetError, match="--align cannot follow the part"):
        export_bundle(tiny_options(folder, category=str(tmp_path / "part"), align="similarity"))


def test_a_good_image_without_the_part_is_left_out(folder: Path, tmp_path: Path) -> None:
    write_moving_category(tmp_path / "part", goods=12, tests=0)
    picture(tmp_path / "part/train/good" / "900.png", BLANK + np.arange(SIDE, dtype=np.uint8)[:, None, None] // 2)
    summary = export_bundle(
        tiny_options(folder, category=str(tmp_path / "part"), align="shift", out=tmp_path / "x.bundle")
    )
    assert "1 in which the part is not found: 900.png" in said(summary, "left out")


def test_the_image_that_a_region_was_drawn_on(make: Make, folder: Path) -> None:
    """The reference lies as in that image."""
    image = folder / "part/train/good/003.png"
    path = make(align_to=image, roi=PART).bundle
    place = Runtime(path).inspect(image).place
    assert place is not None
    assert place.shift == pytest.approx((0, 0), abs=0.3)
    assert place.turn_deg == pytest.approx(0, abs=0.5)


def test_options() -> None:
    from export.command_line import parse_options

    assert parse_options(["part"]).align is None
    assert parse_options(["part", "--align", "shift"]).align == "shift"
    assert parse_options(["part", "--align", "similarity", "--align-to", "a.png"]).align_to == Path("a.png")
    with pytest.raises(SpecError, match="--align-to names the image"):
        parse_options(["part", "--align-to", "a.png"])
    with pytest.raises(SystemExit):
        parse_options(["part", "--align", "affine"])
