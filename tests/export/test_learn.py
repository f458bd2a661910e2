"""What a lesson makes of a bundle: rows, threshold, figures, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import Runtime, native
from edge_ad.errors import EngineUnavailableError, LearningError, SpecError
from edge_ad.learning.policy import Limits
from edge_ad.learning.report import ACCEPTED, HELD_BACK, TAUGHT
from edge_ad.learning.store import Store, store_of
from edge_ad.learning.undo import undo
from export.coreset import covering_radius, select_coreset, select_outside
from export.learn import make, point, power
from export.synth.defect import KINDS
from export.teach import again
from tests.edited import pointed, read
from tests.export.made import Export
from tests.learning.making import agrees, labelled_part, lesson, new_lot, usual
from tests.paths import ROOT
from tests.tiny import bad_frame, good_frame, picture


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kinds of synthetic defects are enough, and take a part of the time."""
    monkeypatch.setattr("export.power.KINDS", {kind: KINDS[kind] for kind in [*KINDS][:3]})


def defects(folder: Path, count: int = 3, start: int = 4200) -> Path:
    for at in range(count):
        picture(folder / f"bad_{at}.png", bad_frame(start + at))
    return folder


def rows_of(bundle: Path, name: str = "coreset") -> set[bytes]:
    return {row.tobytes() for row in read(bundle)[1][name]}


def test_a_false_reject_is_learned(bundle: Path, tmp_path: Path) -> None:
    old, before = Runtime(bundle, threads=1), rows_of(bundle)
    report = lesson(bundle, usual(new_lot(tmp_path / "lot")), make, defects(tmp_path / "bad"))
    new = Runtime(bundle, threads=1, self_check=True)
    (figures,) = report.figures
    assert before < rows_of(bundle)
    assert figures.rows == (len(before), len(rows_of(bundle)))
    assert figures.threshold == (old.threshold, new.threshold)
    roles = {role: [each for each in report.pictures if each.role == role] for role in (TAUGHT, ACCEPTED, HELD_BACK)}
    assert {each.name[:3] for each in roles[TAUGHT]} == {"lot"}
    assert {each.name[:5] for each in roles[ACCEPTED]} == {"usual"}
    assert figures.offered == (len(roles[TAUGHT]), 0)
    assert figures.images == len(roles[TAUGHT]) + len(roles[ACCEPTED])
    assert (figures.misses, figures.defects) == ((0, 0), 3)
    unseen = [labelled_part(6000 + at) for at in range(6)]
    assert all(old.inspect(frame).is_anomalous for frame in unseen)
    assert sum(new.inspect(frame).is_anomalous for frame in unseen) <= 2
    assert all(new.inspect(bad_frame(6100 + at)).is_anomalous for at in range(6))
    (taught,) = new.manifest.taught
    assert (taught.bundle, taught.images) == (report.before, len(roles[TAUGHT]))
    assert new.manifest.calibration.good_scores[: len(old.manifest.calibration.good_scores)] == (
        old.manifest.calibration.good_scores
    )
    assert len(new.manifest.calibration.good_scores) == len(old.manifest.calibration.good_scores) + figures.goods
    assert agrees(bundle)


def test_new_rows_lie_beyond_the_covering_radius(bundle: Path, tmp_path: Path) -> None:
    """All of them: beyond it from the old rows, and from one another."""
    old = read(bundle)[1]["coreset"]
    report = lesson(bundle, new_lot(tmp_path / "lot"), make, limits=Limits(power_drop=1))
    new = np.array([row for row in read(bundle)[1]["coreset"] if row.tobytes() not in {each.tobytes() for each in old}])
    (radius,) = report.figures[0].radius
    apart = np.linalg.norm(new[:, None] - np.concatenate([old, new])[None], axis=2)  # 24 numbers: not projected
    apart[np.arange(len(new)), len(old) + np.arange(len(new))] = np.inf
    assert len(new)
    assert radius > 0
    assert apart.min() > radius * (1 - 1e-5)


