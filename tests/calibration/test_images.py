"""Which images may be calibrated with, and what is refused of them and of their scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.calibration.recalibrate import Images, check_images, find_images, score_images
from edge_ad.errors import BundleError, DatasetError, EngineError
from edge_ad.heads.base import Scored
from edge_ad.heads.patchcore import PatchCore
from tests.calibrating import calibrated, calibration, failing
from tests.edited import edited
from tests.tiny import good_frame


def test_training_images_are_refused(part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(part / "test")
    for folder in (part, part / "train", part / "train/good"):
        failing([bundle, "--data", folder], capsys, r"training images.*score higher.*--training-images")
    new = calibrated(bundle, "--data", part, "--training-images")
    assert calibration(new).split == "training images"
    assert len(calibration(new).good_scores) == 3


def test_training_images_are_known_by_their_place_in_a_table_too(part: Path) -> None:
    (part / "list.csv").write_text("path,label\ntest/good/000.png,good\ntrain/good/001.png,good\n")
    with pytest.raises(DatasetError, match="training images"):
        find_images(str(part / "list.csv"))
    assert find_images(str(part / "list.csv"), allow_training=True).kind == "training images"


def test_layouts(part: Path) -> None:
    whole = find_images(str(part))
    assert (len(whole.goods), len(whole.defects), whole.kind) == (6, 6, "test images")
    assert find_images(str(part), allow_training=True) == whole  # the test images are better
    assert find_images(str(part / "test")).goods == whole.goods
    flat = find_images(str(part / "test/good"))
    assert (flat.goods, flat.defects, flat.data, flat.kind) == (whole.goods, (), "part/test/good", "given good images")
    (part / "list.csv").write_text(
        "path,label\ntest/good/000.png,good\ntest/good/001.png,good\ntest/scratch/000.png,x\n"
    )
    table = find_images(str(part / "list.csv"))
    assert (len(table.goods), len(table.defects), table.data) == (2, 1, "list (CSV)")


def test_a_btad_category(part: Path) -> None:
    (part / "test/good").rename(part / "test/ok")
    (part / "test/scratch").rename(part / "test/ko")
    (part / "train/good").rename(part / "train/ok")
    found = find_images(str(part))
    assert (len(found.goods), len(found.defects), found.data) == (6, 6, "part (BTAD)")
    shutil.rmtree(part / "test")
    with pytest.raises(DatasetError, match="training images"):
        find_images(str(part))


@pytest.mark.parametrize("folder", ["test/scratch", "ground_truth/scratch"])
def test_a_folder_of_defects_is_no_folder_of_goods(part: Path, folder: str) -> None:
    with pytest.raises(DatasetError, match="holds defects, according to its name") as caught:
        find_images(str(part / folder))
    assert str(part) in (caught.value.remedy or "")
    (part / "ko").mkdir()
    shutil.copy(part / "test/scratch/000.png", part / "ko")
    with pytest.raises(DatasetError, match="holds defects, according to its name"):
        find_images(str(part / "ko"))


def test_too_few_goods(part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(part / "train")
    for path in sorted((part / "test/good").iterdir())[1:]:
        path.unlink()
    failing([bundle, "--data", part], capsys, "too few good images.*got 1")
    shutil.rmtree(part / "test/good")
    failing([bundle, "--data", part], capsys, "too few good images.*got 0")


def test_defects_that_score_no_higher_choose_nothing(
    part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (part / "test/good").rename(part / "test/x")
    (part / "test/scratch").rename(part / "test/good")
    failing([bundle, "--data", part, "--threshold-rule", "youden"], capsys, "no threshold separates the defects")
    assert not bundle.with_name("part.calibrated.bundle").exists()


def test_unreadable_images(part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (part / "test/good/001.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (part / "test/scratch/002.png").write_bytes(b"")
    failing([bundle, "--data", part], capsys, r"2 of 12 images cannot be used.*001\.png.*--skip-bad")
    new = calibrated(bundle, "--data", part, "--skip-bad")
    assert "note: 2 unreadable images are left out: 001.png, 002.png" in capsys.readouterr().out
    assert len(calibration(new).good_scores) == 5
    for path in (part / "test/good").iterdir():
        path.write_bytes(b"")
    failing([bundle, "--data", part, "--skip-bad"], capsys, "too few good images.*got 0")


def test_copies_count_once(part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By their pixels, whatever the file's format."""
    shutil.copy(part / "test/good/000.png", part / "test/good/copy.png")
    cv2.imwrite(str(part / "test/good/copy.bmp"), cv2.imread(str(part / "test/good/001.png")))
    shutil.copy(part / "test/scratch/000.png", part / "test/scratch/copy.png")
    new = calibrated(bundle, "--data", part)
    said = capsys.readouterr().out
    assert "note: 2 of 8 good images are copies" in said
    assert "note: 1 of 7 defects are copies" in said
    assert len(calibration(new).good_scores) == 6
    for path in (part / "test/good").iterdir():
        path.write_bytes((part / "test/good/000.png").read_bytes())
    failing([bundle, "--data", part], capsys, "too few good images.*that differ; got 1")


