"""The export measures its good images for the drift monitor; teaching adds to them, calibrating keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad.bundle.drift import Reference, open_drift
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.frames.check import read_frame
from export.drift import MOST_IMAGES
from export.pipeline import export_bundle
from tests.tiny import good_frame, picture, tiny_options, write_material


def reference(path: Path) -> Reference:
    with Bundle.open(path) as bundle:
        found = open_drift(bundle)
    assert found is not None
    return found


def test_the_good_images_are_measured(tmp_path: Path) -> None:
    folder = write_material(tmp_path, tests=2)
    export_bundle(tiny_options(folder, roi="10,10,54,54", align="similarity"))
    found = reference(folder / "part.bundle")
    names = {"brightness", "sharpness", "blue", "red", "shift_y", "shift_x", "turn", "scale"}
    assert found.values.keys() == names
    assert {len(values) for values in found.values.values()} == {12}
    images = [read_frame(path) for path in sorted((folder / "part/train/good").iterdir())]
    assert any(np.array_equal(found.then, image) for image in images)


def test_teaching_adds_and_calibrating_keeps(tmp_path: Path) -> None:
    folder = write_material(tmp_path, tests=4)
    export_bundle(tiny_options(folder))
    first = reference(folder / "part.bundle")
    again = folder / "again.bundle"
    assert main(["calibrate", str(folder / "part.bundle"), "--data", str(folder / "part"), "--out", str(again)]) == 0
    np.testing.assert_array_equal(reference(again).values["brightness"], first.values["brightness"])
    for at in range(3):
        picture(folder / "more" / f"{at}.png", good_frame(500 + at) // 2)
    taught = folder / "taught.bundle"
    assert main(["teach", str(folder / "part.bundle"), str(folder / "more"), "--out", str(taught)]) == 0
    more = reference(taught)
    assert len(more.values["brightness"]) == 15
    assert more.values["brightness"][-3:].max() < first.values["brightness"].min()
    np.testing.assert_array_equal(more.then, first.then)


def test_so_many_images_at_most(tmp_path: Path) -> None:
    folder = write_material(tmp_path, goods=MOST_IMAGES + 20, tests=1)
    export_bundle(tiny_options(folder))
    assert {len(values) for values in reference(folder / "part.bundle").values.values()} == {MOST_IMAGES}