def test_the_radius_of_the_rows_covers_what_they_were_made_of() -> None:
    generator, pool = np.random.default_rng(3), native.Pool(1)
    patches = generator.normal(0, 1, (4, 200, 12)).astype(np.float32)
    chosen = select_coreset(patches, np.arange(4), 0.1, 0, pool)
    rows = patches.reshape(-1, 12)[chosen]
    radius = covering_radius(rows, 0, pool)
    farthest = np.linalg.norm(patches.reshape(-1, 1, 12) - rows[None], axis=2).min(axis=1).max()
    assert farthest <= radius * (1 + 1e-5)
    assert covering_radius(rows[:1], 0, pool) == 0
    again, beyond = select_outside(rows, patches.reshape(-1, 12), radius, 100, 0, pool)
    assert (len(again), beyond) == (0, 0)  # nothing that was learned is learned again
    far = patches[0] + 50
    new, beyond = select_outside(rows, far, radius, 7, 0, pool)
    assert (len(new), beyond) == (7, 200)
    new, _ = select_outside(rows, far, radius, 200, 0, pool)
    left = np.linalg.norm(far[:, None] - far[new][None], axis=2).min(axis=1)
    assert left.max() <= radius * (1 + 1e-5)
    assert select_outside(rows, far[:0], radius, 7, 0, pool)[1] == 0
    near = patches.reshape(-1, 12)  # within the radius, but not as a bundle counts that doubles distances here
    scale = np.full(len(rows), 2, np.float32)
    new, beyond = select_outside(rows, near, radius, 1000, 0, pool, scale=scale)
    left = np.linalg.norm(near[:, None] - np.concatenate([rows, near[new]])[None], axis=2).min(axis=1)
    assert 0 < len(new) <= beyond
    assert 2 * left.max() <= radius * (1 + 1e-5)


def test_a_defect_that_would_pass(bundle: Path, tmp_path: Path) -> None:
    """Parts with a scratch are offered as good: known scratches would pass, and one is drawn."""
    old, before = Runtime(bundle, threads=1), bundle.read_bytes()
    bad = defects(tmp_path / "bad", 6)
    assert all(old.inspect(path).is_anomalous for path in bad.iterdir())
    wrong = tmp_path / "wrong"
    for at in range(12):
        picture(wrong / f"wrong_{at}.png", bad_frame(4300 + at))
    with pytest.raises(LearningError, match=r"a known defect would pass: bad_\d\.png") as told:
        lesson(bundle, wrong, make, bad, limits=Limits(growth=2, power_drop=1))
    assert bundle.read_bytes() == before
    assert told.value.pictures
    for drawn in told.value.pictures:
        assert Path(drawn).parent == store_of(bundle) / "refused"
        assert cv2.imread(drawn).shape == (64, 128, 3)  # before and after, beside one another
    (entry,) = Store(store_of(bundle)).entries
    assert entry.state == "refused"
    assert entry.figures[0].misses[1] > entry.figures[0].misses[0] == 0


def test_power_that_falls(bundle: Path, tmp_path: Path) -> None:
    before = bundle.read_bytes()
    offered = new_lot(tmp_path / "lot")
    for at in range(3):
        frame = cv2.GaussianBlur(good_frame(4800 + at), (0, 0), 1.0)
        frame = frame + np.random.default_rng(at).normal(0, 40, frame.shape)
        picture(offered / f"noisy_{at}.png", np.clip(frame, 0, 255).astype(np.uint8))
    with pytest.raises(LearningError, match=r"f32 would find fewer synthetic.*at most 2 points"):
        lesson(bundle, usual(offered), make)
    assert bundle.read_bytes() == before


def test_growth_is_bounded(bundle: Path, tmp_path: Path) -> None:
    limits, first = Limits(growth=0.03, power_drop=1), len(rows_of(bundle))
    report = lesson(bundle, usual(new_lot(tmp_path / "lot")), make, limits=limits)
    room = int(0.03 * first)
    assert report.figures[0].rows == (first, first + room)
    with pytest.raises(LearningError, match=rf"at most 3% more rows than the {first}.*Export anew"):
        lesson(bundle, marked(tmp_path / "more"), make, limits=limits)
    undo(bundle, store_of(bundle))
    assert lesson(bundle, tmp_path / "more", make, limits=limits).figures[0].rows[1] == first + room


def marked(folder: Path) -> Path:
    for at in range(5):
        frame = good_frame(4900 + at)
        frame[4:20, 40:60] = (20, 20, 220)
        picture(folder / f"marked_{at}.png", frame)
    return folder


def test_nothing_to_learn_from_what_is_accepted(bundle: Path, tmp_path: Path) -> None:
    before = bundle.read_bytes()
    report = lesson(bundle, usual(tmp_path / "usual"), make)
    assert (report.state, report.figures) == ("nothing", ())
    assert bundle.read_bytes() == before


def test_a_second_lesson_goes_on(bundle: Path, tmp_path: Path) -> None:
    """The scores of the first bundle stay, and each locked image counts once."""
    count = len(read(bundle)[0].calibration.good_scores)
    limits = Limits(power_drop=1)
    lesson(bundle, usual(new_lot(tmp_path / "lot")), make, limits=limits)
    report = lesson(bundle, marked(tmp_path / "more"), make, limits=limits)
    manifest = read(bundle)[0]
    assert len(manifest.taught) == 2
    assert len(manifest.calibration.good_scores) == count + report.figures[0].goods
    assert len(Store(store_of(bundle)).locked(HELD_BACK)) == report.figures[0].goods


