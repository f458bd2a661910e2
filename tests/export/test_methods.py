"""Every method from images to verdicts; what is hostile or out of range is refused."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BundleCorruptError, FrameError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.cli import main  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.registry import METHODS  # noqa: E402
from export.command_line import parse_options  # noqa: E402
from export.fit.padim import REGULARIZATION, choose_channels, gaussians  # noqa: E402
from export.normal_embed import NormalEmbed, read_normal_embed, write_normal_embed  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.edited import edited  # noqa: E402
from tests.tiny import SIZE, WITH_BACKBONE, bad_frame, good_frame, tiny_options  # noqa: E402

ROI = "20,18,46,44"
OTHERS = [method for method in WITH_BACKBONE if method != "patchcore"]
Export = Callable[..., Path]


@pytest.fixture(scope="module")
def export(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports the tiny category by a method; the same bundle for the same options."""
    kept: dict[str, Path] = {}

    def run(method: str, **changes: Any) -> Path:
        to = "both" if "openvino" in installed_engines() else "onnx"
        key = repr((method, sorted(changes.items())))
        if key not in kept:
            out = tmp_path_factory.mktemp("methods") / f"{method}.bundle"
            kept[key] = export_bundle(tiny_options(tiny, **{"to": to, "method": method, "out": out, **changes})).bundle
        return kept[key]

    return run


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole", "roi"])
@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_from_images_to_verdicts(export: Export, method: str, roi: str | None) -> None:
    runtime = Runtime(export(method, roi=roi), self_check=True)
    assert runtime.manifest.head.method == method
    assert runtime.manifest.has_map == (method != "centroid")
    calibration = runtime.manifest.calibration
    assert calibration.value == {"centroid": 99.7, "patchcore": 0.01}.get(method, 99.5)
    assert len(calibration.good_scores) == 12
    assert np.mean([runtime.inspect(good_frame(5000 + seed)).is_anomalous for seed in range(30)]) <= 0.3
    good = [runtime.inspect(good_frame(6000 + seed)) for seed in range(10)]
    assert runtime.inspect(255 - good_frame(6000)).score > max(verdict.score for verdict in good)
    bad = [runtime.inspect(bad_frame(6000 + seed)) for seed in range(10)]
    if method not in ("spade", "centroid"):  # a scratch is little in the mean of a frame
        assert np.mean([b.score > g.score for b, g in itertools.product(bad, good)]) >= 0.95  # AUROC
    if method != "centroid":
        peaks = [np.unravel_index(int(b.anomaly_map.argmax()), (SIZE, SIZE)) for b in bad]
        assert np.mean([16 <= y < 48 and 16 <= x < 48 for y, x in peaks]) >= 0.9  # on the disc, where the scratch is


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole", "roi"])
@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_both_engines_give_the_same(export: Export, method: str, roi: str | None) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("needs both engines")
    one, other = (
        Runtime(export(method, roi=roi), engine=name, self_check=True) for name in ("openvino", "onnxruntime")
    )
    for frame in (good_frame(5001), bad_frame(2)):
        a, b = one.inspect(frame), other.inspect(frame)
        assert a.score == pytest.approx(b.score, rel=1e-3)
        if a.has_map:
            np.testing.assert_allclose(a.anomaly_map, b.anomaly_map, rtol=1e-3, atol=1e-3 * a.anomaly_map.max())


_NO_TORCH = """
import sys
sys.modules["torch"] = sys.modules["torchvision"] = sys.modules["onnx"] = None
from edge_ad import Runtime
for engine in sys.argv[3:]:
    print(Runtime(sys.argv[1], engine=engine, self_check=True).inspect(sys.argv[2]).score)
"""


