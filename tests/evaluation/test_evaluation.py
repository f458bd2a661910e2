"""`edge-ad eval`: layouts, metrics of what is there, resumption, pictures and the report.

Over 400 lines: the command is one, and shares its evaluated folders.
"""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.data import labelled
from edge_ad.data.labelled import LabelledSet, load_labelled, slugs
from edge_ad.data.layouts import TestImage
from edge_ad.errors import DatasetError, EdgeADError, SpecError
from edge_ad.evaluation import curves, metrics_row, pictures, run, summary
from edge_ad.metrics import PixelSample, binary_auroc, image_metrics, pixel_metrics
from tests.edited import pointed
from tests.tiny import SIZE, bad_frame, good_frame, write_category


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_category(tmp_path_factory.mktemp("evaluation") / "part", goods=2)


@pytest.fixture(scope="module")
def done(category: Path, tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("outputs")
    assert evaluate(golden, category, out, "--no-report", "--pictures", "all") == 0
    return out


@pytest.fixture
def part(category: Path, tmp_path: Path) -> Path:
    """A copy of the category, to be spoilt."""
    return Path(shutil.copytree(category, tmp_path / "part"))


def evaluate(bundle: Path, data: Path, out: Path, *more: str) -> int:
    return main(["eval", str(bundle), "--data", str(data), "--out", str(out), *more])


def table(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def picture(path: Path, frame: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame)
    return path


def found(tests: LabelledSet) -> list[tuple[str, str | None, str | None]]:
    return [(tests.name_of(image), image.defect, image.mask and image.mask.name) for image in tests.images]


# ------------------------------------------------------------------------------------------------- layouts


def test_mvtec_layout_is_said(category: Path) -> None:
    tests = load_labelled(str(category))
    assert tests.describe() == "part: MVTec AD layout, 8 test images: 4 good, 4 defects, 4 masks"
    assert found(tests)[0] == ("good/000.png", None, None)
    assert found(tests)[-1] == ("scratch/003.png", "scratch", "003_mask.png")
    assert load_labelled(str(category / "test")) == tests, "its folder of test images"


def test_btad_layout(tmp_path: Path) -> None:
    picture(tmp_path / "01/test/ok/0.png", good_frame(1))
    picture(tmp_path / "01/test/ko/7.png", bad_frame(1))
    picture(tmp_path / "01/ground_truth/ko/7.bmp", np.zeros((SIZE, SIZE), np.uint8))
    tests = load_labelled(str(tmp_path / "01"))
    assert tests.layout == "BTAD"
    assert found(tests) == [("ko/7.png", "ko", "7.bmp"), ("ok/0.png", None, None)]
    with pytest.raises(DatasetError, match=r"holds categories.*--data .*01"):
        load_labelled(str(tmp_path))


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), ("OK", "KO"), ("ok", "defect")])
def test_good_and_bad_folders(tmp_path: Path, good: str, bad: str) -> None:
    picture(tmp_path / good / "0.png", good_frame(1))
    picture(tmp_path / bad / "1.jpg", bad_frame(1))
    picture(tmp_path / "ground_truth" / bad / "1.png", np.zeros((SIZE, SIZE), np.uint8))
    picture(tmp_path / "unsure" / "2.png", good_frame(2))
    tests = load_labelled(str(tmp_path))
    assert tests.layout == "good/bad folders"
    assert sorted(found(tests)) == sorted([(f"{good}/0.png", None, None), (f"{bad}/1.jpg", bad.lower(), "1.png")])
    assert tests.notes == ("folders unsure are neither good nor bad and are left out",)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    picture(tmp_path / "a" / "0.png", good_frame(1))
    picture(tmp_path / "a" / "1.png", bad_frame(1))
    picture(tmp_path / "a" / "mask.png", np.zeros((SIZE, SIZE), np.uint8))
    lines = ["Path,Label,Mask", "a/0.png,OK,", "a/1.png,scratch,a/mask.png", "a/1.png,1,"]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    tests = load_labelled(str(path))
    assert (tests.name, tests.layout) == ("list", "CSV")
    assert found(tests) == [("a/0.png", None, None), ("a/1.png", "scratch", "mask.png"), ("a/1.png", "defect", None)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks a column.*got an empty file"),
        ("file,label\n", "lacks a column.*got file, label"),
        ("path,label\nno.png,good\n", r"1 lines.*line 2: there is no no\.png"),
        ("path,label\n0.png,\n", r"line 2: no label for 0\.png"),
        ("path,label\n0.png\n", r"line 2: no label for 0\.png"),
        ("path,label,mask\n0.png,bad,m.png\n", r"line 2: there is no m\.png"),
        ("path,label\n" + "x.png,good\n" * 9, r"9 lines.*line 6: there is no x\.png and 4 more"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    picture(tmp_path / "0.png", good_frame(1))
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        load_labelled(str(tmp_path / "list.csv"))


def test_images_without_labels(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", good_frame(1))
    with pytest.raises(DatasetError, match=r"no test images with labels.*MVTec AD.*got 1 images without labels"):
        load_labelled(str(tmp_path))


def test_slugs_are_files_of_their_own() -> None:
    names = ["good/000.png", "good/000.jpg", "a b/ü.png", "../x.png", "GOOD/000.bmp", ".png"]
    assert slugs(names) == ["good_000", "good_000-2", "a_b_ü", "x", "GOOD_000-3", "png"]


def test_the_digest_changes_with_a_mask_and_a_label(part: Path) -> None:
    tests = load_labelled(str(part))
    mask = part / "ground_truth/scratch/000_mask.png"
    before = tests.digest()
    assert load_labelled(str(part)).digest() == before
    relabelled = [dataclasses.replace(image, defect=image.defect and "cut") for image in tests.images]
    assert dataclasses.replace(tests, images=tuple(relabelled)).digest() != before
    picture(mask, np.zeros((SIZE, SIZE), np.uint8))
    assert load_labelled(str(part)).digest() != before


# ------------------------------------------------------------------------------------------------- metrics


def test_the_row_is_what_the_metrics_say(done: Path, category: Path, golden: Path) -> None:
    """Against verdicts and masks taken without any file between."""
    runtime, tests = Runtime(golden), load_labelled(str(category))
    verdicts = [runtime.inspect(image.path) for image in tests.images]
    labels = [image.defect is not None for image in tests.images]
    images = image_metrics([v.score for v in verdicts], labels, runtime.threshold)
    masks = [None if i.mask is None else cv2.imread(str(i.mask), 0) > 127 for i in tests.images]
    samples = [
        PixelSample(str(i.path), v.anomaly_map, mask, i.defect is not None)
        for i, v, mask in zip(tests.images, verdicts, masks, strict=True)
    ]
    pixels = pixel_metrics(samples, runtime.pixel_threshold)
    (row,) = table(done)
    assert (row["category"], row["method"], row["bundle"]) == ("part", "patchcore", "format-1.bundle")
    for column, value in (
        ("image_auroc", images.auroc),
        ("image_ap", images.ap),
        ("image_f1_max", images.f1_max),
        ("pixel_auroc", pixels.auroc),
        ("pixel_ap", pixels.ap),
        ("au_pro_30", pixels.au_pro_30),
        ("au_pro_05", pixels.au_pro_05),
        ("seg_f1", pixels.seg_f1),
    ):
        assert value is not None
        assert float(row[column]) == pytest.approx(value, abs=1e-4), column
    confusion = {name: int(row[name]) for name in ("tp", "fn", "fp", "tn")}
    assert confusion == dataclasses.asdict(images.confusion)
    assert images.miss is not None
    assert float(row["miss_high"]) == pytest.approx(images.miss.high, rel=1e-5)
    assert 0 < float(row["ms_p50"]) <= float(row["ms_p95"]) <= float(row["ms_p99"])
    assert float(row["mb"]) == pytest.approx(golden.stat().st_size / 1e6, rel=1e-5)


def test_scores_of_every_image(done: Path, golden: Path, category: Path) -> None:
    with (done / "part/format-1/scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["label"]) for row in rows[:5:4]] == [
        ("good/000.png", "good"),
        ("scratch/000.png", "scratch"),
    ]
    verdict = Runtime(golden).inspect(category / "test/scratch/000.png")
    assert float(rows[4]["score"]) == pytest.approx(verdict.score, rel=1e-5)
    assert int(rows[4]["verdict"]) == verdict.is_anomalous


def test_a_map_is_kept_to_16_bits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for amap in (
        generator.normal(3, 2, (37, 53)).astype(np.float32),
        np.full((4, 5), 2.5, np.float32),
        np.zeros((1, 7), np.float32),
    ):
        (tmp_path / "0.npz").unlink(missing_ok=True)
        run.save_map(tmp_path / "0.npz", amap)
        back = run.load_map(tmp_path / "0.npz")
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, amap, atol=float(np.ptp(amap)) / 65535 + 1e-6)


def test_a_map_that_is_broken(tmp_path: Path) -> None:
    run.save_map(tmp_path / "0.npz", np.ones((4, 5), np.float32))
    whole = (tmp_path / "0.npz").read_bytes()
    for spoilt in (b"", b"no archive", whole[:-30], whole[:200] + bytes(20) + whole[220:]):
        (tmp_path / "0.npz").write_bytes(spoilt)
        with pytest.raises(EdgeADError, match="cannot be read"):
            run.load_map(tmp_path / "0.npz")
    for damaged in (b"no image", b""):
        np.savez(tmp_path / "0.npz", png=np.frombuffer(damaged, np.uint8), low=np.float32(0), scale=np.float32(1))
        with pytest.raises(EdgeADError, match="cannot be read"):
            run.load_map(tmp_path / "0.npz")


PIXELS = ("pixel_auroc", "pixel_ap", "au_pro_30", "au_pro_05", "seg_f1")
RANKING = ("image_auroc", "image_ap", "image_f1_max")


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(start) and "patchcore" in line).split()


def test_only_goods(part: Path, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(part / "test/scratch")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,) = table(tmp_path / "out")
    assert {row[name] for name in (*RANKING, *PIXELS, "miss", "miss_low")} == {""}
    assert row["false_reject_high"] != ""
    assert "all test images are good" in row["notes"]
    assert line_of(capsys.readouterr().out, "part")[3:12] == ["-"] * 9


def test_only_defects(part: Path, tmp_path: Path, golden: Path) -> None:
    shutil.rmtree(part / "test/good")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,) = table(tmp_path / "out")
    assert {row[name] for name in (*RANKING, "false_reject")} == {""}
    assert "" not in {row[name] for name in (*PIXELS, "miss")}, "the pixels around a defect are good ones"


