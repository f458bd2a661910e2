"""--method autoencoder through the whole export: what it holds out, refuses, keeps and removes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.errors import BackboneError, EngineUnavailableError, SpecError
from edge_ad.serving.reconstruct import Reconstructor
from export.fit.autoencoder import PRIOR, statistics
from export.options import Options
from export.pipeline import export_bundle
from tests.tiny import autoencoder_options, bad_frame, good_frame

HELD_OUT = [int(number) for number in np.sort(np.random.default_rng(0).permutation(12)[:2])]


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny category with an autoencoder that was trained for a moment."""
    pytest.importorskip("torch", reason="its network is trained by torch")
    return export_bundle(autoencoder_options(tiny, out=tmp_path_factory.mktemp("own") / "own.bundle")).bundle


class Around:
    """Every place is alone."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values


def test_usual_errors_and_their_deviations() -> None:
    errors = np.random.default_rng(0).uniform(0, 1, (6, 5, 2)).astype(np.float32)
    images = np.array([0, 2, 3, 5])
    usual, spread = statistics(errors, images, Around())  # type: ignore[arg-type]
    own = errors[images].astype(np.float64)
    np.testing.assert_allclose(usual, own.mean(axis=0), rtol=1e-5)
    overall = own.reshape(-1, 2).var(axis=0)
    np.testing.assert_allclose(spread, np.sqrt(own.var(axis=0) + PRIOR * overall), rtol=1e-4)


def test_places_without_errors_have_a_deviation() -> None:
    usual, spread = statistics(np.zeros((3, 4, 2), np.float32), np.arange(3), Around())  # type: ignore[arg-type]
    assert not usual.any()
    assert (spread > 0).all()


@pytest.mark.torch
def test_the_threshold_comes_from_images_that_the_network_has_not_seen(trained: Path, tiny: Path) -> None:
    runtime = Runtime(trained, threads=1, self_check=True)
    calibration = runtime.manifest.calibration
    assert calibration.split == "split 17%"
    paths = [tiny / f"part/train/good/{number:03d}.png" for number in HELD_OUT]
    wanted = [runtime.inspect(path).score for path in paths]
    np.testing.assert_allclose(calibration.good_scores, wanted, rtol=1e-4)
    assert "40 steps on 10 good images" in runtime.manifest.backbone.weights
    bad, good = bad_frame(6000), good_frame(6000)
    assert runtime.inspect(bad).score > 2 * runtime.inspect(good).score


@pytest.mark.torch
def test_a_part_that_moves_is_followed(tiny: Path, tmp_path: Path) -> None:
    options = autoencoder_options(tiny, out=tmp_path / "x.bundle", steps=10, align="shift")
    path = export_bundle(options).bundle
    frame = np.roll(good_frame(6000), (3, -2), axis=(0, 1))
    verdict = Runtime(path, threads=1, self_check=True).inspect(frame)
    assert verdict.found
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    picture = Reconstructor(path)(tmp_path / "a.png")
    assert picture.shape == frame.shape
    assert (picture != frame).any()


@pytest.mark.torch
def test_a_stopped_export_goes_on_and_gives_the_same_bundle(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With more steps between two checkpoints than there are, it begins anew; so those of the test are closer."""
    import export.autoencoder.network as network
    from export.autoencoder.training import Training

    made, advance = network.Recipe, Training.advance
    monkeypatch.setattr(network, "Recipe", lambda *given: made(*given, every=5))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    out = tmp_path / "x.bundle"
    options = autoencoder_options(tiny, out=out, steps=15)

    def stopped(self: Training, batch: Any) -> None:
        if self.step == 12:
            raise KeyboardInterrupt
        advance(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            export_bundle(options)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bundle.ckpt"]
    export_bundle(options)
    assert f"the training goes on from step 10: {out}.ckpt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.bundle"]
    whole = export_bundle(autoencoder_options(tiny, out=tmp_path / "whole.bundle", steps=15)).bundle
    assert out.read_bytes() == whole.read_bytes()


@pytest.mark.torch
def test_a_file_in_the_place_of_the_checkpoint_stays(tiny: Path, tmp_path: Path) -> None:
    notes = tmp_path / "x.bundle.ckpt"
    notes.write_text("my own notes")
    with pytest.raises(BackboneError, match="cannot read the checkpoint"):
        export_bundle(autoencoder_options(tiny, out=tmp_path / "x.bundle"))
    assert notes.read_text() == "my own notes"
    assert [*tmp_path.iterdir()] == [notes]