@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_without_torch(export: Export, method: str, tmp_path: Path) -> None:
    """The same score as here, and by the other engine the same within 1e-3."""
    cv2.imwrite(str(tmp_path / "frame.png"), bad_frame(3))
    command = [sys.executable, "-c", _NO_TORCH, str(export(method)), str(tmp_path / "frame.png"), *installed_engines()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    scores = dict(zip(installed_engines(), map(float, done.stdout.split()), strict=True))
    for engine, score in scores.items():
        assert score == pytest.approx(Runtime(export(method), engine=engine).inspect(bad_frame(3)).score, rel=1e-6)
    assert list(scores.values()) == pytest.approx([score] * len(scores), rel=1e-3)


@pytest.mark.parametrize("method", OTHERS)
def test_nothing_outside_the_region_counts(export: Export, method: str) -> None:
    runtime, frame = Runtime(export(method, roi=ROI, halo=2)), good_frame(9)
    before = runtime.inspect(frame)
    frame[50:, 50:] = 255
    after = runtime.inspect(frame)
    assert after.score == before.score
    assert after.regions == before.regions


@pytest.mark.parametrize("method", OTHERS)
def test_held_out_scores_are_those_of_the_runtime(export: Export, tiny: Path, method: str) -> None:
    runtime = Runtime(export(method, calibration="split"))
    order = np.random.default_rng(0).permutation(12)
    held = sorted(int(i) for i in order[:2])
    wanted = [runtime.inspect(tiny / "part" / "train" / "good" / f"{i:03d}.png").score for i in held]
    np.testing.assert_allclose(runtime.manifest.calibration.good_scores, wanted, rtol=1e-5)


@pytest.mark.parametrize("method", OTHERS)
def test_the_same_seed_gives_the_same_members(export: Export, tiny: Path, tmp_path: Path, method: str) -> None:
    changes = {"to": "both" if "openvino" in installed_engines() else "onnx", "method": method}
    again = export_bundle(tiny_options(tiny, **changes, out=tmp_path / "again.bundle")).bundle
    with Bundle.open(again) as a, Bundle.open(export(method)) as b:
        assert a.manifest.members == b.manifest.members
        assert a.manifest.calibration == b.manifest.calibration


# ------------------------------------------------------------------------------------------------- padim


@pytest.mark.parametrize("chunk", [1, 2**21])
def test_gaussians_are_numpy_s(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.fit.padim._CHUNK_FLOATS", chunk)
    patches = np.random.default_rng(0).normal(2, 1, (20, 7, 9)).astype(np.float32)
    images, channels = np.array([0, 2, 3, 5, 9, 11, 19]), np.array([1, 4, 8], np.int32)
    means, factors = gaussians(patches, images, channels)
    for position in range(7):
        chosen = patches[images, position][:, channels].astype(np.float64)
        np.testing.assert_allclose(means[position], chosen.mean(axis=0), rtol=1e-6)
        inverse = np.zeros((3, 3))
        inverse[[0, 1, 2, 1, 2, 2], [0, 0, 0, 1, 1, 2]] = factors[position]
        wanted = np.linalg.inv(np.cov(chosen, rowvar=False) + REGULARIZATION * np.eye(3))
        np.testing.assert_allclose(inverse.T @ inverse, wanted, rtol=1e-4)


def test_fewer_images_than_channels_still_have_gaussians() -> None:
    patches = np.random.default_rng(0).normal(0, 1, (2, 4, 50)).astype(np.float32)
    assert np.isfinite(gaussians(patches, np.arange(2), np.arange(50, dtype=np.int32))[1]).all()
    assert np.isfinite(gaussians(patches, np.arange(1), np.arange(50, dtype=np.int32))[1]).all()


def test_channels() -> None:
    assert choose_channels(None, 24, 100, 0).tolist() == list(range(24))
    some = choose_channels(None, 384, 100, 0)
    assert (len(set(some.tolist())), some.dtype) == (100, np.int32)
    assert (np.diff(some) > 0).all()
    assert choose_channels((100,), 384, 7, 0).tolist() == some.tolist()
    assert choose_channels((100,), 384, 7, 1).tolist() != some.tolist()
    assert choose_channels((5, 0, 7), 8, 7, 1).tolist() == [0, 5, 7]
    for wrong in ((0,), (9,), (0, 8), (1, 1), (-1, 2)):
        with pytest.raises(SpecError, match="--channels"):
            choose_channels(wrong, 8, 7, 0)
    assert parse_options(["part", "--method", "padim", "--channels", "0,5,7"]).channels == (0, 5, 7)
    with pytest.raises(SystemExit):
        parse_options(["part", "--channels", "few"])


def test_padim_of_chosen_channels(export: Export) -> None:
    with Bundle.open(export("padim", channels=(0, 5, 23))) as bundle:
        assert bundle.array("padim/channels").tolist() == [0, 5, 23]
        assert bundle.array("padim/factors").shape == (256, 6)


# ------------------------------------------------------------------------------------------ knn and spade


def test_a_bank_of_all_patches(export: Export) -> None:
    """With every patch in the bank and K = 1, kNN is PatchCore with every patch in its coreset."""
    knn = Runtime(export("knn", coreset=1.0, neighbors=1, calibration="split"))
    patchcore = Runtime(export("patchcore", coreset=1.0, graph=False, calibration="split"))
    for frame in (good_frame(3), bad_frame(4)):
        a, b = knn.inspect(frame), patchcore.inspect(frame)
        assert a.score == b.score
        np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)


def test_neighbors_and_gallery_are_options(export: Export) -> None:
    with Bundle.open(export("knn", neighbors=7)) as bundle:
        assert bundle.manifest.head.neighbors == 7
    with Bundle.open(export("spade", neighbors=4, gallery_images=3)) as bundle:
        head = bundle.manifest.head
        assert (head.images, head.gallery, head.neighbors) == (12, 3, 4)
        assert bundle.array("spade/gallery").shape == (3, 256, 24)
        members, embeddings = bundle.array("spade/members"), bundle.array("spade/embeddings")
        np.testing.assert_allclose(bundle.array("spade/gallery").mean(axis=1), embeddings[members], rtol=1e-5)


# -------------------------------------------------------------------------------------------------- centroid


def test_a_centroid_says_that_it_has_no_map(export: Export) -> None:
    frame = bad_frame(5)
    verdict = Runtime(export("centroid")).inspect(frame)
    assert verdict.has_map is False
    assert verdict.pixel_threshold is None
    assert verdict.regions == ()
    for read in ("anomaly_map", "mask"):
        with pytest.raises(SpecError, match="no anomaly map") as caught:
            getattr(verdict, read)
        assert "--method" in str(caught.value)
    picture = verdict.overlay(frame)
    assert picture.shape == frame.shape
    assert (picture[20:] == frame[20:]).all()  # below the caption nothing is drawn
    assert (picture != frame).any()
    with pytest.raises(FrameError):
        verdict.overlay(np.zeros((3, 3), np.float64))
    assert json.loads(json.dumps(verdict.to_dict()))["has_map"] is False


def test_a_centroid_is_evaluated_without_maps(export: Export, tiny: Path, tmp_path: Path) -> None:
    assert main(["eval", str(export("centroid")), "--data", str(tiny / "part"), "--out", str(tmp_path)]) == 0
    (row,) = csv.DictReader((tmp_path / "summary.csv").read_text().splitlines())
    assert (row["method"], row["pixel_auroc"], row["pixel_threshold"]) == ("centroid", "", "")
    assert 0 <= float(row["image_auroc"]) <= 1
    assert not list(tmp_path.rglob("*.npz"))


def test_the_normal_embed_form(export: Export, tmp_path: Path) -> None:
    path = tmp_path / "normal_embed.json"
    bundle = export("centroid", normal_embed=path)
    document = json.loads(path.read_text())
    assert list(document) == ["backbone", "input_size", "mean", "std", "centroid", "threshold"]
    assert document["input_size"] == SIZE
    with Bundle.open(bundle) as opened:
        assert document["threshold"] == opened.manifest.calibration.threshold
        np.testing.assert_array_equal(np.array(document["centroid"], np.float32), opened.array("centroid"))
    found = read_normal_embed(path)
    assert found.input_size == (SIZE, SIZE)
    again = dataclasses.replace(found, input_size=(64, 96))
    write_normal_embed(path, again)
    assert read_normal_embed(path) == again
    assert [p.name for p in tmp_path.iterdir()] == ["normal_embed.json"]


EMBED: dict[str, Any] = {"backbone": "b", "input_size": 224, "mean": [0, 0, 0], "std": [1, 1, 1]}
EMBED |= {"centroid": [0.6, 0.8], "threshold": 0.1}


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": None},
        {"input_size": 8},
        {"input_size": "224"},
        {"input_size": [224]},
        {"input_size": [224.0, 224.0]},
        {"mean": [0, 0]},
        {"mean": [0, 0, True]},
        {"std": [1, 0, 1]},
        {"std": None},
        {"centroid": []},
        {"centroid": [1, 1]},
        {"centroid": [float("nan"), 1]},
        {"centroid": "long"},
        {"threshold": 0},
        {"threshold": 2.5},
        {"threshold": float("nan")},
        {"threshold": None},
    ],
    ids=str,
)
def test_files_that_are_no_centroid(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "e.json"
    path.write_text(json.dumps({**EMBED, "later": 1}))
    assert read_normal_embed(path) == NormalEmbed("b", (224, 224), (0, 0, 0), (1, 1, 1), (0.6, 0.8), 0.1)
    path.write_text(json.dumps({**EMBED, **changes}))
    with pytest.raises(SpecError):
        read_normal_embed(path)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 10**5])
