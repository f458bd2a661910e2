"""The row of the table: metrics of what is there, and a dash for what is not."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.data.labelled import load_labelled
from edge_ad.evaluation import metrics_row, run
from edge_ad.metrics import PixelSample, binary_auroc, image_metrics, pixel_metrics
from tests.evaluation.evaluating import PIXELS, RANKING, evaluate, line_of, table
from tests.tiny import SIZE, good_frame, picture


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
