"""`edge-ad eval --methods ... --backbones ...`: bundles that are made first, side by side, resumption, what fails.

Over 400 lines: the command is tried whole, and its helpers serve every test.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import EdgeADError, SpecError
from edge_ad.evaluation import grid
from edge_ad.evaluation.cells import unique
from edge_ad.evaluation.grid import EMBEDDED, Backbone, check_options, choose_backbones, choose_methods
from edge_ad.registry import METHODS
from tests.paths import SCRIPT
from tests.processes import child
from tests.tiny import SIZE, write_category


@pytest.fixture(scope="module")
def exporting() -> None:
    """What the export needs; torch is not among it."""
    for package in ("onnx", "hnswlib"):
        pytest.importorskip(package, reason="the export needs it")


@pytest.fixture
def work(exporting: None, tiny: Path, tmp_path: Path) -> Path:
    """A folder with two categories, of few images, and a backbone."""
    shutil.copy(tiny / "backbone.onnx", tmp_path / "net.onnx")
    write_category(tmp_path / "a", goods=6, tests=2)
    write_category(tmp_path / "b", goods=6, tests=2)
    return tmp_path


def arguments(
    work: Path, methods: str, *data: str, more: tuple[str, ...] = (), export: tuple[str, ...] = ()
) -> list[str]:
    command = ["eval", "--methods", methods, "--backbones", str(work / "net.onnx")]
    command += ["--layers", f"{work / 'net.onnx'}=fine,coarse", "--data", *(str(work / name) for name in data)]
    command += ["--out", str(work / "out"), "--no-report", "--pictures", "none", *more]
    return [*command, "--export-options", "--to", "onnx", "--input-size", str(SIZE), "--quick", *export]


def table(work: Path) -> list[dict[str, str]]:
    with (work / "out" / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def made(work: Path) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in (work / "out" / "bundles").glob("*.bundle")}


# ---------------------------------------------------------------------------------------------- the whole


def test_one_command_for_the_whole_table(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    command = arguments(work, "padim,centroid", "a", "b")
    command.remove("--no-report")
    command[command.index("none")] = "all"
    assert main(command) == 0
    rows = table(work)
    titles = [f"{method}-net.onnx" for method in ("padim", "centroid")]
    assert [(row["category"], f"{row['method']}-{row['backbone']}") for row in rows] == [
        (name, title) for name in "ab" for title in titles
    ]
    for row in rows:
        assert 0 <= float(row["image_auroc"]) <= 1
        assert float(row["ms_p50"]) > 0
        assert (row["pixel_auroc"] == "") == (row["method"] == "centroid")
        assert float(row["mb"]) == pytest.approx((work / "out/bundles" / row["bundle"]).stat().st_size / 1e6, rel=1e-5)
    for name, title in itertools.product("ab", titles):
        folder = work / "out" / name / title
        drawn = {path.name for path in folder.glob("*.png")}
        assert {"roc.png", "pr.png", "scores.png", "confusion.png", "good_001_triptych.png"} <= drawn
        assert ("scratch_000_overlay.png" in drawn) == title.startswith("padim")
        assert not (folder / "finish.log").exists()
    report = (work / "out" / "report.html").read_text()
    assert report.count("<section id=") == 4
    out = capsys.readouterr().out
    assert "a: MVTec AD layout, 4 test images" in out
    assert out.count("no anomaly map") == 1, "a note on several lines is said once"
    assert not list((work / "out").rglob("*.tmp"))


def test_what_is_made_is_not_made_again(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(work, "centroid", "a", "b")) == 0
    first, rows = made(work), table(work)
    assert set(first) == {"a-centroid-net.onnx", "b-centroid-net.onnx"}
    capsys.readouterr()
    assert main(arguments(work, "centroid", "a", "b")) == 0
    said = capsys.readouterr().err
    assert made(work) == first
    assert table(work) == rows
    assert said.count("done before") == 4, "two exports, two inspections"
    # the same images, but another time of change: those of one category alone
    os.utime(work / "a/train/good/000.png", ns=(1, 1))
    assert main(arguments(work, "centroid", "a", "b")) == 0
    second = made(work)
    assert second["a-centroid-net.onnx"] != first["a-centroid-net.onnx"]
    assert second["b-centroid-net.onnx"] == first["b-centroid-net.onnx"]
    assert main(arguments(work, "centroid", "a", "b", export=("--threshold-value", "90"))) == 0
    assert all(made(work)[name] != second[name] for name in second), "other options"
    with Bundle.open(work / "out/bundles/a-centroid-net.onnx.bundle") as bundle:
        assert bundle.manifest.calibration.value == 90


def test_thresholds_of_labels_follow_the_labels(work: Path) -> None:
    rule = ("--threshold-rule", "f1")
    assert main(arguments(work, "centroid", "a", export=rule)) == 0
    first = made(work)
    (work / "a/test/scratch/000.png").unlink()
    assert main(arguments(work, "centroid", "a", export=rule)) == 0
    second = made(work)
    assert second != first
    assert main(arguments(work, "centroid", "a", export=rule)) == 0
    assert made(work) == second


def test_a_bundle_that_is_spoilt_is_made_again(work: Path) -> None:
    assert main(arguments(work, "centroid", "a")) == 0
    path = work / "out/bundles/a-centroid-net.onnx.bundle"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert main(arguments(work, "centroid", "a")) == 0
    with Bundle.open(path) as bundle:
        assert bundle.manifest.name == "a"


def test_bundles_of_ones_own_beside_the_grid(work: Path) -> None:
    assert main(arguments(work, "centroid", "a")) == 0
    own = work / "own.bundle"
    shutil.copy(work / "out/bundles/a-centroid-net.onnx.bundle", own)
    command = arguments(work, "centroid", "a", "b")
    command.insert(1, str(own))
    assert main(command) == 0
    rows = table(work)
    assert [(row["category"], row["bundle"]) for row in rows] == [
        ("a", "a-centroid-net.onnx.bundle"),
        ("a", "own.bundle"),
        ("b", "b-centroid-net.onnx.bundle"),
        ("b", "own.bundle"),
    ]
    assert rows[0]["image_auroc"] == rows[1]["image_auroc"]
    assert rows[0]["bundle_id"] == rows[1]["bundle_id"] == rows[3]["bundle_id"]


def test_what_fails_is_said_and_the_rest_is_done(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "broken.onnx").write_bytes(b"no network")
    command = arguments(work, "centroid", "a")
    place = command.index("--backbones") + 1
    command[place] += f",{work / 'broken.onnx'}"
    assert main([argument for argument in command if argument != "--no-report"]) == 2
    done, failed = table(work)
    assert done["image_auroc"] != ""
    assert failed["notes"].startswith("failed: ")
    assert "broken.onnx is not an ONNX file" in failed["notes"]
    assert {failed[name] for name in ("image_auroc", "goods", "ms_p50", "mb", "miss")} == {""}
    said = capsys.readouterr()
    assert "error: a-centroid-broken.onnx.bundle: " in said.err
    assert "note: a with centroid-broken.onnx: failed: " in said.out
    log = work / "out/bundles/a-centroid-broken.onnx.log"
    assert "is not an ONNX file" in log.read_text()
    if importlib.util.find_spec("matplotlib"):
        assert "is not an ONNX file" in (work / "out/report.html").read_text()


def test_an_export_that_writes_no_bundle(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid.Recipe, "command", lambda *_: [sys.executable, "-c", "pass"])
    assert main(arguments(work, "centroid", "a")) == 2
    assert "there is no bundle" in table(work)[0]["notes"]


def test_bad_input_beside_good(work: Path) -> None:
    """All that a category may lack, in one table: what cannot be computed is empty, the rest is there."""
    for name in ("bare", "goods", "defects", "no-masks", "other-masks", "large-masks"):
        shutil.copytree(work / "a", work / name)
    shutil.rmtree(work / "bare/test")
    shutil.rmtree(work / "goods/test/scratch")
    shutil.rmtree(work / "defects/test/good")
    shutil.rmtree(work / "no-masks/ground_truth")
    (work / "other-masks/ground_truth/scratch/000_mask.png").rename(work / "other-masks/ground_truth/scratch/x.png")
    mask = work / "large-masks/ground_truth/scratch/000_mask.png"
    cv2.imwrite(str(mask), cv2.imread(str(mask), 0).repeat(2, axis=0).repeat(2, axis=1))
    (work / "empty/train/good").mkdir(parents=True)
    (work / "empty/test/good").mkdir(parents=True)
    (work / "list.csv").write_text("path,label\na/test/good/000.png,good\na/test/scratch/000.png,bad\n")
    names = ("bare", "goods", "defects", "no-masks", "other-masks", "large-masks", "empty", "list.csv", "a")
    command = arguments(work, "padim", *names)
    assert main([argument for argument in command if argument != "--no-report"]) == 2
    rows = {row["category"]: row for row in table(work)}
    missing = {
        name: {c for c in ("image_auroc", "pixel_auroc", "au_pro_30", "false_reject", "miss", "ms_p50") if not row[c]}
        for name, row in rows.items()
    }
    everything = {"image_auroc", "pixel_auroc", "au_pro_30", "false_reject", "miss", "ms_p50"}
    assert missing == {
        "bare": everything,
        "goods": {"image_auroc", "pixel_auroc", "au_pro_30", "miss"},
        "defects": {"image_auroc", "false_reject"},
        "no-masks": {"pixel_auroc", "au_pro_30"},
        "other-masks": set(),
        "large-masks": set(),
        "empty": everything,
        "list": everything,
        "a": set(),
    }
    assert "no good images" in rows["empty"]["notes"]
    assert "CSV file names no images to export from" in rows["list"]["notes"]
    assert "1 masks have another size" in rows["large-masks"]["notes"]
    assert rows["large-masks"]["pixel_auroc"] == rows["a"]["pixel_auroc"]


def test_kinds_that_are_left_out(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(work / "a/test/scratch", work / "a/test/dent")
    command = arguments(work, "centroid", "a", more=("--exclude", "dent"))
    assert main(command) == 0
    (row,) = table(work)
    assert (row["goods"], row["defects"]) == ("2", "2")
    assert row["notes"].startswith("2 defects of dent are left out, as asked")
    assert main(arguments(work, "centroid", "a")) == 0
    assert table(work)[0]["defects"] == "4"
    assert main(arguments(work, "centroid", "a", more=("--exclude", "dents"))) == 2
    assert "expected dent, scratch; got dents" in capsys.readouterr().err


def test_saved_maps_of_a_grid(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(work, "padim", "a", more=("--from-maps",))) == 2
    assert "Run without --from-maps first" in capsys.readouterr().err
    assert not made(work)
    assert main(arguments(work, "padim", "a")) == 0
    again = arguments(work, "padim", "a", more=("--from-maps",))
    again[again.index("none")] = "all"
    assert main(again) == 0
    assert (work / "out/a/padim-net.onnx/good_000_overlay.png").is_file()


# ------------------------------------------------------------------------------------------- interruption


def children_of(text: str) -> list[str]:
    """Processes that name `text` on their command line, this one apart."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and int(folder.name) != os.getpid():
            found.append(command)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_taken_up_again(work: Path, number: signal.Signals) -> None:
    command = [str(SCRIPT), *arguments(work, "padim,knn,centroid", "a", "b", more=("--jobs", "2"))]
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        done = next(line for line in process.stderr if line.endswith(" s\n"))
        time.sleep(0.5)  # into the next exports
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 128 + number
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "interrupted"
    assert children_of(str(work)) == []
    left = [path.name for path in (work / "out").rglob("*") if path.is_file()]
    assert all(name.endswith((".bundle", ".json", ".log")) for name in left), left
    assert not list((work / "out").rglob(".*"))
    name = done.split()[1].removesuffix(":")
    before = (work / "out/bundles" / name).stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert f"export {name}: done before" in again.stderr
    assert (work / "out/bundles" / name).stat().st_mtime_ns == before
    assert len(table(work)) == 6


