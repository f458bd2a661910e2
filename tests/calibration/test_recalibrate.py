"""A bundle with a new calibration: what it says, where that came from, and its operating points."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.calibration.recalibrate import ImageScores, kept_scores, source_of
from edge_ad.calibration.rules import choose_threshold
from edge_ad.cli import calibrate as command
from edge_ad.cli import main
from edge_ad.errors import EngineUnavailableError
from edge_ad.heads.centroid import CentroidSpec
from tests.calibrating import calibrated, calibration, failing, scores_of
from tests.edited import edited, pointed
from tests.tiny import SIZE, bad_frame, good_frame


@pytest.fixture(scope="session")
def opened(golden: Path) -> Bundle:
    return Bundle.open(golden)


# ------------------------------------------------------------------------------------------------- the new bundle


@pytest.mark.parametrize("fixture", ["golden", "golden_roi"])
def test_only_the_calibration_differs(
    fixture: str, request: pytest.FixtureRequest, category: Path, tmp_path: Path, engine: str
) -> None:
    source = request.getfixturevalue(fixture)
    new = calibrated(source, "--data", category, "--engine", engine, out=tmp_path / "new.bundle")
    with Bundle.open(source) as before, Bundle.open(new) as after:
        assert after.id != before.id
        assert after.manifest.members == before.manifest.members  # each with its SHA-256
        for name in before.manifest.members:
            assert bytes(after.blob(name)) == bytes(before.blob(name))
        assert dataclasses.replace(after.manifest, calibration=before.manifest.calibration) == before.manifest
    old, now = Runtime(source, engine=engine), Runtime(new, engine=engine, self_check=True)
    assert now.threshold != old.threshold
    assert (now.threshold, now.pixel_threshold) == (
        calibration(new).threshold,
        calibration(new).pixel_threshold,
    )
    for frame in (good_frame(5), bad_frame(6)):
        assert now.inspect(frame).score == old.inspect(frame).score


@pytest.mark.parametrize("search", ["exact", "graph"])
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_scores_are_those_of_inspect(bundle: Path, category: Path, tmp_path: Path, search: str, order: str) -> None:
    source = edited(bundle, tmp_path / "source.bundle", frame={"color_order": order})
    found = calibration(calibrated(source, "--data", category, "--threshold-rule", "f1"))
    runtime = Runtime(source, search=search)  # type: ignore[arg-type]
    assert list(found.good_scores) == scores_of(runtime, category / "test/good")
    assert list(found.defect_scores) == scores_of(runtime, category / "test/scratch")


@pytest.mark.parametrize("fixture", ["golden", "golden_roi"])
def test_peaks_are_at_the_scale_of_the_tensor(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path, category: Path
) -> None:
    """As at export. A frame of the input's size shows them, and a larger one interpolates them: no higher, but at the
    border of a region of interest, which is rounded to other pixels there.
    """
    source = request.getfixturevalue(fixture)
    found = calibration(calibrated(source, "--data", category, out=tmp_path / "new.bundle"))
    runtime = Runtime(source, search="exact")
    paths = sorted((category / "test/good").iterdir())
    assert runtime.inspect(paths[0]).anomaly_map.shape == (SIZE, SIZE) == runtime.manifest.backbone.input_size
    peaks = [float(runtime.inspect(path).anomaly_map.max()) for path in paths]
    assert list(found.good_peaks) == pytest.approx(peaks, rel=1e-6)
    assert found.pixel_threshold == choose_threshold("percentile", 99.5, found.good_peaks)[0]
    large = tmp_path / "large"
    large.mkdir()
    for path in paths[:2]:
        cv2.imwrite(str(large / path.name), cv2.resize(cv2.imread(str(path)), (3 * SIZE, 3 * SIZE)))
    found = calibration(calibrated(source, "--data", large, out=tmp_path / "large.bundle"))
    for path, peak in zip(sorted(large.iterdir()), found.good_peaks, strict=True):
        shown = float(runtime.inspect(path).anomaly_map.max())
        assert fixture == "golden_roi" or shown <= peak * (1 + 1e-6)
        assert shown == pytest.approx(peak, rel=0.02)


@pytest.mark.parametrize(
    ("rule", "value"),
    [("percentile", 90), ("sigma", 2), ("tail", 0.2), ("false-reject", 0.2), ("f1", 0), ("youden", 0)],
)
def test_each_rule(bundle: Path, category: Path, rule: str, value: float) -> None:
    more = [] if rule in ("f1", "youden") else ["--threshold-value", value]
    found = calibration(calibrated(bundle, "--data", category, "--threshold-rule", rule, *more))
    runtime = Runtime(bundle)
    goods, defects = (scores_of(runtime, category / "test" / kind) for kind in ("good", "scratch"))
    assert (found.rule, found.value) == (rule, value)
    assert (found.threshold, found.interval) == choose_threshold(rule, value, goods, defects)
    of_pixels = ("percentile", 99.5) if rule in ("f1", "youden") else (rule, value)
    assert found.pixel_threshold == choose_threshold(*of_pixels, found.good_peaks)[0]
    assert found.defect_scores == (tuple(defects) if rule in ("f1", "youden") else ())


def test_the_rule_is_the_bundles_own_by_default(bundle: Path, category: Path, tmp_path: Path) -> None:
    own = edited(bundle, tmp_path / "own.bundle", calibration={"rule": "sigma", "value": 4.5})
    assert calibration(calibrated(own, "--data", category)).value == 4.5
    other = calibration(calibrated(own, "--data", category, "--threshold-rule", "false-reject", "--force"))
    assert (other.rule, other.value) == ("false-reject", 0.01)


def centroid_bundle(golden: Path, out: Path) -> Path:
    """The golden bundle as one of the centroid: the embedding of a good."""
    mean = Runtime(golden).probe(good_frame(1)).patches.mean(axis=0)
    with Bundle.open(golden) as opened:
        old, frames = opened.manifest, np.array(opened.array("probes/frames"))
        members = {
            name: opened.array(name) if member.dtype else opened.blob(name)
            for name, member in old.members.items()
            if not name.startswith(("graph", "coreset"))
        }
        scored = dataclasses.replace(old.calibration, pixel_threshold=None, good_peaks=(), value=99.7)
        manifest = dataclasses.replace(old, head=CentroidSpec("centroid"), index=None, calibration=scored)
        members["centroid"] = (mean / np.linalg.norm(mean)).astype(np.float32)
        members["probes/distances"] = np.zeros((len(frames), 0), np.float32)
        members["probes/maps"] = np.zeros((len(frames), 0, 0), np.float32)
        write_bundle(out, manifest, members)
        members["probes/scores"] = np.array([Runtime(out).probe(frame).score for frame in frames], np.float32)
        write_bundle(out, manifest, members)
    return out


def test_a_centroid_has_no_threshold_of_pixels(
    golden: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = centroid_bundle(golden, tmp_path / "centroid.bundle")
    new = calibrated(source, "--data", category)
    found = calibration(new)
    assert (found.pixel_threshold, found.good_peaks) == (None, ())
    assert "of pixels" not in capsys.readouterr().out
    assert list(found.good_scores) == scores_of(Runtime(source), category / "test/good")
    assert Runtime(new, self_check=True).inspect(good_frame(3)).pixel_threshold is None
    usual = calibration(
        calibrated(new, "--data", category, "--threshold-rule", "percentile", out=tmp_path / "c.bundle")
    )
    assert usual.value == 99.7


# ------------------------------------------------------------------------------------------------- origin


def test_the_origin_is_recorded(
    bundle: Path, category: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    new = calibrated(bundle, "--data", category)
    source, runtime = calibration(new).source, Runtime(bundle)
    assert source is not None
    files = sorted((category / "test/good").iterdir())
    digests = sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()} good\n" for path in files)
    assert source.images_sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()
    assert (source.bundle, source.exported) == (runtime.bundle_id, runtime.bundle_id)
    assert (source.data, source.goods, source.defects) == ("part (MVTec AD)", 6, 0)
    assert source.engine == f"{runtime.engine} {runtime.engine_version}"
    assert (source.precision, source.created) == ("f32", "2023-11-14T22:13:20Z")
    assert str(category.parent) not in json.dumps(dataclasses.asdict(source))
    capsys.readouterr()
    assert main(["info", str(new)]) == 0
    said = capsys.readouterr().out
    for text in (source.bundle, source.created, source.images_sha256[:16], source.engine, "6 held-out good images"):
        assert text in said
    assert main(["info", str(bundle)]) == 0
    assert re.search(r"calibrated +at export", capsys.readouterr().out)


def test_the_defects_are_in_the_origin_where_the_rule_looks_at_them(bundle: Path, category: Path) -> None:
    goods = calibration(calibrated(bundle, "--data", category)).source
    both = calibration(calibrated(bundle, "--data", category, "--threshold-rule", "youden", "--force")).source
    assert goods is not None
    assert both is not None
    assert (both.goods, both.defects) == (6, 6)
    assert both.images_sha256 != goods.images_sha256


def test_a_chain_keeps_the_first_and_the_last(bundle: Path, category: Path, tmp_path: Path) -> None:
    first = calibrated(bundle, "--data", category, out=tmp_path / "1.bundle")
    second = calibrated(first, "--data", category / "test/good", "--threshold-rule", "sigma", out=tmp_path / "2.bundle")
    third = calibrated(second, "--threshold-value", 2, out=tmp_path / "3.bundle")
    ids = [Runtime(path).bundle_id for path in (bundle, first, second, third)]
    sources = [calibration(path).source for path in (first, second, third)]
    assert [source.bundle for source in sources if source] == ids[:3]
    assert [source.exported for source in sources if source] == [ids[0]] * 3


digests = st.lists(st.sampled_from([f"{i:064x}" for i in range(8)]), min_size=2, max_size=6)


@given(goods=digests, defects=digests)
def test_the_digest_is_of_content_and_labels(opened: Bundle, goods: list[str], defects: list[str]) -> None:
    def digest(goods: list[str], defects: list[str], with_defects: bool = True) -> str | None:
        scores = ImageScores("", "", (1.0, 2.0), (), (3.0,), tuple(goods), tuple(defects), "", "")
        return source_of(opened, scores, with_defects).images_sha256

    own = digest(goods, defects)
    assert own is not None
    assert own == digest(goods[::-1], sorted(defects))  # whatever their order
    assert digest(goods, defects, False) == digest(goods, [])
    if sorted(goods) != sorted(defects):
        assert own != digest(defects, goods)
    assert own != digest([*goods, "a" * 64], defects)
    assert own != digest(["a" * 64, *goods[1:]], defects)


def test_without_images_the_kept_scores_are_used(
    bundle: Path, category: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = calibration(bundle)
    found = calibration(calibrated(bundle, "--threshold-rule", "sigma"))
    assert (found.threshold, found.interval) == choose_threshold("sigma", 3, own.good_scores)
    assert found.pixel_threshold == choose_threshold("sigma", 3, own.good_peaks)[0]
    assert (found.good_scores, found.good_peaks, found.split) == (own.good_scores, own.good_peaks, own.split)
    assert found.source is not None
    assert (found.source.images_sha256, found.source.goods) == (None, len(own.good_scores))
    assert found.source.data == "scores kept in the bundle"
    assert "bootstrap" not in capsys.readouterr().err  # nothing was inspected
    failing([bundle, "--out", "x"], capsys, "there is nothing to choose a threshold from")
    failing([bundle, "--threshold-rule", "f1", "--out", "x.bundle"], capsys, "needs labelled defects")


def test_kept_scores_name_their_images_once(bundle: Path, category: Path, tmp_path: Path) -> None:
    path = calibrated(bundle, "--data", category, out=tmp_path / "0.bundle")
    for i, value in enumerate((2, 3, 4), 1):
        path = calibrated(path, "--threshold-rule", "sigma", "--threshold-value", value, out=tmp_path / f"{i}.bundle")
        source = calibration(path).source
        assert source is not None
        assert source.data == "kept scores of part (MVTec AD)"
    with Bundle.open(path) as opened:
        assert kept_scores(opened.manifest).goods == calibration(tmp_path / "0.bundle").good_scores


# ------------------------------------------------------------------------------------------------- operating points


@pytest.fixture
def points(golden: Path, tmp_path: Path) -> Path:
    """The reference, and two points that give the same scores by thresholds twice as high."""
    return pointed(golden, tmp_path / "points.bundle", {"f32-small": "f32", "int8": "int8"}, scale=2.0)


def test_each_point_is_calibrated(points: Path, category: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = calibrated(points, "--data", category, "--threshold-rule", "youden")
    said = capsys.readouterr()
    with Bundle.open(points) as before, Bundle.open(new) as after:
        assert after.manifest.members == before.manifest.members
        assert after.manifest.point_names == before.manifest.point_names
        for name in after.manifest.point_names:
            old, found = before.manifest.at(name).calibration, after.manifest.at(name).calibration
            goods = [Runtime(points, point=name).inspect(p).score for p in sorted((category / "test/good").iterdir())]
            assert list(found.good_scores) == goods
            assert found.threshold != old.threshold
            assert found.source is not None
            assert found.source.exported == found.source.bundle == before.id
            assert dataclasses.replace(after.manifest.at(name), calibration=old) == before.manifest.at(name)
            assert Runtime(new, point=name, self_check=True).threshold == found.threshold
            assert re.search(rf"^point +{name}$", said.out, re.MULTILINE)
            assert f"scoring {name}: 12 images" in said.err
    assert "are the old ones" not in said.out
    assert said.err.count("reading: 12 images\n") == 1


def test_the_scores_are_those_of_the_point(golden: Path, tmp_path: Path, category: Path) -> None:
    """Half a coreset gives other scores; each point is judged by its own."""
    with Bundle.open(golden) as opened:
        coreset = np.array(opened.array("coreset"))
    source = pointed(golden, tmp_path / "source.bundle", {"small": "f32"})
    with Bundle.open(source) as opened:
        (point,) = opened.manifest.points
    few = dataclasses.replace(point, index=dataclasses.replace(point.index, size=9, graph=None))
    gone = {f"points/small/graph/{part}": None for part in ("levels", "links0", "upper")}
    frames = [good_frame(1), bad_frame(2)]
    members = {"points/small/coreset": coreset[:9], **gone}
    draft = edited(source, tmp_path / "draft.bundle", members, points=(few,))
    with Bundle.open(draft) as opened:
        frames = list(np.array(opened.array("points/small/probes/frames")))
    answers = [Runtime(draft, point="small").probe(frame) for frame in frames]
    members["points/small/probes/distances"] = np.stack([answer.distances for answer in answers])
    members["points/small/probes/maps"] = np.stack([answer.anomaly_map for answer in answers])
    members["points/small/probes/scores"] = np.array([answer.score for answer in answers], np.float32)
    source = edited(source, tmp_path / "few.bundle", members, points=(few,))
    with Bundle.open(calibrated(source, "--data", category)) as opened:
        reference, small = (opened.manifest.at(name).calibration for name in ("f32", "small"))
    paths = sorted((category / "test/good").iterdir())
    runtime = Runtime(source, point="small")
    assert list(small.good_scores) == [runtime.inspect(path).score for path in paths]
    peaks = [float(runtime.inspect(path).anomaly_map.max()) for path in paths]
    assert list(small.good_peaks) == pytest.approx(peaks, rel=1e-6)
    assert small.threshold > reference.threshold


def test_one_point_alone(points: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = calibrated(points, "--data", category, "--point", "int8")
    assert "note: the thresholds of f32, f32-small are the old ones" in capsys.readouterr().out
    with Bundle.open(points) as before, Bundle.open(new) as after:
        assert after.manifest.calibration == before.manifest.calibration
        assert after.manifest.at("f32-small").calibration == before.manifest.at("f32-small").calibration
        assert after.manifest.at("int8").calibration.source is not None
        first = before.id
    again = calibrated(new, "--threshold-rule", "sigma", "--point", "f32", out=tmp_path / "again.bundle")
    source = calibration(again).source
    assert source is not None
    assert (source.exported, source.bundle) == (first, Runtime(new).bundle_id)
    failing([points, "--data", category, "--point", "int4"], capsys, "no such operating point.*f32-small")


def test_kept_scores_are_those_of_each_point(points: Path) -> None:
    with Bundle.open(calibrated(points, "--threshold-rule", "sigma")) as opened:
        for name in opened.manifest.point_names:
            own = opened.manifest.at(name).calibration
            assert own.threshold == choose_threshold("sigma", 3, own.good_scores)[0]


def test_a_point_that_does_not_run_here(
    points: Path, category: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no threshold is changed, rather than some."""

    def only_reference(path: Path, **options: object) -> Runtime:
        if options["point"] == "int8":
            raise EngineUnavailableError("no installed engine runs it", remedy="Install one.")
        return Runtime(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "Runtime", only_reference)
    monkeypatch.setattr(command, "score_images", lambda *_: pytest.fail("work was done"))
    failing([points, "--data", category], capsys, "point int8 does not run here: no installed engine.*--point")
    failing([points, "--data", category, "--point", "int8"], capsys, r"no installed engine runs it\. Install one")
    assert not points.with_name("points.calibrated.bundle").exists()


