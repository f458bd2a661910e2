"""The picture as it should be, from the second output of a bundle's graph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.serving.reconstruct import Reconstructor
from tests.edited import edited, read
from tests.tiny import SIZE, bad_frame, good_frame, picture


def test_it_is_the_size_of_the_frame_and_repairs_it(autoencoder: Path, engine: str, tmp_path: Path) -> None:
    reconstruct = Reconstructor(autoencoder, engine=engine)
    path = picture(tmp_path / "bad.png", cv2.resize(bad_frame(7), (2 * SIZE, 2 * SIZE)))
    found = reconstruct(path)
    assert found.shape == (2 * SIZE, 2 * SIZE, 3)
    assert found.dtype == np.uint8
    good = cv2.resize(good_frame(7), (2 * SIZE, 2 * SIZE)).astype(float)
    spoilt = np.abs(cv2.imread(str(path)).astype(float) - good).max(axis=2) > 60
    assert np.abs(found - good)[spoilt].mean() < np.abs(cv2.imread(str(path)) - good)[spoilt].mean()


def test_both_engines_give_the_same(autoencoder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    path = picture(tmp_path / "a.png", good_frame(7))
    one, other = (Reconstructor(autoencoder, engine=name)(path) for name in ("openvino", "onnxruntime"))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_a_bundle_that_reconstructs_nothing(golden: Path) -> None:
    with pytest.raises(SpecError, match="PatchCore reconstructs nothing; expected a bundle of autoencoder"):
        Reconstructor(golden)


def test_a_model_without_a_reconstruction_is_an_error(autoencoder: Path, golden: Path, tmp_path: Path) -> None:
    """A model of one output in its place, and one whose second output is another."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(read(autoencoder)[1]["model.onnx"])
    del model.graph.output[1]
    gone = {"model.xml": None, "model.bin": None} if "model.xml" in read(autoencoder)[1] else {}
    path = picture(tmp_path / "a.png", good_frame(7))
    single = edited(autoencoder, tmp_path / "x.bundle", {"model.onnx": model.SerializeToString(), **gone})
    with pytest.raises(EdgeADError):
        Reconstructor(single, engine="onnxruntime")
    model = onnx.load_from_string(read(autoencoder)[1]["model.onnx"])
    model.graph.output[1].CopyFrom(model.graph.output[0])
    twice = edited(autoencoder, tmp_path / "y.bundle", {"model.onnx": model.SerializeToString(), **gone})
    with pytest.raises(EdgeADError):
        Reconstructor(twice, engine="onnxruntime")(path)
