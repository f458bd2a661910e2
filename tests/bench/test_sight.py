"""`python -m bench.sight`, less anomalib itself: its figures, its table, what it keeps, and how it fails."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from bench.peer.answers import Answers
from bench.sight import __main__ as command
from bench.sight import ours, record, sets, theirs
from bench.sight.record import Record, best_threshold, figures, kept, missed_at
from bench.sight.sets import LabelledSet, find_sets, open_set
from bench.sight.table import Row, Side, table
from bench.sight.times import as_colour, measure
from edge_ad import Runtime
from edge_ad.errors import DatasetError
from edge_ad.metrics import binary_auroc
from edge_ad.native import Pool
from tests.tiny import bad_frame, good_frame, picture, write_category


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sets: `part` with masks, `other` without."""
    folder = tmp_path_factory.mktemp("data")
    write_category(folder / "part", goods=6, tests=2)
    for name, make in (("train/good", good_frame), ("test/good", good_frame), ("test/dent", bad_frame)):
        for number in range(3):
            picture(folder / "other" / name / f"{number}.png", make(number + len(name)))
    return folder


@pytest.fixture(scope="module")
def part(data: Path) -> LabelledSet:
    """2 good test images and 2 defects, with masks; the order of the scores is defect or good as `defects` says."""
    return open_set(data / "part")


