"""The images of an export: their layouts, depths, sizes and count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import DatasetError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.export.made import Export, goods, write  # noqa: E402
from tests.tiny import SIZE, bad_frame, good_frame, tiny_options  # noqa: E402


def test_flat_and_btad_layouts(export: Export, tmp_path: Path) -> None:
    flat = Bundle.open(export(category=str(write(tmp_path / "flat", goods()))))
    assert flat.manifest.name == "flat"
    btad = tmp_path / "01"
    write(btad / "train" / "ok", {f"{i}.bmp": good_frame(i) for i in range(8)})
    write(btad / "test" / "ok", {"0.bmp": good_frame(50)})
    write(btad / "test" / "ko", {f"{i}.png": bad_frame(60 + i) for i in range(3)})
    found = Bundle.open(export(category=str(btad), rule="f1"))
    assert len(found.manifest.calibration.defect_scores) == 3
    np.testing.assert_array_equal(flat.array("coreset"), found.array("coreset"))  # the same good images


def test_a_name_under_data(export: Export, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Runtime(export(category="part", data=tiny)).manifest.name == "part"
    monkeypatch.setenv("EDGE_AD_DATA", str(tiny))
    monkeypatch.chdir(tmp_path)
    assert export(category="part", out=None) == Path("part.bundle")
    assert (tmp_path / "part.bundle").is_file()


def test_a_typo_in_the_category(export: Export, tiny: Path) -> None:
    with pytest.raises(DatasetError, match=r"Did you mean \S*part\?"):
        export(category="prat", data=tiny)


def test_grey_images(export: Export, tmp_path: Path) -> None:
    grey = write(tmp_path / "grey", {name: frame[:, :, 1] for name, frame in goods().items()})
    runtime = Runtime(export(category=str(grey)))
    frame = good_frame(50)[:, :, 1].copy()
    assert runtime.inspect(frame).score == runtime.inspect(np.stack([frame] * 3, axis=2)).score
    assert runtime.inspect(frame).score < runtime.inspect(bad_frame(50)[:, :, 1].copy()).score


def test_16_bit_images(export: Export, tmp_path: Path) -> None:
    scale = 4095 / 255
    deep = {name: np.rint(frame[:, :, 1] * scale).astype(np.uint16) for name, frame in goods().items()}
    path = export(category=str(write(tmp_path / "deep", deep)), white_level=4095)
    runtime = Runtime(path)
    assert (runtime.manifest.frame.bit_depth, runtime.manifest.frame.white_level) == (16, 4095)
    good, bad = (np.rint(make(50)[:, :, 1] * scale).astype(np.uint16) for make in (good_frame, bad_frame))
    assert not runtime.inspect(good).is_anomalous
    assert runtime.inspect(bad).is_anomalous
    with pytest.raises(SpecError, match="--bit-depth 8"):
        export(category=str(tmp_path / "deep"), bit_depth=8)


def test_a_white_level_that_does_not_fit_is_noted(tiny: Path, tmp_path: Path) -> None:
    deep = {name: np.rint(frame * (4095 / 255)).astype(np.uint16) for name, frame in goods().items()}
    options = tiny_options(tiny, category=str(write(tmp_path / "deep", deep)), out=tmp_path / "o.bundle", to="onnx")
    assert ("note", 1) in [(name, text.count("--white-level 4095")) for name, text in export_bundle(options).lines]


def test_mixed_sizes(export: Export, tmp_path: Path) -> None:
    mixed = {f"{i}.png": good_frame(i, SIZE * (1 + i % 3)) for i in range(9)}
    runtime = Runtime(export(category=str(write(tmp_path / "mixed", mixed))))
    assert runtime.manifest.frame.size is None
    assert runtime.inspect(good_frame(50, 150)).anomaly_map.shape == (150, 150)
    with pytest.raises(DatasetError, match="one size"):
        export(category=str(tmp_path / "mixed"), roi="1,1,40,40")


def test_rgb_is_declared(export: Export) -> None:
    runtime = Runtime(export(color_order="rgb"))
    frame = good_frame(5)
    assert not runtime.inspect(frame[:, :, ::-1]).is_anomalous
    assert runtime.inspect(frame).score > 2 * runtime.inspect(frame[:, :, ::-1]).score


@pytest.mark.parametrize(("count", "says"), [(0, "no good images"), (1, "too few good images")])
def test_too_few_images(export: Export, tmp_path: Path, count: int, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        export(category=str(write(tmp_path / "few", goods(count))))


def test_two_images_are_enough(export: Export, tmp_path: Path) -> None:
    runtime = Runtime(export(category=str(write(tmp_path / "two", goods(2)))))
    assert len(runtime.manifest.calibration.good_scores) == 2


def test_a_truncated_image_is_named(export: Export, tmp_path: Path) -> None:
    folder = write(tmp_path / "cut", goods())
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"3\.png") as caught:
        export(category=str(folder))
    assert "--skip-bad" in str(caught.value)
    assert Runtime(export(category=str(folder), skip_bad=True)).manifest.index.patches == 7 * 256


def test_nothing_but_copies(export: Export, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"good images are all the same.*different good parts"):
        export(category=str(write(tmp_path / "copies", {f"{i}.png": good_frame(0) for i in range(6)})))


def test_even_images_do_not_hang(export: Export, tmp_path: Path) -> None:
    """All patches of an image are alike: the coreset ends where only duplicates are left."""
    even = {f"{i}.png": np.full((SIZE, SIZE, 3), 100 + i, np.uint8) for i in range(6)}
    with Bundle.open(export(category=str(write(tmp_path / "even", even)), coreset=1.0)) as bundle:
        assert bundle.manifest.index.size < bundle.manifest.index.patches
        assert len(np.unique(bundle.array("coreset"), axis=0)) == bundle.manifest.index.size


@pytest.mark.parametrize("fraction", [1.0, 1e-6])
def test_coreset_of_all_and_of_one(export: Export, fraction: float) -> None:
    path = export(coreset=fraction)
    runtime = Runtime(path)
    assert runtime.manifest.index.size == (12 * 256 if fraction == 1 else 1)
    assert runtime.inspect(bad_frame(1)).score > 0
    graph = Runtime(path, search="graph")
    assert graph.inspect(bad_frame(1)).score == runtime.inspect(bad_frame(1)).score