def test_no_masks(part: Path, tmp_path: Path, golden: Path) -> None:
    shutil.rmtree(part / "ground_truth")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,) = table(tmp_path / "out")
    assert {row[name] for name in PIXELS} == {""}
    assert "" not in {row[name] for name in RANKING}
    assert "4 of 4 defects have no mask: no pixel metrics" in row["notes"]


def test_masks_of_another_name(part: Path, tmp_path: Path, golden: Path) -> None:
    masks = part / "ground_truth/scratch"
    (masks / "001_mask.png").rename(masks / "one.png")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,) = table(tmp_path / "out")
    assert "1 of scratch have no mask" in row["notes"]
    assert "scratch holds one.png and the like" in row["notes"]
    assert "1 of 4 defects have no mask: pixel metrics leave them out" in row["notes"]
    assert "" not in {row[name] for name in PIXELS}


def test_masks_of_another_size(part: Path, tmp_path: Path, golden: Path, done: Path) -> None:
    masks = part / "ground_truth/scratch"
    twice = cv2.imread(str(masks / "000_mask.png"), 0).repeat(2, axis=0).repeat(2, axis=1)
    picture(masks / "000_mask.png", twice)
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,), (before,) = table(tmp_path / "out"), table(done)
    assert row["notes"] == "1 masks have another size than their image and are resized"
    assert [row[name] for name in PIXELS] == [before[name] for name in PIXELS]
    picture(masks / "000_mask.png", twice[:50])
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    (row,) = table(tmp_path / "out")
    assert "scratch/000.png: its mask is 50 x 128, the image 64 x 64" in row["notes"]
    assert row["pixel_auroc"] not in ("", before["pixel_auroc"])


