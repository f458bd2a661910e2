"""An evaluation's folder: maps and results come back, what is done is not done again, names keep apart."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.cli import main
from edge_ad.errors import EdgeADError
from edge_ad.evaluation import run
from tests.edited import pointed
from tests.evaluation.evaluating import evaluate, table
from tests.tiny import bad_frame, picture


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


def test_a_result_survives_json(done: Path) -> None:
    result = run.load_result(done / "part/format-1")
    assert result is not None
    assert json.loads(json.dumps(dataclasses.asdict(result)))["key"]["bundle"] == result.key.bundle
    assert isinstance(result.images[0], run.Inspected)
    assert run.finished(done / "part/format-1", result.key) == result
    assert run.finished(done / "part/format-1", dataclasses.replace(result.key, images="others")) is None