# ------------------------------------------------------------------------------------------- what is asked for


def test_the_embedded_backbone_is_the_export_s() -> None:
    options = pytest.importorskip("export.options", reason="the export is not installed")
    assert options.EMBEDDED == EMBEDDED


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("padin", "Did you mean padim"),
        ("", "different names"),
        ("padim,padim", "different"),
        ("x,knn", "no such method"),
    ],
)
def test_methods_that_there_are_not(given: str, says: str) -> None:
    assert choose_methods("knn, padim") == ("knn", "padim")
    assert set(METHODS) - {"autoencoder"} <= set(choose_methods("all")) <= set(METHODS)
    with pytest.raises(SpecError, match=says):
        choose_methods(given)


def test_weights_are_found_by_the_name(tmp_path: Path) -> None:
    for name in ("resnet18_to_layer3.pth", "resnet180.pth", "vgg11.pth", "vgg11_bn.pth", "README.md", "net.onnx"):
        (tmp_path / name).write_bytes(b"")
    folder, net = str(tmp_path), str(tmp_path / "net.onnx")
    one, own, embedded, unknown = choose_backbones(
        f"resnet18,{net},edge-s,densenet121", [folder], [f"{net}=a,b", "resnet18=layer1"]
    )
    assert one == Backbone("resnet18", tmp_path / "resnet18_to_layer3.pth", ("layer1",))
    assert own == Backbone(net, None, ("a", "b"))
    assert (own.title, own.is_file) == ("net.onnx", True)
    assert (embedded.weights, unknown.weights) == (None, None)
    (given,) = choose_backbones("vgg11", [folder, f"vgg11={tmp_path / 'vgg11.pth'}"], [])
    assert given.weights == tmp_path / "vgg11.pth"
    for names, weights, layers, says in (
        ("vgg11", [folder], [], r"several files.*vgg11\.pth, vgg11_bn\.pth"),
        ("vgg11", [f"vgg=={tmp_path}"], [], "names a backbone that is not in the grid"),
        ("vgg11", ["vgg11=no.pth"], [], "there is no no.pth"),
        ("vgg11", ["nowhere"], [], "there is no nowhere"),
        ("vgg11", ["vgg11="], [], "expected NAME=VALUE"),
        ("vgg11", [], ["vgg11"], "expected NAME=VALUE"),
        ("no.onnx", [], [], "there is no no.onnx"),
    ):
        with pytest.raises(SpecError, match=says):
            choose_backbones(names, weights, layers)