def test_local_scale_joined_sizes_and_points(export: Export, tmp_path: Path) -> None:
    made = export(local_scale=0.5, smooth=0.7, second_size=(96, 96), more_sizes=((64, 64),))
    before = read(made)
    report = lesson(made, usual(new_lot(tmp_path / "lot")), make, limits=Limits(power_drop=1))
    assert [each.point for each in report.figures] == ["f32", "f32-64x64"]
    assert len(report.figures[0].radius) == 2
    after = read(made)
    assert after[0].second is not None
    assert before[0].second is not None
    assert after[0].second.factor == before[0].second.factor
    for place in ("", "second/", "points/f32-64x64/"):
        assert len(after[1][f"{place}coreset"]) >= len(before[1][f"{place}coreset"])
    for name in ("f32", "f32-64x64"):
        Runtime(made, point=name, threads=1, self_check=True)


def test_a_point_that_does_not_run_here_is_left_out(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = again.runnable_engine

    def runnable(bundle: object, name: str, *more: str) -> str:
        if name == "bf16":
            raise EngineUnavailableError("this CPU has no bf16 arithmetic")
        return real(bundle, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(again, "runnable_engine", runnable)
    own = pointed(bundle, tmp_path / "points.bundle", {"bf16": "bf16"})
    report = lesson(own, usual(new_lot(tmp_path / "lot")), make, limits=Limits(power_drop=1))
    assert any("bf16 is left out" in note for note in report.notes)
    assert read(own)[0].points == ()


@pytest.mark.parametrize("method", ["padim", "knn"])
def test_other_methods_are_refused_by_name(export: Export, tmp_path: Path, method: str) -> None:
    made = export(method=method, coreset=None)
    with pytest.raises(SpecError, match=f"a bundle of the method {method} cannot"):
        lesson(made, new_lot(tmp_path / "lot"), make)
    assert not store_of(made).exists()


def test_images_that_it_was_made_of_are_left_out(tiny: Path, export: Export, tmp_path: Path) -> None:
    report = lesson(export(), tiny / "part" / "train" / "good", make)
    assert report.state == "nothing"
    assert {(each.role, each.note) for each in report.pictures} == {
        ("left out", "the bundle has learned from it before")
    }


def test_neither_onnx_nor_hnswlib_nor_torch_is_needed(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('onnx', 'hnswlib', 'torch', 'nncf', 'scipy', 'sklearn'))); "
        "import export.power as power; power.KINDS = dict([*power.KINDS.items()][:2]); "
        "from edge_ad.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    given = ["learn", bundle, "--good", usual(new_lot(tmp_path / "lot", 4)), "--max-power-drop", 1]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert Runtime(bundle, threads=1, self_check=True).manifest.taught


def test_a_graph_that_this_pc_would_miss(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hnswlib there is no new graph: refused where this PC takes the graph, else said."""
    spec = read(bundle)[0].index
    if spec is None or spec.graph is None:
        pytest.skip("the golden bundle has no graph")
    for module in (point, again):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    own = usual(new_lot(tmp_path / "lot"))
    monkeypatch.setattr(point, "choose_search", lambda *given, **more: "graph")
    with pytest.raises(Exception, match="needs the package hnswlib"):
        lesson(bundle, own, make, limits=Limits(power_drop=1))
    monkeypatch.setattr(point, "choose_search", lambda *given, **more: "exact")
    report = lesson(bundle, own, make, limits=Limits(power_drop=1))
    assert any("hnswlib" in note for note in report.notes)
    new = read(bundle)[0].index
    assert new is not None
    assert new.graph is None


def test_the_bundles_own_picture_stands_in_for_others(bundle: Path, tmp_path: Path) -> None:
    """Where no offered or locked image is accepted, power is measured on the picture that the bundle holds."""
    report = lesson(bundle, new_lot(tmp_path / "lot"), make, limits=Limits(power_drop=1))
    assert report.figures[0].pictures == 1
    assert report.figures[0].power is not None


def test_a_region_of_interest(golden_roi: Path, tmp_path: Path) -> None:
    assert power._region(read(golden_roi)[0], (64, 64)) is not None  # type: ignore[attr-defined]
    spec = SimpleNamespace(roi=SimpleNamespace(box=(10, 20, 30, 60)), frame=SimpleNamespace(size=(100, 100)))
    region = power._region(spec, (50, 50))  # type: ignore[arg-type]
    assert region is not None
    assert (np.flatnonzero(region.any(axis=1))[[0, -1]] == (5, 14)).all()
    assert (np.flatnonzero(region.any(axis=0))[[0, -1]] == (10, 29)).all()