def test_files_that_are_no_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "e.json").write_bytes(text)
    with pytest.raises(SpecError):
        read_normal_embed(tmp_path / "e.json")
    with pytest.raises(SpecError):
        read_normal_embed(tmp_path / "missing.json")


# -------------------------------------------------------------------------------------- hostile and out of range

F32 = np.float32
HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("padim", {"padim/channels": np.zeros(3, np.int32)}),
    ("padim", {"padim/channels": np.full(24, 24, np.int32)}),
    ("padim", {"padim/channels": np.full(24, -1, np.int32)}),
    ("padim", {"padim/channels": np.zeros(24, F32)}),
    ("padim", {"padim/means": np.zeros((255, 24), F32)}),
    ("padim", {"padim/factors": np.zeros((256, 299), F32)}),
    ("padim", {"padim/factors": np.full((256, 300), np.nan, F32)}),
    ("padim", {"padim/factors": None}),
    ("knn", {"coreset": np.zeros((5, 24), F32)}),
    ("knn", {"coreset": None}),
    ("spade", {"spade/members": np.full(12, 12, np.int32)}),
    ("spade", {"spade/members": np.full(12, -1, np.int32)}),
    ("spade", {"spade/members": np.zeros(11, np.int32)}),
    ("spade", {"spade/embeddings": np.zeros((12, 23), F32)}),
    ("spade", {"spade/embeddings": np.full((12, 24), np.inf, F32)}),
    ("spade", {"spade/gallery": np.zeros((12, 255, 24), F32)}),
    ("centroid", {"centroid": np.zeros(24, F32)}),
    ("centroid", {"centroid": np.ones(24, F32)}),
    ("centroid", {"centroid": np.ones(1, F32)}),
    ("centroid", {"centroid": np.full(24, np.nan, F32)}),
]