@pytest.mark.torch
def test_a_checkpoint_that_cannot_be_written_is_told_at_once(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / ("x" * 248 + ".bundle")  # the longest name: with .ckpt it is too long
    with pytest.raises(SpecError, match=r"--out \(its checkpoint\) .* cannot be written.*Give another --out"):
        export_bundle(autoencoder_options(tiny, out=out))


@pytest.mark.torch
def test_a_region_and_grey_frames(tiny: Path, tmp_path: Path, engine: str) -> None:
    options = autoencoder_options(tiny, out=tmp_path / "x.bundle", steps=20, roi="16,16,48,48", halo=0)
    runtime = Runtime(export_bundle(options).bundle, engine=engine, self_check=True, threads=1)  # type: ignore[arg-type]
    assert runtime.manifest.backbone.tensor_size == (32, 32)
    frame = good_frame(9)
    before = runtime.inspect(frame).score
    frame[50:, 50:] = 255
    assert runtime.inspect(frame).score == before
    assert runtime.inspect(bad_frame(9)).score > before
    assert runtime.inspect(bad_frame(9)[..., 0]).anomaly_map.shape == (64, 64)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone": "resnet18"}, "--backbone is not for --method autoencoder: it trains a network of its own"),
        ({"weights": Path("w.pth")}, "--weights is not for --method autoencoder"),
        ({"layers": ("a", "b")}, "--layers is not for --method autoencoder"),
        ({"mean": (0.0, 0.0, 0.0)}, "--mean is not for --method autoencoder"),
        ({"prefix_tokens": 1}, "--prefix-tokens is not for --method autoencoder"),
        ({"input_size": (64, 64), "second_size": (96, 96)}, "--second-size is not for .* one network, for one input"),
        ({"input_size": (64, 64), "more_sizes": ((96, 96),)}, "--input-size is not for .*; expected one --input-size"),
        ({"calibration": "crossfit"}, "--calibration is not for .*: each fold would take a training"),
        ({"points": ("f32", "int8")}, "--points is not for .*: its errors are small .*; expected no --points f32,int8"),
        ({"distance": "cosine"}, "--distance cosine is for --method"),
        ({"tiles": (64, 64)}, "autoencoder does not work on tiles; expected --method patchcore or knn"),
        ({"steps": 0}, "--steps is out of range; expected 1..1000000; got 0"),
        ({"width": 3}, "--width is out of range"),
        ({"spoilt": 1.5}, "--spoilt is out of range"),
    ],
)
def test_what_it_does_not_have_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Options("part", method="autoencoder", **changes)


@pytest.mark.torch
def test_a_size_that_the_network_does_not_take(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"each a multiple of 16; got \(60, 64\)\. Give an --input-size .* 64,64"):
        export_bundle(autoencoder_options(tiny, out=tmp_path / "x.bundle", input_size=(60, 64)))
    assert [*tmp_path.iterdir()] == []


def test_without_torch_the_remedy_is_named(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import export.plan

    real = importlib.util.find_spec
    monkeypatch.setattr(export.plan, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(EngineUnavailableError, match=r"takes torch.*pip install 'edge-ad\[export\]'.*another --method"):
        export_bundle(autoencoder_options(tiny, out=tmp_path / "x.bundle"))
    assert [*tmp_path.iterdir()] == []


def test_a_bundle_of_it_cannot_be_taught(autoencoder: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_ad.cli import main

    assert main(["teach", str(autoencoder), str(tiny / "part/test/good")]) == 2
    assert "a bundle of the method autoencoder cannot learn from more images" in capsys.readouterr().err


@pytest.mark.torch
def test_without_an_input_size_the_pictures_are_small(tmp_path: Path) -> None:
    """And keep their shape."""
    from tests.tiny import picture

    for number in range(8):
        wide = np.hstack([good_frame(number, 128), good_frame(number + 10, 128)])
        picture(tmp_path / f"wide/{number}.png", wide)
    changes = {"category": str(tmp_path / "wide"), "input_size": None, "steps": 1}
    options = autoencoder_options(tmp_path, out=tmp_path / "x.bundle", **changes)
    with Bundle.open(export_bundle(options).bundle) as bundle:
        assert bundle.manifest.backbone.input_size == (96, 176)


@pytest.mark.torch
def test_stacks_of_pictures_under_several_lights(tmp_path: Path) -> None:
    """Their normal maps are learned; a dent stands out, and the reconstruction is a picture of normals."""
    from tests.stacks import stack, stack_options, write_stacks

    write_stacks(tmp_path / "part")
    own = {"method": "autoencoder", "backbone": None, "layers": None, "threads": 1, "steps": 30, "width": 6}
    path = export_bundle(stack_options(tmp_path, out=tmp_path / "x.bundle", to="onnx", **own)).bundle
    runtime = Runtime(path, threads=1, self_check=True)
    assert runtime.inspect(stack(9002, dent=True)).score > runtime.inspect(stack(9000)).score
    frame = next(iter(sorted((tmp_path / "part/test/good").iterdir())))
    assert Reconstructor(path)(frame).shape == (*stack(9000).shape[1:3], 3)