def made(part: LabelledSet, good: Sequence[float], bad: Sequence[float], threshold: float = 3.0, **more: Any) -> Record:
    """A record with these scores of its good images and of its defects."""
    scores = np.empty(len(part.test))
    scores[~part.defects], scores[part.defects] = good, bad
    values = {"pixel_auroc": None, "promised": None, "export_s": None, "facts": {"versions": {"x": "1"}}, **more}
    return Record(scores.tolist(), (scores >= threshold).tolist(), **values)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = command.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(autouse=True)
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chosen by trials: that has tests of its own, and takes minutes by the embedded backbone."""
    monkeypatch.setattr(ours, "Options", partial(ours.Options, effort="quick", input_size=(64, 64)))


# Sets.


def test_a_set_is_found_with_its_labels_and_masks(data: Path, part: LabelledSet, tmp_path: Path) -> None:
    other, again = find_sets(["other", "part", "other"], data, tmp_path)
    assert (other.name, again.name) == ("other", "part")
    assert part.has_masks
    assert not other.has_masks
    assert part.masks.shape == (4, 256, 256)
    assert part.masks.any(axis=(1, 2)).tolist() == part.defects.tolist()
    assert other.defects.sum() == 3


def test_the_digest_is_of_the_files(tmp_path: Path) -> None:
    first = open_set(write_category(tmp_path / "a" / "part", goods=2, tests=1)).digest
    folder = write_category(tmp_path / "b" / "part", goods=2, tests=1)
    assert open_set(folder).digest == first
    picture(folder / "test/good/more.png", good_frame(5))
    assert open_set(folder).digest != first


def test_the_sample_is_rendered_where_it_is_missing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(name: str, folder: Path) -> Path:
        return write_category(folder / name, goods=2, tests=1)

    monkeypatch.setattr(sets, "render_sample", render)
    _, cable = find_sets(["part", "cable"], data, tmp_path / "sample")
    assert cable.folder == tmp_path / "sample" / "cable"
    write_category(tmp_path / "data" / "cable", goods=2, tests=1)
    assert find_sets(["cable"], tmp_path / "data", tmp_path)[0].folder == tmp_path / "data" / "cable"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("prat", r"there is no category 'prat'.*Did you mean .*part"),
        ("flat", "no labelled test images"),
        ("void", "good"),
    ],
)
def test_what_is_no_set_is_refused(tmp_path: Path, name: str, says: str) -> None:
    write_category(tmp_path / "part", goods=2, tests=1)
    (tmp_path / "void").mkdir()
    for number in range(2):
        picture(tmp_path / "flat" / f"{number}.png", good_frame(number))
    with pytest.raises(DatasetError, match=says):
        find_sets(["part", name], tmp_path, tmp_path)


# Figures.


def test_figures(part: LabelledSet) -> None:
    seen = figures(made(part, good=[1, 3], bad=[2, 4], pixel_auroc=0.5), part)
    assert (seen.image_auroc, seen.pixel_auroc, seen.missed, seen.rejected) == (0.75, 0.5, 1, 1)


def test_the_peers_threshold_has_the_highest_f1() -> None:
    scores, defects = [1.0, 2.0, 3.0, 4.0, 5.0], [False, True, False, True, True]
    assert best_threshold(scores, defects) == 2  # 3 defects and 1 good image: F1 6/7; from 4 on: 4/5
    assert best_threshold([1.0, 2.0, 3.0, 4.0], [False, True, True, True]) == 2


@pytest.mark.parametrize(("rejected", "missed"), [(0, 2), (1, 1), (2, 0)])
def test_misses_at_as_many_rejects(part: LabelledSet, rejected: int, missed: int) -> None:
    """One defect scores as a good image: it passes with it."""
    assert missed_at(made(part, good=[1, 3], bad=[1, 3]), part, rejected) == missed


def test_the_table(part: LabelledSet) -> None:
    first = made(part, good=[1, 2], bad=[2.5, 4], pixel_auroc=0.9, promised=0.005, export_s=2.0)
    second = made(part, good=[1, 3], bad=[2, 4], pixel_auroc=0.8, promised=0.005, export_s=4.0)
    peer = made(part, good=[1, 4], bad=[3, 5], pixel_auroc=0.7)
    row = Row(part, Side([first, second], 7.25), Side([peer, peer], 30.0))
    head, _, line, _, totals = table([row, row]).splitlines()
    assert head.startswith("| set | image AUROC | pixel AUROC | missed | rejected | stated | ms | export s | anomalib:")
    ours = "0.875 (0.750..1.000) | 0.850 | 1 of 2 | 0.5 of 2, 25.0% | 0.5% | 7.2 | 3"
    theirs = "0.750 (0.750..0.750) | 0.700 | 0 | 1 | 0.5 | 30.0 | +0.125 | +0.150"
    assert line == f"| part | {ours} | {theirs} |"
    assert totals == (
        "| mean, sum | 0.875 | 0.850 | 2 of 4 | 1 of 4, 25.0% |  | 7.2 | 6 "
        "| 0.750 | 0.700 | 0 | 2 | 1 | 30.0 | +0.125 | +0.150 |"
    )
    assert {text.count("|") for text in (head, line, totals)} == {17}


def test_the_table_without_peer_masks_and_times(part: LabelledSet) -> None:
    only = made(part, good=[1, 2], bad=[2, 4], export_s=1.0)
    lines = table([Row(part, Side([only], None), None)]).splitlines()
    assert lines[2:] == ["| part | 0.875 (0.875..0.875) | - | 1 of 2 | 0 of 2, 0.0% | - | - | 1 |"]


# What is kept.


def test_a_record_is_taken_for_what_it_is_of(part: LabelledSet, tmp_path: Path) -> None:
    path, own = tmp_path / "new" / "seed-0.json", made(part, good=[1, 2], bad=[3, 4], pixel_auroc=0.1 + 0.2)
    assert kept(path, {"seed": 0}) is None
    record.keep(path, {"seed": 0}, own)
    assert kept(path, {"seed": 0}) == own
    assert kept(path, {"seed": 1}) is None
    for text in ("", "[]", '{"of": {"seed": 0}, "scores": []}', "\udcff"):
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        assert kept(path, {"seed": 0}) is None


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Two sets without a peer; what is kept is not made again, and another state of the code is."""
    arguments = (data, "--sets", "part", "other", "--seeds", 1, "--folder", tmp_path / "kept", "--no-times")
    code, out, err = run(capsys, *arguments, "--json", tmp_path / "a.json")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| part", "| other", "| mean, sum"]
    assert "part, seed 1, edge-ad defaults: image AUROC" in err
    document = json.loads((tmp_path / "a.json").read_text())
    assert [each["set"] for each in document] == ["part", "other"]
    [seed] = document[0]["edge_ad"]["seeds"]
    bundle = tmp_path / "kept" / "part" / "defaults" / "seed-1.bundle"
    runtime, part = Runtime(bundle), open_set(data / "part")
    verdicts = [runtime.inspect(image.path) for image in part.test]
    assert seed["scores"] == [verdict.score for verdict in verdicts]
    assert seed["anomalous"] == [verdict.is_anomalous for verdict in verdicts]
    maps = np.stack([cv2.resize(v.anomaly_map, (256, 256), interpolation=cv2.INTER_AREA) for v in verdicts])
    assert seed["pixel_auroc"] == binary_auroc(maps[~part.masks], maps[part.masks])
    assert document[1]["edge_ad"]["seeds"][0]["pixel_auroc"] is None
    assert runtime.manifest.calibration.rule == seed["facts"]["calibration"]["rule"]

    before = bundle.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(ours, "export_bundle", lambda _: pytest.fail("made again"))
        assert run(capsys, *arguments)[:2] == (0, out)
    assert bundle.read_bytes() == before
    exported = []
    monkeypatch.setattr(record, "code_digest", lambda: "another")
    monkeypatch.setattr(ours, "export_bundle", lambda options: exported.append(options))
    assert run(capsys, *arguments)[0] == 0
    assert [(Path(options.category).name, options.seed) for options in exported] == [("part", 1), ("other", 1)]


