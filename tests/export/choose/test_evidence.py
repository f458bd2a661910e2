"""The choice of an export, from its images to the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import Runtime, SpecError
from edge_ad.bundle.file import Bundle
from export import make_point, power
from export.choose import choice, evidence
from export.command_line import parse_options
from export.features import extract
from export.options import Options
from export.pipeline import export_bundle
from tests.tiny import good_frame, picture, tiny_options, write_backbone

AREAS = (48**2, 64**2)  # instead of those of real networks: seconds


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part of 16 good images, twice as wide as high, and a backbone."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(evidence.LEAST_FOR_TRIAL):
        picture(folder / "part" / f"{i:02}.png", good_frame(i, 96)[:48])
    write_backbone(folder / "backbone.onnx")
    return folder


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "AREAS", AREAS)
    monkeypatch.setattr(evidence, "ROWS", 60)
    monkeypatch.setattr(power, "SIZES", (0.05, 0.2))
    monkeypatch.setattr(power, "CONTRASTS", (0.15, 0.4))
    monkeypatch.setitem(power.POWER_DEFECTS, "usual", 1)


def opened(folder: Path, out: Path, **changes: object) -> tuple[Bundle, str]:
    free = {"input_size": None, "local_scale": None, "smooth": None, "effort": "usual", "out": out}
    summary = export_bundle(tiny_options(folder, **{**free, **changes}))
    return Bundle.open(summary.bundle), str(summary)


@pytest.mark.usefixtures("areas")
def test_what_is_not_given_is_chosen(many: Path, tmp_path: Path) -> None:
    bundle, text = opened(many, tmp_path / "a.bundle")
    manifest = bundle.manifest
    sizes = [sight.backbone.input_size for sight in manifest.sights]
    for height, width in sizes:
        assert width == pytest.approx(2 * height, abs=16)  # the aspect of the frames
    assert "told apart (synthetic)" in text
    assert "held-out good images" in text  # the power of the finished bundle
    assert "\n*" in text  # the table marks the choice
    assert manifest.power is not None
    if len(sizes) == 2:  # the smaller one alone is a cheaper point
        assert "f32-{}x{}".format(*sizes[0]) in manifest.point_names
    Runtime(tmp_path / "a.bundle", self_check=True).inspect(many / "part" / "00.png")


@pytest.mark.usefixtures("areas")
def test_the_same_images_give_the_same_bundle(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    bundles = [opened(many, tmp_path / f"{i}.bundle")[0].id for i in range(2)]
    assert bundles[0] == bundles[1]


@pytest.mark.usefixtures("areas")
def test_what_trials_found_changes_nothing(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calibration goes on from trials of the same images, and gives what it gives by itself."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr(choice, "SURE", 2.0)  # so that what is chosen does not hang on the trials
    monkeypatch.setattr(choice, "SURE_LOCAL", 2.0)
    made = []
    for most, times in ((evidence.LEAST_FOR_TRIAL, 0), (0, 2)):
        calls: list[Any] = []
        monkeypatch.setitem(evidence.WHOLE, "usual", most)
        monkeypatch.setattr(make_point, "extract", lambda *given, calls=calls: calls.append(extract(*given)))
        made.append(opened(many, tmp_path / f"{most}.bundle")[0].id)
        assert len(calls) == times  # of two sizes
    assert made[0] == made[1]


@pytest.mark.usefixtures("areas")
@pytest.mark.parametrize("changes", [{"calibration": "split"}, {"drop_outliers": True}])
def test_trials_beside_other_folds(many: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    bundle, text = opened(many, tmp_path / "a.bundle", **changes)
    assert "told apart (synthetic)" in text
    assert bundle.manifest.power is not None


@pytest.mark.usefixtures("areas")
def test_what_is_given_stands(many: Path, tmp_path: Path) -> None:
    bundle, text = opened(many, tmp_path / "a.bundle", input_size=(48, 96), smooth=0.3)
    assert [sight.backbone.input_size for sight in bundle.manifest.sights] == [(48, 96)]
    assert bundle.manifest.head.smooth == 0.3  # type: ignore[attr-defined]
    assert "tried" in text  # the local scale was open
    fixed = {"input_size": (48, 96), "smooth": 0.3, "local_scale": 0.4}
    bundle, text = opened(many, tmp_path / "b.bundle", **fixed)
    assert bundle.manifest.head.local_scale == 0.4  # type: ignore[attr-defined]
    assert "tried" not in text


@pytest.mark.usefixtures("areas")
def test_quick_tries_nothing(many: Path, tmp_path: Path) -> None:
    bundle, text = opened(many, tmp_path / "a.bundle", effort="quick")
    assert len(bundle.manifest.sights) == 2
    assert "tried" not in text
    assert bundle.manifest.power is None


@pytest.mark.usefixtures("areas")
def test_too_few_images_are_told(tiny: Path, tmp_path: Path) -> None:
    bundle, text = opened(tiny, tmp_path / "a.bundle")
    assert "nothing was tried" in text
    assert len(bundle.manifest.sights) == 2


@pytest.mark.usefixtures("areas")
def test_a_tight_budget_takes_the_cheapest(many: Path, tmp_path: Path) -> None:
    bundle, _ = opened(many, tmp_path / "a.bundle", budget_ms=0.001)
    assert len(bundle.manifest.sights) == 1
    assert bundle.manifest.backbone.input_size == (32, 64)


@pytest.mark.usefixtures("areas")
def test_other_methods_have_one_size_with_the_aspect_of_the_frames(many: Path, tmp_path: Path) -> None:
    bundle, text = opened(many, tmp_path / "a.bundle", method="padim")
    assert bundle.manifest.backbone.input_size == (32, 64)
    assert "tried" not in text


def test_options() -> None:
    assert parse_options(["part", "--quick"]).effort == "quick"
    assert parse_options(["part", "--thorough"]).effort == "thorough"
    assert parse_options(["part"]).input_size is None
    with pytest.raises(SystemExit):
        parse_options(["part", "--quick", "--thorough"])
    with pytest.raises(SpecError, match="--second-size joins"):
        replace(Options("part"), second_size=(64, 64))
    with pytest.raises(SpecError, match="--budget-ms"):
        replace(Options("part"), budget_ms=0.0)