@pytest.mark.parametrize(("scale", "dtype"), [(1, np.uint8), (255, np.uint8), (65535, np.uint16)])
def test_what_is_white_in_a_mask(tmp_path: Path, scale: int, dtype: type) -> None:
    truth = np.random.default_rng(0).random((20, 30)) < 0.3
    path = picture(tmp_path / "m.png", (truth * scale).astype(dtype))
    np.testing.assert_array_equal(metrics_row.read_mask(path, (20, 30)).pixels, truth)


def test_a_mask_that_cannot_be_read(part: Path, tmp_path: Path, golden: Path) -> None:
    (part / "ground_truth/scratch/000_mask.png").write_bytes(b"no image")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 0
    assert "cannot be decoded" in table(tmp_path / "out")[0]["notes"]


def test_an_image_that_cannot_be_read(
    part: Path, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (part / "test/good/000.png").write_bytes(b"no image")
    assert evaluate(golden, part, tmp_path / "out", "--no-report") == 2
    (row,) = table(tmp_path / "out")
    assert (row["goods"], row["failed"]) == ("3", "1")
    assert "good/000.png cannot be decoded" in capsys.readouterr().err


def test_a_category_without_test_images_does_not_stop_the_rest(
    category: Path, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "bare/train/good/0.png", good_frame(1))
    data = [str(tmp_path / "bare"), str(category)]
    assert main(["eval", str(golden), "--no-report", "--out", str(tmp_path / "out"), "--data", *data]) == 0
    bare, part = table(tmp_path / "out")
    assert {bare[name] for name in (*RANKING, *PIXELS, "miss", "false_reject", "ms_p50")} == {""}
    assert (bare["goods"], part["goods"]) == ("0", "4")
    assert "bare: MVTec AD layout, no test images" in capsys.readouterr().out
    assert evaluate(golden, tmp_path / "bare", tmp_path / "out", "--no-report") == 2
    assert "there are no test images" in capsys.readouterr().err


def test_pixels_outside_the_region_do_not_count(category: Path, tmp_path: Path, golden_roi: Path) -> None:
    """Against the metrics of the box cut out: the region of this bundle is one."""
    assert evaluate(golden_roi, category, tmp_path, "--no-report", "--pictures", "none") == 0
    (row,) = table(tmp_path)
    assert "only the pixels in the region of interest" in row["notes"]
    with Bundle.open(golden_roi) as bundle:
        kept = metrics_row.roi_of(bundle)((SIZE, SIZE))
    assert kept is not None
    ys, xs = np.nonzero(kept)
    box = np.s_[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert kept[box].all()
    assert 0.1 < kept.mean() < 0.9
    runtime, samples = Runtime(golden_roi), []
    for image in load_labelled(str(category)).images:
        amap = runtime.inspect(image.path).anomaly_map
        assert not amap[~kept].any(), "the region is that of the map"
        mask = None if image.mask is None else cv2.imread(str(image.mask), 0)[box] > 127
        samples.append(PixelSample("", np.ascontiguousarray(amap[box]), mask, image.defect is not None))
    expected = pixel_metrics(samples, runtime.pixel_threshold)
    for column, value in (
        ("pixel_auroc", expected.auroc),
        ("pixel_ap", expected.ap),
        ("au_pro_30", expected.au_pro_30),
        ("seg_f1", expected.seg_f1),
    ):
        assert float(row[column]) == pytest.approx(value, abs=1e-4), column


def test_a_region_of_any_shape() -> None:
    generator = np.random.default_rng(3)
    amap = generator.random((40, 50)).astype(np.float32)
    mask, kept = np.zeros((40, 50), bool), generator.random((40, 50)) < 0.5
    mask[5:9, 5:9] = mask[20:30, 20:22] = True
    kept[:, 21:] = False
    kept[5:9, 5:9] = kept[20:30, 20] = True
    samples = [*metrics_row._parts("x", amap, mask, kept), *metrics_row._parts("y", amap[::-1].copy(), None, kept)]
    pixels = pixel_metrics(samples, 0.5)
    goods = [amap[kept & ~mask], amap[::-1][kept]]
    assert (pixels.good_pixels, pixels.defect_pixels, pixels.regions) == (sum(map(len, goods)), 26, 2)
    assert pixels.auroc == pytest.approx(binary_auroc(np.concatenate(goods), amap[kept & mask]))


def test_a_method_without_maps(done: Path) -> None:
    """`centroid` gives none: everything about pixels is unknown then, and said to be."""
    result = run.load_result(done / "part/format-1")
    assert result is not None
    bare = dataclasses.replace(result, images=tuple(dataclasses.replace(i, has_map=False) for i in result.images))
    row, notes = metrics_row.metrics_row(bare, lambda size: None, False, done)
    assert {row[name] for name in PIXELS} == {None}
    assert row["image_auroc"] is not None
    assert notes == ("this method gives no anomaly map: no pixel metrics",)


# ------------------------------------------------------------------------------------------------- resumption


def test_what_is_done_is_not_done_again(
    part: Path, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(golden, part, out, "--no-report") == 0
    first, runs = (out / "summary.csv").read_text(), []
    monkeypatch.setattr(run, "Runtime", lambda *a, **k: (runs.append(1), Runtime(*a, **k))[1])
    assert evaluate(golden, part, out, "--no-report") == 0
    assert not runs
    assert (out / "summary.csv").read_text() == first
    assert "done before" in capsys.readouterr().err
    assert evaluate(golden, part, out, "--no-report", "--search", "exact") == 0
    assert len(runs) == 1, "other options"
    picture(part / "test/good/000.png", bad_frame(5))
    assert evaluate(golden, part, out, "--no-report", "--search", "exact") == 0
    assert len(runs) == 2, "other images"
    next((out / "part/format-1/maps").iterdir()).unlink()
    assert evaluate(golden, part, out, "--no-report", "--search", "exact") == 0
    assert len(runs) == 3, "a map is missing"
    (out / "part/format-1/result.json").write_text("{}")
    assert evaluate(golden, part, out, "--no-report", "--search", "exact") == 0
    assert len(runs) == 4, "a result that says nothing"


def test_an_interrupted_run_is_not_taken_for_finished(
    part: Path, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert evaluate(golden, part, out, "--no-report") == 0

    def interrupt(path: Path, amap: np.ndarray) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save_map", interrupt)
    assert evaluate(golden, part, out, "--no-report", "--search", "exact") == 130
    assert not (out / "part/format-1/result.json").exists()


def test_from_maps_infers_nothing(
    part: Path, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(golden, part, out, "--no-report", "--from-maps") == 2
    assert "Run without --from-maps first" in capsys.readouterr().err
    assert evaluate(golden, part, out, "--no-report", "--pictures", "none") == 0
    assert not list(out.rglob("*_overlay.png"))
    monkeypatch.setattr(run, "Runtime", None)
    again = ["--no-report", "--from-maps", "--pictures", "all"]
    assert evaluate(golden, part, out, *again, "--engine", "openvino") == 0
    plain = (out / "part/format-1/scratch_000_overlay.png").read_bytes()
    assert evaluate(golden, part, out, *again, "--gamma", "0.5", "--clip-q", "0.98", "--blur", "2") == 0
    assert (out / "part/format-1/scratch_000_overlay.png").read_bytes() != plain
    picture(part / "test/good/000.png", bad_frame(5))
    assert evaluate(golden, part, out, *again) == 2
    assert "the images have changed" in capsys.readouterr().err


def test_operating_points_have_folders_of_their_own(golden_roi: Path, category: Path, tmp_path: Path) -> None:
    bundle, out = pointed(golden_roi, tmp_path / "part.bundle", {"small": "f32"}, scale=2.0), tmp_path / "out"
    rows = {}
    for point in ("f32", "small"):
        assert evaluate(bundle, category, out, "--no-report", "--pictures", "none", "--point", point) == 0
        with (out / "summary.csv").open(newline="") as stream:
            rows[point] = next(csv.DictReader(stream))
        assert rows[point]["point"] == point
    assert sorted(folder.name for folder in (out / "part").iterdir()) == ["part", "part-small"]
    same = {"image_auroc", "pixel_auroc", "au_pro_30"}
    assert {rows["f32"][name] for name in same} == {rows["small"][name] for name in same}
    results = [json.loads((out / "part" / name / "result.json").read_text()) for name in ("part", "part-small")]
    assert results[1]["facts"]["threshold"] == pytest.approx(2 * results[0]["facts"]["threshold"])


def test_bundles_of_one_name_keep_apart(category: Path, tmp_path: Path, golden: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(golden, tmp_path / name / "part.bundle")
    both = [str(tmp_path / name / "part.bundle") for name in ("a", "b")]
    out = tmp_path / "out"
    arguments = ["--data", str(category), "--out", str(out), "--no-report", "--pictures", "none"]
    assert main(["eval", *both, *arguments]) == 0
    assert len(table(out)) == 2
    assert len(list((out / "part").iterdir())) == 2
    assert main(["eval", both[0], both[0], *arguments]) == 2


def test_a_bundle_that_is_not_there_is_found_before_the_work(
    category: Path, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["eval", str(golden), str(tmp_path / "no.bundle"), "--data", str(category), "--out", str(out)]) == 2
    assert "no.bundle" in capsys.readouterr().err
    assert not out.exists()


# ------------------------------------------------------------------------------------------------- pictures


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


# ------------------------------------------------------------------------------------------------- table and report


def test_the_table_is_aligned() -> None:
    row = {"category": "a", "method": "m", "backbone": "b", "bundle": "x", "tp": 1, "fn": 2, "miss": 2 / 3, "mb": 1.25}
    text = summary.to_text([row, {**row, "category": "longer", "image_auroc": 0.5}]).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[1].split()[3:] == ["-"] * 8 + ["2/3"] + ["-"] * 4 + ["1.2"]


def test_rates_by_hand() -> None:
    rejected, caught, precision = curves.rates(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    np.testing.assert_array_equal(rejected, [0, 0.5, 1])
    np.testing.assert_array_equal(caught, [0.5, 1, 1])
    np.testing.assert_allclose(precision, [1, 2 / 3, 0.5])


def test_without_matplotlib(
    category: Path, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert evaluate(golden, category, tmp_path) == 0
    assert "pip install 'edge-ad[report]'" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    assert table(tmp_path)[0]["image_auroc"]


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_stands_alone(part: Path, tmp_path: Path, golden: Path, golden_roi: Path) -> None:
    pytest.importorskip("matplotlib")
    (part / "test/good/000.png").rename(part / "test/good/<b>&.png")
    out = tmp_path / "out"
    assert main(["eval", str(golden), str(golden_roi), "--data", str(part), "--out", str(out)]) == 0
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    assert all(source.startswith(("data:image/", "#s")) for source in page.sources)
    assert not {"script", "link", "iframe", "b>&.png"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "&lt;b&gt;&amp;.png" in text
    assert text.index("Misses") < text.index("False alarms") < text.index("Curves")
    for bundle in ("format-1", "format-1-roi"):
        for name in ("roc", "pr", "scores", "confusion"):
            image = cv2.imread(str(out / f"part/{bundle}/{name}.png"))
            assert image.shape[1] > 400
            assert len(np.unique(image)) > 10, "something is drawn"


@pytest.mark.parametrize("missing", ["good", "scratch"])
def test_curves_of_one_label_only(part: Path, tmp_path: Path, golden: Path, missing: str) -> None:
    pytest.importorskip("matplotlib")
    shutil.rmtree(part / "test" / missing)
    assert evaluate(golden, part, tmp_path / "out") == 0
    drawn = {path.stem for path in (tmp_path / "out/part/format-1").glob("*.png")} & {
        "roc",
        "pr",
        "scores",
        "confusion",
    }
    assert drawn == {"scores", "confusion"}
    text = (tmp_path / "out/report.html").read_text()
    assert "nan" not in text.replace("data:", "").lower().split("base64")[0]
    assert ("False alarms" in text) == (missing != "good")


def test_a_result_survives_json(done: Path) -> None:
    result = run.load_result(done / "part/format-1")
    assert result is not None
    assert json.loads(json.dumps(dataclasses.asdict(result)))["key"]["bundle"] == result.key.bundle
    assert isinstance(result.images[0], run.Inspected)
    assert run.finished(done / "part/format-1", result.key) == result
    assert run.finished(done / "part/format-1", dataclasses.replace(result.key, images="others")) is None


def test_images_outside_the_root_keep_their_path(tmp_path: Path) -> None:
    tests = LabelledSet("x", "CSV", None, tmp_path / "a", (TestImage(tmp_path / "b.png", None, None),), ())
    assert tests.name_of(tests.images[0]) == (tmp_path / "b.png").as_posix()
    assert labelled.slugs(["/x/b.png"]) == ["x_b"]