def test_ctrl_c_says_that_the_work_is_kept(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ours, "export_bundle", stop)
    code, out, err = run(capsys, data, "--sets", "part", "--folder", tmp_path / "kept")
    assert (code, out) == (130, "")
    assert err.splitlines() == [
        f"interrupted; what was made is kept in {tmp_path / 'kept'}, and the same command goes on from there"
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sets", "prat"], "error: there is no category 'prat'"),
        (["--seeds", "-1"], "error: --seeds is out of range"),
        (["--threads", "0"], "error: --threads is out of range"),
        (["--peer-coreset", "0"], "error: --peer-coreset is out of range"),
        (["--resnet18"], "error: the weights of resnet18 are missing; expected a file"),
        (["--peer-python", "nowhere"], "error: the weights of resnet18 are missing; expected a file"),
        (["--json", "."], "error: --json"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    code, out, err = run(capsys, data, "--sets", "part", "--folder", tmp_path / "kept", *arguments)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(says)
    assert not (tmp_path / "kept").exists()


def test_a_peer_that_is_none_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet18_to_layer3.pth").write_bytes(b"weights")
    arguments = ("--weights-folder", tmp_path, "--peer-python", tmp_path / "nowhere")
    code, _, err = run(capsys, data, "--sets", "part", "--folder", tmp_path / "kept", *arguments)
    assert code == 2
    assert "nowhere cannot be run" in err


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_a_folder_without_sets_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    code, _, err = run(capsys, tmp_path / name, "--folder", tmp_path / "kept")
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith(
        "error: there is no category 'bottle'" if name == "empty" else f"error: {tmp_path / name} is"
    )


# The ways to export.


def test_the_ways_to_export(tmp_path: Path) -> None:
    assert ours.variants(None, 0.1) == {"defaults": {}}
    _, chosen, fixed = ours.variants(tmp_path, 0.05).values()
    assert chosen == {"backbone": "resnet18", "weights": tmp_path}
    assert chosen.items() <= fixed.items()
    options = ours.Options("part", **fixed)
    assert (options.input_size, options.coreset, options.reweight) == ((256, 256), 0.05, 9)


# The peer.


class FakePeer:
    """Says of a set what anomalib's process would."""

    def __init__(self, part: LabelledSet, folder: Path) -> None:
        self.part, self.folder, self.asked = part, folder, []  # type: ignore[var-annotated]
        self.versions = {"anomalib": "0"}
        self.maps = part.masks * np.float32(2) + np.random.default_rng(0).random(part.masks.shape, np.float32)

    def show_images(self, good_images: list[Path], test: list[Path], layers: list[str]) -> None:
        assert (len(good_images), len(test), layers) == (6, 4, ["layer2", "layer3"])
        self.asked.append("images")

    def coreset_rows(self, seed: int, fraction: float, pool: Pool) -> np.ndarray:
        self.asked.append((seed, fraction))
        return np.arange(seed + 1)

    def save(self, name: str, array: np.ndarray) -> str:
        return name

    def save_all(self, name: str, arrays: list[np.ndarray]) -> str:
        np.savez(self.folder / name, *arrays)
        return str(self.folder / name)

    def inspect(self, request: str, *, resize: str, rows: str, bank: str) -> Answers:
        assert (request, resize, rows) == ("patchcore", "anomalib", "rows.npy")
        np.save(bank, np.zeros((2, 3), np.float32))
        scores = np.where(self.part.defects, [3.0, 2, 3, 2], [1.0, 2.5, 1, 2.5])
        return Answers(scores, np.zeros((4, 1, 1), np.float32), self.maps)

    def ask(self, request: str, **given: str) -> dict[str, Any]:
        if request == "open":
            assert np.load(given["bank"]).shape == (2, 3)
            return {}
        with np.load(given["frames"]) as frames:
            shapes = [frames[name].shape for name in frames.files]
        assert shapes == [(64, 64, 3)] * 4
        self.asked.append("round")
        return {"ms": [10.0, 20.0, 20.0, 30.0]}


@pytest.fixture
def fake(part: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePeer:
    """In place of anomalib's process."""
    process = FakePeer(part, tmp_path)
    monkeypatch.setattr(theirs, "open_peer", lambda *_: contextlib.nullcontext(process))
    monkeypatch.setattr(theirs, "check_peer", lambda _: "2.7.0")
    return process


def open_theirs(part: LabelledSet, folder: Path, stack: contextlib.ExitStack, weights: bytes = b"") -> theirs.Theirs:
    path = folder / "weights"
    path.write_bytes(weights)
    return theirs.Theirs(part, theirs.Peer(folder / "python", path, 1, folder, stack), 0.1, folder / "kept")


def test_the_peer_is_asked_once(part: LabelledSet, tmp_path: Path, fake: FakePeer) -> None:
    with contextlib.ExitStack() as stack:
        peer = open_theirs(part, tmp_path, stack)
        seen = [peer.record(seed) for seed in (0, 1, 0)]
        assert fake.asked == ["images", (0, 0.1), (1, 0.1)]
        assert open_theirs(part, tmp_path, stack).record(1) == seen[1]
        assert len(fake.asked) == 3
        open_theirs(part, tmp_path, stack, b"other weights").record(1)
        assert fake.asked[3:] == ["images", (1, 0.1)]
    assert seen[0] == seen[2]
    assert seen[0].pixel_auroc == 1
    assert seen[0].facts["coreset"] == 1
    threshold = best_threshold(seen[0].scores, part.defects.tolist())
    assert seen[0].anomalous == [score >= threshold for score in seen[0].scores]


def test_times_are_taken_in_turns(
    part: LabelledSet, golden: Path, tmp_path: Path, fake: FakePeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []

    class Timed:
        def __init__(self, bundle: Path, threads: int) -> None:
            assert (bundle, threads) == (golden, 1)

        def inspect(self, frame: np.ndarray) -> None:
            turns.append("ours")
            fake.asked.append("frame")

    monkeypatch.setattr("bench.sight.times.Runtime", Timed)
    with contextlib.ExitStack() as stack:
        peer = open_theirs(part, tmp_path, stack)
        peer.record(0)
        fake.asked.clear()
        own, other = measure([golden], peer, 0, part, 1)
    assert other == 20
    assert len(own) == 1
    assert fake.asked == [*["frame"] * 4, "round"] * 7
    assert measure([golden], None, 0, part, 1)[1] is None


def test_the_peer_takes_colours_of_eight_bits() -> None:
    grey = np.full((2, 3), 0x1234, np.uint16)
    assert as_colour(grey).tolist() == [[[0x12] * 3] * 3] * 2
    colour = np.zeros((2, 3, 3), np.uint8)
    assert as_colour(colour) is colour


def test_the_command_beside_a_peer(
    data: Path, part: LabelledSet, tmp_path: Path, fake: FakePeer, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "resnet18_to_layer3.pth").write_bytes(b"weights")
    arguments = ["--sets", "part", "--seeds", 0, "--folder", tmp_path / "kept", "--weights-folder", tmp_path]
    code, out, err = run(capsys, data, *arguments, "--peer-python", tmp_path / "python", "--peer-coreset", 0.02)
    assert code == 0, err
    assert "coreset 0.02 (its default is 0.1)" in out
    cells = out.splitlines()[-1].split(" | ")
    assert len(cells) == 16
    assert cells[13] == "20.0"
    assert (tmp_path / "kept" / "part" / "anomalib-0.02" / "seed-0.json").is_file()