@pytest.mark.parametrize(("method", "members"), HOSTILE, ids=[f"{m}-{i}" for i, (m, _) in enumerate(HOSTILE)])
def test_members_that_do_not_fit(export: Export, tmp_path: Path, method: str, members: dict[str, Any]) -> None:
    with pytest.raises(BundleCorruptError):
        Runtime(edited(export(method), tmp_path / "x.bundle", members))


def test_manifests_that_do_not_fit(export: Export, tmp_path: Path) -> None:
    knn, centroid, padim = (Bundle.open(export(name)).manifest for name in ("knn", "centroid", "padim"))
    with pytest.raises(SpecError, match="index does not fit"):
        dataclasses.replace(knn, index=None)
    with pytest.raises(SpecError, match="index does not fit"):
        dataclasses.replace(padim, index=knn.index)
    with pytest.raises(SpecError, match="pixel_threshold does not fit"):
        dataclasses.replace(padim, calibration=centroid.calibration)
    with pytest.raises(SpecError, match="pixel_threshold does not fit"):
        dataclasses.replace(centroid, calibration=padim.calibration)
    with pytest.raises(BundleCorruptError, match="larger than the number of rows"):
        Runtime(edited(export("knn"), tmp_path / "x.bundle", head={"neighbors": 1000}))


@pytest.mark.parametrize("method", OTHERS)
def test_there_is_no_graph(export: Export, method: str) -> None:
    assert Runtime(export(method)).search == Runtime(export(method), search="exact").search == "exact"
    with pytest.raises(SpecError, match="no graph"):
        Runtime(export(method), search="graph")
    with pytest.raises(SpecError, match="no such search"):
        Runtime(export(method), search="hnsw")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "magic"},
        {"neighbors": 0},
        {"neighbors": 1001},
        {"gallery_images": 0},
        {"normal_embed": Path("x.json")},
        {"method": "centroid", "normal_embed": Path("/nowhere/x.json")},
        {"method": "padim", "channels": (25,)},
        {"method": "knn", "coreset": 0.0001},
    ],
    ids=str,
)
def test_bad_options_are_refused(tiny: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        export_bundle(tiny_options(tiny, to="onnx", out=tmp_path / "x.bundle", **changes))
    assert list(tmp_path.iterdir()) == []


def test_every_method_is_on_the_command_line() -> None:
    for method in METHODS:
        assert parse_options(["part", "--method", method]).method == method
    given = ["--method", "centroid", "--neighbors", "9", "--gallery-images", "20", "--normal-embed", "e.json"]
    options = parse_options(["part", *given])
    assert (options.neighbors, options.gallery_images, options.normal_embed) == (9, 20, Path("e.json"))