def test_an_image_with_two_labels(part: Path) -> None:
    shutil.copy(part / "test/scratch/000.png", part / "test/good/wrong.png")
    with pytest.raises(DatasetError, match=r"both good and defect.*wrong\.png"):
        check_images(find_images(str(part)))


def test_an_image_that_the_bundle_does_not_take(part: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(part / "test/good/wide.png"), good_frame(1).astype(np.uint16) * 257)
    failing([bundle, "--data", part], capsys, r"wide\.png cannot be inspected: .*dtype.*uint16")
    assert not bundle.with_name("part.calibrated.bundle").exists()


def test_a_score_that_is_no_number_fails_closed(
    part: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Runtime(bundle).probe(good_frame(1))
    for wrong in (Scored(answer.distances, float("nan")), Scored(np.full_like(answer.distances, np.inf), 1.0)):
        with monkeypatch.context() as patch:
            patch.setattr(Runtime, "check", lambda self: {})
            patch.setattr(PatchCore, "__call__", lambda self, patches, exact=False, wrong=wrong: wrong)
            failing([bundle, "--data", part], capsys, "NaN or Inf")
            with Bundle.open(bundle) as opened, pytest.raises(EngineError, match=r"000\.png hold NaN"):
                score_images(opened, Runtime(bundle), find_images(str(part)))
    assert not bundle.with_name("part.calibrated.bundle").exists()


def test_no_map_of_the_whole_frame_is_rendered(part: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = find_images(str(part))
    with Bundle.open(bundle) as opened:
        runtime = Runtime(bundle, search="exact")
        answers = [runtime.probe(cv2.imread(str(path))) for path in images.goods]
        rendered: list[object] = []
        monkeypatch.setattr("edge_ad.serving.sight.anomaly_map", lambda *arguments: rendered.append(arguments))
        found = score_images(opened, runtime, images)
    assert rendered == []
    assert found.goods == tuple(answer.score for answer in answers)
    assert all(peak > 0 for peak in found.peaks)
    assert len(found.peaks) == len(images.goods)


def test_goods_that_all_score_nought(
    part: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Runtime(bundle).probe(good_frame(1))
    nothing = Scored(np.zeros_like(answer.distances), 0.0)
    monkeypatch.setattr(Runtime, "check", lambda self: {})
    monkeypatch.setattr(PatchCore, "__call__", lambda self, patches, exact=False: nothing)
    failing([bundle, "--data", part], capsys, "every held-out good image scores 0")


def test_a_pc_that_gives_other_answers_calibrates_nothing(
    part: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bundle.open(bundle) as opened:
        scores = np.array(opened.array("probes/scores")) * 1.5
    other = edited(bundle, tmp_path / "other.bundle", {"probes/scores": scores.astype(np.float32)})
    failing([other, "--data", part], capsys, "does not give the answers that the bundle expects")


def test_a_bundle_that_is_replaced_meanwhile(bundle: Path, golden_roi: Path) -> None:
    with Bundle.open(bundle) as opened, pytest.raises(BundleError, match="was replaced while it was in use"):
        score_images(opened, Runtime(golden_roi), Images("", Path(), "", (), ()))
