"""The rendered sample: what lies where, that it comes out the same again, and that it spoils nothing of others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_ad.data.layouts import check_images, load_category
from edge_ad.errors import DatasetError, SpecError
from export.sample import render as sample
from export.sample.cable import draw, draw_both, make_scene
from export.sample.canvas import photograph, strips
from export.sample.defects import DEFECTS, add_defect, changed
from tests.paths import ROOT
from tests.processes import child

KINDS = ["bent_strand", "cut_insulation", "missing_core", "poked_insulation", "scratch", "swapped_colors"]
FEW = sample._Plan(train=2, good=1, defects=7, side=96)
SIDE = 256  # enough for a scratch to be seen


def render(folder: Path, seed: int = 0, workers: int | None = None, plan: sample._Plan = FEW) -> tuple[Path, bool]:
    return sample._render("cable", folder, seed, workers, plan)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pictures(kind: str, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """The same scene without and with a defect, noiseless, and the mask."""
    generator = np.random.default_rng(seed)
    scene = make_scene(generator)
    other, overlay = add_defect(kind, scene, generator)
    assert (other.camera, other.light, other.centre) == (scene.camera, scene.light, scene.centre)
    clean = photograph(draw(scene, side=SIDE), scene.camera, scene.light, SIDE, noisy=False)
    defective = photograph(draw(other, overlay, SIDE), scene.camera, scene.light, SIDE, noisy=False)
    return clean, defective, changed(clean, defective)


@pytest.fixture(scope="module")
def cable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("sample"))[0]


def test_the_layout_is_that_of_mvtec(cable: Path) -> None:
    category = load_category(cable)
    assert (category.name, category.layout, len(category.train_good)) == ("cable", "MVTec AD", 2)
    assert [t.defect for t in category.test if t.defect is None] == [None]
    assert [t.defect for t in category.test if t.defect] == sorted([*KINDS, "bent_strand"])
    assert all((t.mask is None) == (t.defect is None) for t in category.test)
    readable, facts = check_images(category.train_good)
    assert (len(readable), facts.sizes, facts.copies) == (2, frozenset({(96, 96)}), ())


def test_the_whole_sample_has_what_was_promised() -> None:
    plan = sample._Plan()
    tasks = list(sample._tasks(plan))
    assert (plan.train, plan.good, plan.defects, plan.side, plan.total) == (60, 20, 40, 512, 120)
    assert len({(t.folder, t.number) for t in tasks}) == len({(t.stream, t.number) for t in tasks}) == 120
    counts = [sum(t.kind == kind for t in tasks) for kind in KINDS]
    assert (sum(counts), min(counts), max(counts), list(DEFECTS)) == (40, 6, 7, KINDS)


def test_masks_are_grey_images_of_black_and_white_inside_the_picture(cable: Path) -> None:
    for path in (cable / "ground_truth").rglob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == (96, 96)
        assert set(np.unique(mask)) <= {0, 255}


def test_same_seed_same_bytes_whatever_the_workers(cable: Path, tmp_path: Path) -> None:
    again, is_new = render(tmp_path, workers=3)
    assert is_new
    assert contents(again) == contents(cable)


def test_another_seed_gives_other_pictures(cable: Path, tmp_path: Path) -> None:
    other = contents(render(tmp_path, seed=1)[0])
    first = contents(cable)
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.endswith(".png"))


def test_good_pictures_differ_as_photographs_do() -> None:
    scenes = [make_scene(np.random.default_rng(n)) for n in range(30)]
    for values in (
        [s.turn for s in scenes],
        [s.radius for s in scenes],
        [s.centre for s in scenes],
        [s.light.azimuth for s in scenes],
        [s.camera.gain for s in scenes],
        [len(core.strands) for s in scenes for core in s.cores],
    ):
        assert len(set(values)) > 5
    assert all(7 <= len(core.strands) <= 19 for s in scenes for core in s.cores)
    assert all([core.colour for core in s.cores] == [0, 1, 2] for s in scenes)
    images = [photograph(draw(s, side=64), s.camera, s.light, 64).astype(np.float32) for s in scenes[:4]]
    for n, image in enumerate(images[1:], 1):
        assert np.abs(image - images[n - 1]).mean() > 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_is_what_the_defect_changes(kind: str, seed: int) -> None:
    clean, defective, mask = pictures(kind, seed)
    difference = cv2.absdiff(clean, defective).max(axis=2)
    share = (mask > 0).mean()
    assert 0.0001 < share < 0.25
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    seen = difference >= 24
    assert (seen & near).sum() >= 0.97 * seen.sum()  # a faint speck apart from the rest may be left out
    assert difference[mask > 0].mean() > 4 * difference[mask == 0].mean()
    assert (difference[mask > 0] >= 4).mean() > 0.75
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not border.any()


@pytest.mark.parametrize("kind", KINDS)
def test_two_pictures_that_are_drawn_together_are_those_drawn_alone(kind: str) -> None:
    generator = np.random.default_rng(3)
    scene = make_scene(generator)
    other, overlay = add_defect(kind, scene, generator)
    clean, defective = draw_both(scene, other, overlay, 96)
    np.testing.assert_array_equal(clean, draw(scene, side=96))
    np.testing.assert_array_equal(defective, draw(other, overlay, 96))


def test_strips_are_the_window() -> None:
    seen = np.zeros((150, 40), np.int32)
    for part in strips((slice(7, 131), slice(3, 30))):
        seen[part] += 1
    assert (seen[7:131, 3:30] == 1).all()
    assert seen.sum() == 124 * 27
    assert not list(strips((slice(5, 5), slice(0, 9))))


def test_a_scene_without_a_defect_has_an_empty_mask() -> None:
    scene = make_scene(np.random.default_rng(5))
    image = photograph(draw(scene, side=96), scene.camera, scene.light, 96, noisy=False)
    assert not changed(image, image).any()


def test_noise_is_the_same_with_and_without_a_defect() -> None:
    scene = make_scene(np.random.default_rng(5))
    light = draw(scene, side=96)
    noisy = photograph(light, scene.camera, scene.light, 96)
    assert np.array_equal(noisy, photograph(light, scene.camera, scene.light, 96))
    clean = photograph(light, scene.camera, scene.light, 96, noisy=False)
    assert 0.5 < np.std(noisy.astype(int) - clean.astype(int)) < 6


def test_a_complete_sample_is_taken_as_it_is(tmp_path: Path) -> None:
    target, _ = render(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in target.rglob("*")}
    assert render(tmp_path) == (target, False)
    assert {p: p.stat().st_mtime_ns for p in target.rglob("*")} == times


def _foreign(target: Path) -> None:
    (target / "note.txt").write_text("mine")


def _lost(target: Path) -> None:
    (target / "train/good/001.png").unlink()


def _altered(target: Path) -> None:
    (target / "train/good/001.png").write_bytes(b"mine")


def _broken_record(target: Path) -> None:
    (target / "sample.json").write_text("[]")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_foreign, "note.txt, which is no part of it"),
        (_lost, "without train/good/001.png"),
        (_altered, "train/good/001.png altered"),
        (_broken_record, "files that are no sample"),
    ],
)
def test_what_is_not_the_sample_is_refused_and_left(spoil: object, says: str, cable: Path, tmp_path: Path) -> None:
    target = render(tmp_path)[0]
    spoil(target)  # type: ignore[operator]
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match=says):
        render(tmp_path)
    assert contents(tmp_path) == before


def test_another_seed_does_not_replace_a_sample(tmp_path: Path) -> None:
    before = contents(render(tmp_path)[0])
    with pytest.raises(DatasetError, match="seed 0 and not 1"):
        render(tmp_path, seed=1)
    assert contents(tmp_path / "cable") == before


def test_a_file_in_the_way_is_refused_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "cable").write_text("mine")
    with pytest.raises(DatasetError, match=r"in the way.*got a file"):
        render(tmp_path)
    (tmp_path / "cable").unlink()
    (tmp_path / "cable").mkdir()
    (tmp_path / "bottle").mkdir()  # other categories beside it are no concern of it
    assert render(tmp_path)[1]
    assert sorted(os.listdir(tmp_path)) == ["bottle", "cable"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        render(tmp_path / "file")
    with pytest.raises(DatasetError, match="cannot be written"):
        render(tmp_path / "file" / "deeper")
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "_write", fail)
    with pytest.raises(DatasetError, match="No space left on device"):
        render(tmp_path / "new" / "folders")
    assert os.listdir(tmp_path) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export.sample", "cable", tmp_path / "new"]
    pipe = subprocess.PIPE
    with child(command, stderr=pipe, stdout=pipe, cwd=ROOT) as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("new/.cable.*.tmp/train/good/*.png")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "interrupted; nothing was written" in err
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no sample 'cabel'; expected cable; .*Did you mean cable\?"):
        sample.render_sample("cabel", tmp_path)
    with pytest.raises(DatasetError, match=r"no sample '\.\./x'"):
        sample.render_sample("../x", tmp_path)
    with pytest.raises(SpecError, match="seed"):
        sample.render_sample("cable", tmp_path, seed=-1)
    with pytest.raises(SpecError, match="workers"):
        sample.render_sample("cable", tmp_path, workers=0)
    assert os.listdir(tmp_path) == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sample, "_Plan", lambda: FEW)
    folder = tmp_path / "a b"
    assert sample.main(["cable", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "2 good images to learn from, 1 good and 7 defective" in out
    assert f"next: python -m export cable --data '{folder}'" in out
    assert "rendering cable" in err
    assert sample.main(["cable", str(folder)]) == 0
    assert "there already" in capsys.readouterr().out
    assert sample.main(["cable", str(folder), "--seed", "3"]) == 2
    assert "error: " in capsys.readouterr().err
    assert sample.render_sample("cable", folder) == folder / "cable"