@pytest.mark.parametrize("option", ["--out", "--out=x", "--method", "--meth", "--backbone", "--threads", "--help"])
def test_options_that_are_the_grid_s_own(option: str) -> None:
    check_options(["--coreset", "0.01", "--roi", "1,2,30,40", "--to", "onnx", "--no-graph", "--mean", "-1", "0", "0"])
    with pytest.raises(SpecError, match="cannot be among the export options"):
        check_options(["--seed", "1", option])


@pytest.mark.parametrize(
    ("backbone", "missing", "says"),
    [
        ("edge-s", "export", r"no export.*edge-ad\[demo\]"),
        ("edge-s", "hnswlib", r"no hnswlib.*edge-ad\[demo\]"),
        ("resnet18", "torch", r"export of resnet18.*no torch.*edge-ad\[export\]"),
    ],
)
def test_an_export_that_is_not_installed(
    backbone: str,
    missing: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(EdgeADError, match=says):
        grid.require_export([("padim", Backbone(backbone))])
    write_category(tmp_path / "part", goods=2, tests=1)
    assert (
        main(["eval", "--backbones", backbone, "--data", str(tmp_path / "part"), "--out", str(tmp_path / "out")]) == 2
    )
    assert "pip install" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "found before the work"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "nothing to evaluate"),
        (["{golden}", "--weights", "x"], "--weights has no use without --methods"),
        (["{golden}", "--layers", "x=a"], "--layers has no use"),
        (["{golden}", "--export-options", "--seed", "1"], "--export-options has no use"),
        (["{golden}", "--jobs", "0"], "--jobs is out of range"),
        (["--methods", "magic"], "no such method"),
    ],
)
def test_options_that_make_no_sense(
    more: list[str], says: str, tmp_path: Path, golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_category(tmp_path / "part", goods=2, tests=1)
    command = ["eval", "--data", str(tmp_path / "part"), "--out", str(tmp_path / "out")]
    assert main([*command, *(text.format(golden=golden) for text in more)]) == 2
    assert says in capsys.readouterr().err


def test_a_category_named_as_the_folder_of_bundles(tmp_path: Path, golden: Path) -> None:
    write_category(tmp_path / "bundles", goods=2, tests=1)
    out = tmp_path / "out"
    assert main(["eval", str(golden), "--data", str(tmp_path / "bundles"), "--out", str(out), "--no-report"]) == 0
    assert not (out / "bundles").exists()
    assert table(tmp_path)[0]["category"] == "bundles"


def test_names_of_their_own() -> None:
    assert unique([("a b", "1"), ("c", "2")]) == ["a_b", "c"]
    first, second, third = unique([("a", "1"), ("A", "2"), ("", "3")])
    assert first.lower() != second.lower()
    assert third == "_"
