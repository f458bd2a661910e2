"""`--tiles`: what is asked, what is refused, and what an export in tiles learns from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import FrameError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.frames.crop import Crop  # noqa: E402
from edge_ad.heads.base import Found, Scored  # noqa: E402
from edge_ad.heads.patchcore import PatchCore  # noqa: E402
from edge_ad.registry import METHODS  # noqa: E402
from edge_ad.spec import TilesSpec  # noqa: E402
from export import tiles  # noqa: E402
from export.choose.evidence import LEAST_FOR_TRIAL  # noqa: E402
from export.command_line import parse_options  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from export.summary import Summary  # noqa: E402
from export.tiles import Reach, border_reach, sample_numbers, sample_size  # noqa: E402
from tests.tiny import WITH_BACKBONE, good_frame, picture, tiny_options, write_category, write_material  # noqa: E402

SIDE = 160
Export = Callable[..., Summary]

pytestmark = pytest.mark.skipif("onnxruntime" not in installed_engines(), reason="needs ONNX Runtime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("tiles"), goods=6, tests=2, size=SIDE)


@pytest.fixture
def export(folder: Path, tmp_path: Path) -> Export:
    def run(**changes: Any) -> Summary:
        given = {"input_size": None, "to": "onnx", "out": tmp_path / "part.bundle", "tiles": (64, 64), **changes}
        return export_bundle(tiny_options(folder, **given))

    return run


def said(summary: Summary, name: str) -> list[str]:
    return [text for label, text in summary.lines if label == name]


# ------------------------------------------------------------------------------------------------- what is asked


def test_the_command_line_takes_tiles() -> None:
    assert parse_options(["cable", "--tiles", "512,640"]).tiles == (512, 640)
    assert parse_options(["cable", "--tiles", "512,640,64"]).tiles == (512, 640, 64)
    assert parse_options(["cable"]).tiles is None


@pytest.mark.parametrize("text", ["512", "512x512", "-64,64", "64,64,-8", "64,64,8,8", "a,b", ""])
def test_the_command_line_refuses_what_are_no_tiles(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse_options(["cable", f"--tiles={text}"])
    assert stop.value.code == 2
    assert "give H,W or H,W,overlap in pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((0, 64), "--tiles is out of range; expected H,W or H,W,overlap in pixels, H and W each 16..4096"),
        ((64, 5000), "--tiles is out of range"),
        ((64, 64, -8), "--tiles is out of range"),
        ((64,), "--tiles is out of range"),
        (("64", "64"), "--tiles is out of range"),
        ((64, 64.0), "--tiles is out of range"),
        ((64, 48, 48), "the overlap of --tiles is as large as a tile; expected less than 48; got 48"),
        ((64, 168), r"--tiles is larger than the picture that it cuts; expected \(H, W\) within \(160, 160\)"),
        ((60, 64), "--tiles does not fit the network; expected H and W that are multiples of its stride 8"),
        ((64, 50), "--tiles does not fit the network; expected H and W that are multiples of its stride 8"),
        ((64, 64, 12), "the overlap of --tiles does not fit the network; expected a multiple of its stride 8"),
    ],
)
def test_tiles_that_cannot_be_are_refused(export: Export, asked: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        export(tiles=asked)


@pytest.mark.parametrize("method", [name for name in WITH_BACKBONE if not METHODS[name].tiles])
def test_a_method_that_is_bound_to_a_position_or_a_whole_frame_is_refused_by_name(method: str, export: Export) -> None:
    with pytest.raises(SpecError, match=f"{method} does not work on tiles; expected --method patchcore or knn"):
        export(method=method)


def test_images_of_several_sizes_need_an_input_size(folder: Path, tmp_path: Path) -> None:
    for i, size in enumerate((SIDE, SIDE + 10, SIDE)):
        picture(tmp_path / "mixed" / "train" / "good" / f"{i}.png", good_frame(i, size))
    given: dict[str, Any] = {"category": str(tmp_path / "mixed"), "to": "onnx", "out": tmp_path / "x.bundle"}
    with pytest.raises(SpecError, match=r"--tiles needs images of one size.*--input-size"):
        export_bundle(tiny_options(folder, **given, tiles=(64, 64), input_size=None))
    summary = export_bundle(tiny_options(folder, **given, tiles=(64, 64), input_size=(96, 96)))
    assert "in 96 x 96" in said(summary, "tiles")[0]


def test_a_size_that_no_engine_takes_whole_needs_tiles(folder: Path, tmp_path: Path) -> None:
    large = np.zeros((64, 4160, 3), np.uint8)
    for i in range(3):
        row = np.tile(good_frame(i, 64), (1, 65, 1))
        picture(tmp_path / "wide" / "train" / "good" / f"{i}.png", row)
        assert row.shape == large.shape
    given: dict[str, Any] = {"category": str(tmp_path / "wide"), "to": "onnx", "out": tmp_path / "x.bundle"}
    with pytest.raises(SpecError, match=r"--input-size is out of range; expected different \(H, W\), each 16..4096"):
        export_bundle(tiny_options(folder, **given, input_size=(64, 4160)))
    bundle = export_bundle(tiny_options(folder, **given, input_size=None, tiles=(64, 512))).bundle
    runtime = Runtime(bundle, self_check=True)
    assert runtime.manifest.backbone.input_size == (64, 4160)
    frame = np.tile(good_frame(9, 64), (1, 65, 1))
    assert not runtime.inspect(frame).is_anomalous
    frame[30:36, 3001:3007] = (0, 0, 255)
    verdict = runtime.inspect(frame)
    assert verdict.is_anomalous
    y, x = verdict.regions[0].peak_at
    assert abs(y - 33) <= 8
    assert abs(x - 3004) <= 8


def test_a_frame_too_small_to_inspect_is_refused_as_ever(export: Export) -> None:
    runtime = Runtime(export().bundle)
    with pytest.raises(FrameError, match="a size that cannot be inspected"):
        runtime.inspect(np.zeros((8, 8, 3), np.uint8))


# ------------------------------------------------------------------------------------------- what is learnt from


def test_the_summary_tells_of_tiles_and_of_the_sample(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SAMPLE_PATCHES", 600)
    summary = export()
    (told,) = said(summary, "tiles")
    assert told.startswith("9 tiles of 64 x 64 in 160 x 160, overlap 16 px: at a seam a patch differs by ")
    assert said(summary, "sample") == ["100 of 1,600 patches of each image, by chance"]
    with Bundle.open(summary.bundle) as bundle:
        manifest = bundle.manifest
    assert manifest.index is not None
    assert manifest.index.patches == 600
    assert manifest.index.graph is None
    assert len(manifest.calibration.good_scores) == 6
    assert said(summary, "choice") == []
    assert " ms a frame, measured here with " in said(summary, "time")[0]


def test_nothing_is_tried_on_tiles(tmp_path: Path) -> None:
    """A trial looks at whole frames, which the engine of a tile refuses."""
    many = write_material(tmp_path / "many", goods=LEAST_FOR_TRIAL, tests=2, size=96)
    given = {"input_size": None, "tiles": (64, 64), "local_scale": None, "smooth": None, "effort": "usual"}
    summary = export_bundle(tiny_options(many, to="onnx", out=tmp_path / "part.bundle", **given))
    assert said(summary, "choice")[0].startswith("nothing was tried, as trials look at whole frames")


def test_one_tile_as_large_as_the_frame_is_an_export_without_tiles(export: Export, tmp_path: Path) -> None:
    given = {"local_scale": 0.5, "smooth": 0.7, "graph": False, "effort": "usual"}
    tiled = export(tiles=(SIDE, SIDE), out=tmp_path / "tiled.bundle", **given).bundle
    whole = export(tiles=None, input_size=(SIDE, SIDE), out=tmp_path / "whole.bundle", **given).bundle
    with Bundle.open(tiled) as a, Bundle.open(whole) as b:
        assert a.manifest.calibration == b.manifest.calibration
        assert a.manifest.power == b.manifest.power
        for name in ("coreset", "coreset/scale", "probes/distances", "probes/maps", "probes/scores"):
            np.testing.assert_array_equal(a.array(name), b.array(name))


def test_held_out_images_are_scored_by_all_their_patches(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by the sample that the method learns from: the largest of fewer distances would be less."""
    monkeypatch.setattr(tiles, "SAMPLE_PATCHES", 600)
    counts = []
    judge = PatchCore.judge

    def spied(self: PatchCore, found: Found, vector: Any, rows: Any = None) -> Scored:
        counts.append(len(found[0]))
        return judge(self, found, vector, rows)

    monkeypatch.setattr(PatchCore, "judge", spied)
    export()
    assert set(counts) == {1600}
    assert len(counts) >= 6