# ------------------------------------------------------------------------------------------------- real images


@pytest.mark.shared
def test_bottle_with_the_embedded_backbone(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "hnswlib"):
        pytest.importorskip(package, reason="the export needs it")
    from export.options import Options
    from export.pipeline import export_bundle

    bottle = tmp_path / "bottle"  # with 60 of the 209 good images, so that the export takes seconds
    (bottle / "train/good").mkdir(parents=True)
    (bottle / "test").symlink_to(shared / "data/bottle/test")
    for path in sorted((shared / "data/bottle/train/good").iterdir())[:60]:
        (bottle / "train/good" / path.name).symlink_to(path)
    fast = {"coreset": 0.02, "effort": "quick", "input_size": (256, 256)}
    source = export_bundle(Options(str(bottle), **fast, out=tmp_path / "bottle.bundle")).bundle  # type: ignore[arg-type]
    found = calibration(new := calibrated(source, "--data", bottle, "--threshold-rule", "f1"))
    goods, defects = np.array(found.good_scores), np.array(found.defect_scores)
    assert (len(goods), len(defects)) == (20, 63)
    assert goods.max() < found.threshold < defects.min()  # image AUROC is 1 on these
    runtime = Runtime(new, self_check=True)
    assert [runtime.inspect(path).is_anomalous for path in sorted((bottle / "test/good").iterdir())] == [False] * 20
    capsys.readouterr()
    failing([source, "--data", bottle / "train/good"], capsys, "training images")
    seen = calibrated(source, "--data", bottle / "train/good", "--training-images", out=tmp_path / "seen.bundle")
    assert "note: these good images score lower than those of the old threshold" in capsys.readouterr().out
    assert calibration(seen).threshold < calibration(source).threshold
