"""`python -m export --input photometric`: bundles whose frames are stacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import Runtime
from edge_ad.cli import main
from edge_ad.data.layouts import load_category
from edge_ad.errors import DatasetError, EdgeADError, FrameError, SpecError
from export.command_line import parse_options
from export.pipeline import export_bundle
from tests.frames.photometric.made import write_stack
from tests.stacks import stack, stack_options, write_stacks
from tests.tiny import write_backbone


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    write_stacks(folder / "part", goods=16)
    write_backbone(folder / "backbone.onnx")
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "padim", "normals": "least_squares"},
        {"method": "spade", "color_order": "rgb"},
        {"method": "knn", "second_size": (48, 48)},
        {"method": "centroid", "to": "openvino"},
        {"roi": "8,8,56,56", "halo": 4},
        {"tiles": (32, 32), "input_size": None},
        {"points": ("f32", "int8"), "to": "onnx"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_every_method(made: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    if "points" in changes:
        pytest.importorskip("onnxruntime", reason="int8 of ONNX Runtime needs it")
    out = tmp_path / "part.bundle"
    summary = export_bundle(stack_options(made, out=out, **changes))
    runtime = Runtime(out, self_check=True)
    assert runtime.manifest.frame.stack is not None
    assert runtime.manifest.frame.stack.method == changes.get("normals", "robust")
    assert runtime.manifest.backbone.resize == "area"
    assert runtime.manifest.power is None
    for point in runtime.manifest.point_names[1:]:
        Runtime(out, point=point, self_check=True)
    good, bad = runtime.inspect(stack(4000)), runtime.inspect(stack(4001, dent=True))
    assert bad.score > good.score
    assert "6 lights, normals" in str(summary)


def test_calibrate_and_evaluate(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "part.bundle"
    export_bundle(stack_options(made, out=out))
    again = tmp_path / "again.bundle"
    assert main(["calibrate", str(out), "--data", str(made / "part"), "--out", str(again)]) == 0
    assert Runtime(again).manifest.calibration.source is not None
    results = tmp_path / "results"
    assert main(["eval", str(out), "--data", str(made / "part"), "--out", str(results), "--no-report"]) == 0
    assert {path.suffix for path in results.rglob("*") if path.is_file()} >= {".csv", ".png"}
    assert main(["teach", str(out), str(made / "part" / "test" / "good" / "000")]) == 2
    assert "takes no stacks" in capsys.readouterr().err


def test_an_ambient_picture(tmp_path: Path) -> None:
    around = np.tile(np.arange(64, dtype=np.uint8) // 2, (64, 1))
    for i in range(4):
        pictures = [picture // 2 + around for picture in stack(i)]
        names = [f"{n}.png" for n in range(6)]
        write_stack(tmp_path / "part" / "train" / "good" / f"{i}", [*pictures, around], [*names, "ambient.png"])
    write_stacks(tmp_path / "other", goods=2)
    write_backbone(tmp_path / "backbone.onnx")
    out = tmp_path / "part.bundle"
    export_bundle(stack_options(tmp_path, out=out, ambient=True))
    runtime = Runtime(out, self_check=True)
    plain = np.stack([*(picture // 2 + around for picture in stack(9)), around])
    assert runtime.inspect(plain).score == pytest.approx(runtime.inspect(stack_folder(tmp_path, plain)).score)
    with pytest.raises(FrameError, match="expected 7 pictures"):
        runtime.inspect(stack(9))


def stack_folder(root: Path, pictures: Any) -> Path:
    return write_stack(root / "one", list(pictures), [*(f"{n}.png" for n in range(6)), "ambient.png"])


def test_stacks_that_do_not_fit(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    for i in range(4):
        write_stack(folder / "train" / "good" / f"{i}", list(stack(i)))
    write_backbone(tmp_path / "backbone.onnx")
    options = {"lights": made / "lights.json"}
    for name, text in (("gone.json", "cannot read"), ("backbone.onnx", "holds no lights")):
        with pytest.raises(EdgeADError, match=text):
            export_bundle(stack_options(tmp_path, lights=tmp_path / name))
    cv2.imwrite(str(folder / "train" / "good" / "2" / "03.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(FrameError, match=r"picture 4 of .*2 is dark"):
        export_bundle(stack_options(tmp_path, **options))
    cv2.imwrite(str(folder / "train" / "good" / "2" / "03.png"), np.zeros((32, 64), np.uint8))
    with pytest.raises(DatasetError, match="several sizes"):
        export_bundle(stack_options(tmp_path, **options))
    (folder / "train" / "good" / "2" / "03.png").unlink()
    with pytest.raises(FrameError, match="2 is incomplete"):
        export_bundle(stack_options(tmp_path, **options))
    with pytest.raises(DatasetError, match="there are no stacks"):
        load_category(folder / "train" / "good" / "1", stacks=True)


def test_a_capture_without_pictures_is_an_error(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_bundle(stack_options(made, out=tmp_path / "part.bundle"))
    captures = tmp_path / "captures"
    stack_folder(captures / "1", stack(1))
    (captures / "line 2" / "7").mkdir(parents=True)
    (captures / "line 2" / "7" / "log.txt").write_text("the camera gave nothing")
    (captures / ".hidden").mkdir()
    assert main(["inspect", str(tmp_path / "part.bundle"), str(captures)]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("1/one ")
    assert "7 is incomplete; expected 6 pictures, in the order of the lights; got 0" in shown.err
    assert shown.err.count("incomplete") == 1
    write_stacks(tmp_path / "part", goods=3, tests=1)
    write_backbone(tmp_path / "backbone.onnx")
    (tmp_path / "part" / "train" / "good" / "9").mkdir()
    with pytest.raises(EdgeADError, match="9 has pictures of several sizes or depths, or none"):
        export_bundle(stack_options(tmp_path, out=tmp_path / "again.bundle"))


def test_views_and_collections(made: Path, tmp_path: Path) -> None:
    export_bundle(stack_options(made, out=tmp_path / "part.bundle"))
    runtime, given = Runtime(tmp_path / "part.bundle"), stack(3, size=128)
    every_second = given[:, ::2, ::2]
    assert runtime.inspect(every_second).score == runtime.inspect(every_second.copy()).score
    mirrored = given[:, :, ::-1]
    assert runtime.inspect(list(mirrored)).score == runtime.inspect(mirrored.copy()).score
    colours = np.repeat(given[..., None], 3, axis=3)[..., ::-1]
    assert runtime.inspect(colours).score == runtime.inspect(colours.copy()).score
    folder = stack_folder(tmp_path, given)
    files = [str(folder / f"{i}.png") for i in range(6)]
    for unordered in (set(files), frozenset(files), dict.fromkeys(files)):
        with pytest.raises(FrameError, match="is no stack of pictures"):
            runtime.inspect(unordered)  # type: ignore[arg-type]
    (folder / "5.png").rename(folder / "ambient.png")
    with pytest.raises(FrameError, match=r"has a picture without the lights.*ambient\.png"):
        runtime.inspect(folder)


def test_no_output_replaces_a_picture_of_a_stack(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = made / "part" / "test" / "good" / "001" / "03.png"
    before = picture.read_bytes()
    with pytest.raises(SpecError, match="--out would replace a test image"):
        export_bundle(stack_options(made, out=picture))
    bundle = made / "once.bundle"
    export_bundle(stack_options(made, out=bundle))
    given = ["calibrate", str(bundle), "--data", str(made / "part"), "--out", str(picture), "--force"]
    assert main(given) == 2
    assert "--out would replace an image" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_options() -> None:
    given = parse_options(
        ["x", "--input", "photometric", "--lights", "l.json", "--normals", "least_squares", "--ambient"]
    )
    assert (given.input, given.lights, given.normals, given.ambient) == (
        "photometric",
        Path("l.json"),
        "least_squares",
        True,
    )
    for wrong in (["--input", "photometric"], ["--lights", "l.json"], ["--ambient"]):
        with pytest.raises(SpecError):
            parse_options(["x", *wrong])
    with pytest.raises(SpecError, match="area averages"):
        parse_options(["x", "--input", "photometric", "--lights", "l.json", "--resize", "bicubic"])