def test_power_is_the_same_as_if_every_tile_were_looked_at_again(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Bundle.open(export(effort="usual").bundle) as bundle:
        power = bundle.manifest.power
    assert power is not None
    assert len(power.scores) > 100
    from edge_ad.frames.tiles import Tile

    monkeypatch.setattr(Tile, "same", lambda self, a, b: False)
    with Bundle.open(export(effort="usual").bundle) as bundle:
        assert bundle.manifest.power == power


def test_a_sample_is_bounded_and_seeded() -> None:
    assert sample_size(10, 100, 24) == 100
    assert sample_size(10, 10**6, 24) == tiles.SAMPLE_PATCHES // 10
    assert sample_size(10, 10**6, 2**14) == tiles.SAMPLE_BYTES // 2**16 // 10
    assert sample_size(10**6, 10**6, 24) == 64
    first, second = sample_numbers(0, 2, 1000, 50)
    assert len(set(first.tolist())) == 50
    assert first.max() < 1000
    assert (np.diff(first) > 0).all()
    assert first.tolist() != second.tolist()
    assert first.tolist() == sample_numbers(0, 2, 1000, 50)[0].tolist()


class Framed:
    """An engine whose patches are the mean colour of cells of 8 pixels; cells less than `reach` from the border of the
    tile are off by 1."""

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        cells = cv2.resize(tensor[0].astype(np.float32), None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
        off = np.ones(cells.shape[:2], np.bool_)
        r = self.reach
        off[r : off.shape[0] - r, r : off.shape[1] - r] = False
        cells[off] += 1
        return cells.reshape(-1, 3)


@pytest.mark.parametrize("reach", [0, 1, 3])
@pytest.mark.parametrize("size", [(256, 256), (192, 300), (128, 128)])
def test_the_reach_of_a_border_is_measured(reach: int, size: tuple[int, int]) -> None:
    spec = TilesSpec((128, 128), 8, 8, 8)
    tensor = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    found = border_reach(Framed(reach), spec, tensor)  # type: ignore[arg-type]
    apart = np.array(found.apart)
    assert len(apart) == 4  # of the 8 x 8 patches that two tiles share
    assert (apart[:reach] > 1e-3).all()
    assert (apart[reach:] == 0).all()


def test_the_usual_overlap_is_the_least_that_hides_the_border() -> None:
    reach = Reach((1.0, 0.3, 0.06, 0.04, 0.01))
    assert [reach.at(overlap, 8) for overlap in (0, 16, 32, 48, 1000)] == [1.0, 0.3, 0.06, 0.04, 0.01]


def test_int8_learns_its_ranges_from_tiles(folder: Path, tmp_path: Path) -> None:
    """The models of int8 take tiles; their input is not the frame."""
    pytest.importorskip("onnxruntime.quantization", reason="int8 is made by ONNX Runtime")
    write_category(tmp_path / "many", goods=16, tests=1, size=96)
    options = tiny_options(
        folder, category=str(tmp_path / "many"), out=tmp_path / "o.bundle", to="onnx", points=("f32", "int8"),
        tiles=(64, 64), input_size=None, max_drop=1.0, data=None,
    )  # fmt: skip
    summary = export_bundle(options)
    with Bundle.open(summary.bundle) as bundle:
        names = bundle.manifest.point_names
    if "int8-onnxruntime" in names:
        Runtime(summary.bundle, point="int8-onnxruntime", self_check=True)
    else:
        assert any("int8-onnxruntime" in text for text in said(summary, "left out"))


def test_the_crop_holds_no_plane_of_fill_without_a_region(export: Export) -> None:
    """Of a frame of 20 megapixels it would take 60 MB."""
    with Bundle.open(export().bundle) as bundle:
        manifest = bundle.manifest
    assert Crop(manifest.frame, manifest.backbone, None, None)._fill is None
