"""`edge-ad inspect`: lines, tables and pictures of what was found, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.cli import main
from tests.cli.calling import failing, lines, run
from tests.paths import DATA, SCRIPT
from tests.processes import child
from tests.tiny import good_frame


def test_a_line_for_each_image(golden: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(golden), str(parts)]) == 1
    found = lines(capsys.readouterr().out)
    assert [(name, verdict) for name, _, verdict in found] == [
        ("good_0.png", 0),
        ("good_1.png", 0),
        ("good_2.png", 0),
        ("good_3.png", 0),
        ("img10.bmp", 1),
        ("line 2/bad.png", 1),
    ]
    runtime = Runtime(golden)
    for name, score, _ in found:
        assert score == pytest.approx(runtime.inspect(parts / name).score, abs=6e-5)


def test_all_good_is_0(golden: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(golden), str(parts / "good_1.png")]) == 0
    assert lines(capsys.readouterr().out)[0][0] == "good_1.png"
    assert main(["inspect", str(golden), str(parts), "--threshold", "100"]) == 0


def test_one_anomalous_image_is_1(golden: Path, parts: Path) -> None:
    assert main(["inspect", str(golden), str(parts / "img10.bmp")]) == 1


def test_the_installed_script(golden: Path, parts: Path) -> None:
    assert run("inspect", golden, parts / "good_0.png").returncode == 0
    done = run("inspect", golden, parts)
    assert done.returncode == 1
    assert len(lines(done.stdout)) == 6
    assert "inspect: 6 images" in done.stderr  # progress is on stderr
    assert run("inspect", golden, parts / "typo").returncode == 2


def test_csv(golden: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    out.write_text("an older table")
    assert main(["inspect", str(golden), str(parts), "--csv", str(out)]) == 1
    printed = lines(capsys.readouterr().out)
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [name for name, _, _ in printed]
    assert [int(row["verdict"]) for row in rows] == [verdict for _, _, verdict in printed]
    for row, (_, score, _) in zip(rows, printed, strict=True):
        assert float(row["score"]) == pytest.approx(score, abs=6e-5)
        assert float(row["ms"]) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "parts"]  # no draft is left


def test_jsonl(golden: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(golden), str(parts), "--jsonl"]) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 6
    worst = records[4]
    assert worst["file"] == "img10.bmp"
    assert worst["is_anomalous"] is True
    assert worst["regions"]
    assert worst["bundle"] == Runtime(golden).bundle_id


def test_overlay(golden: Path, parts: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(parts / "img10.png"), good_frame(1))  # beside img10.bmp: both get a picture
    out = tmp_path / "out" / "pictures"
    assert main(["inspect", str(golden), str(parts), "--overlay", str(out)]) == 1
    pictures = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    goods = {f"good_{i}.png" for i in range(4)}
    assert pictures == goods | {"img10.bmp.png", "img10.png", "line 2/bad.png"}
    assert cv2.imread(str(out / "line 2" / "bad.png")).shape == (64, 64, 3)


def test_overlay_never_overwrites_an_image(
    golden: Path, parts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()}
    cases: list[tuple[object, object]] = [
        (parts, parts),
        (parts / "good_0.png", parts),
        (parts, parts / "line 2" / ".."),
    ]
    for images, folder in cases:
        failing(["inspect", golden, images, "--overlay", folder], capsys, "--overlay would replace an image")
    monkeypatch.chdir(parts)
    failing(["inspect", golden, "good_0.png", "--overlay", "."], capsys, "--overlay would replace an image")
    assert {path: path.read_bytes() for path in parts.rglob("*") if path.is_file()} == before


def test_a_broken_image_is_reported_and_passed_over(
    golden: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parts / "good_1.png").write_bytes((parts / "good_1.png").read_bytes()[:1000])
    (parts / "empty.jpg").write_bytes(b"")
    assert main(["inspect", str(golden), str(parts), "--csv", str(tmp_path / "out.csv")]) == 2
    captured = capsys.readouterr()
    assert [name for name, _, _ in lines(captured.out)] == [
        "good_0.png",
        "good_2.png",
        "good_3.png",
        "img10.bmp",
        "line 2/bad.png",
    ]
    assert captured.err.count("error: ") == 2
    assert "good_1.png" in captured.err
    assert "empty.jpg" in captured.err
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 6


def test_a_budget(golden: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(golden), str(parts), "--budget-ms", "60000"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 6
    last = said.err.splitlines()[-1]
    assert re.fullmatch(r"budget 60000 ms: 0 of 6 frames late, p99 [0-9.]+ ms; by point: f32 6", last)
    assert main(["inspect", str(golden), str(parts), "--budget-ms", "0.0001"]) == 2
    assert "error: no operating point keeps the latency budget" in capsys.readouterr().err  # and the table
    failing(["inspect", golden, parts, "--budget-ms", "-1"], capsys, "budget_ms")


def test_nothing_to_inspect(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(["inspect", golden, tmp_path], capsys, "no images in") == ""
    failing(["inspect", golden, tmp_path / "prats"], capsys, "there is no .*prats")
    failing(["inspect", tmp_path / "no.bundle", DATA], capsys, r"no bundle at .*no\.bundle")


def test_bad_options(golden: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing(["inspect", golden, parts, "--threads", "0"], capsys, "threads")
    failing(["inspect", golden, parts, "--threshold", "nan"], capsys, "threshold")
    failing(["inspect", golden, parts, "--cores", "9999"], capsys, "cores")
    failing(["inspect", golden, parts, "--csv", tmp_path / "no" / "out.csv"], capsys, "writable folder")
    (tmp_path / "file").write_text("")
    failing(["inspect", golden, parts, "--overlay", tmp_path / "file"], capsys, "--overlay is no folder")
    for arguments in (
        [],
        ["inspect"],
        ["inspect", "a", "b", "--cores", "x"],
        ["tune"],
        ["inspect", "a", "b", "--engine", "x"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


def test_every_runtime_option_reaches_the_runtime(
    golden: Path, parts: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    core = str(max(os.sched_getaffinity(0)))
    options = ["--engine", engine, "--threads", "1", "--search", "graph", "--point", "f32", "--cores", core]
    assert main(["inspect", str(golden), str(parts / "good_0.png"), "--jsonl", *options]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["engine"], record["search"], record["point"]) == (engine, "graph", "f32")


def test_a_csv_that_cannot_be_written_is_an_error(
    golden: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.csv").mkdir()
    out = failing(["inspect", golden, parts, "--csv", tmp_path / "taken.csv"], capsys, "--csv is a folder")
    assert lines(out) == []  # it is said before the work
    assert not list(tmp_path.glob(".*"))


def test_interrupt(golden: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle: 130, no traceback, and the table has what was finished."""
    folder = tmp_path / "many"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), good_frame(0))
    for i in range(1, 4000):
        os.link(folder / "0.png", folder / f"{i}.png")
    out = tmp_path / "out.csv"
    command = [str(SCRIPT), "inspect", str(golden), str(folder), "--csv", str(out)]
    lines_file = tmp_path / "lines.txt"  # a file, as nothing is lost in a reader's buffer
    with lines_file.open("w") as stream, child(command, stdout=stream, stderr=subprocess.PIPE) as process:
        while lines_file.read_text().count("\n") < 5:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "interrupted"
    printed = lines(lines_file.read_text())
    assert 5 <= len(printed) < 4000
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert abs(len(rows) - len(printed)) <= 1  # the one between its line and its row
    both = min(len(rows), len(printed))
    assert both >= 4
    assert [row["file"] for row in rows[:both]] == [name for name, _, _ in printed[:both]]
    assert not list(tmp_path.glob(".*"))


def test_a_closed_pipe_is_no_traceback(golden: Path, parts: Path) -> None:
    for i in range(300):
        os.link(parts / "good_0.png", parts / f"copy_{i}.png")
    command = f"'{SCRIPT}' inspect '{golden}' '{parts}' | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert len(lines(done.stdout)) == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(golden: Path, parts: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [str(SCRIPT), "inspect", str(golden), str(parts)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_inspecting_needs_no_torch(golden: Path, parts: Path) -> None:
    code = (
        "import sys; from edge_ad.cli import main; "
        f"main(['inspect', {str(golden)!r}, {str(parts)!r}]); main(['check', {str(golden)!r}]); "
        "print({'torch', 'torchvision', 'onnx', 'hnswlib', 'export'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# ------------------------------------------------------------------------------------------------- what is given


def test_an_image_of_a_wrong_kind_is_named(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), good_frame(1).astype(np.uint16) * 257)
    assert main(["inspect", str(golden), str(tmp_path)]) == 2
    assert "deep.png has the wrong dtype; expected uint8; got uint16" in capsys.readouterr().err


def test_an_empty_path_is_not_the_working_directory(
    golden: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(parts)
    before = sorted(parts.rglob("*"))
    for arguments in (
        ["inspect", golden, ""],
        ["inspect", golden, ".", "--overlay", ""],
        ["eval", golden, "--out", ""],
        ["teach", "new", ""],
        ["export", "part", "--weights", ""],
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments)])
        assert stopped.value.code == 2
        assert "the path is empty" in capsys.readouterr().err
    assert sorted(parts.rglob("*")) == before


def test_pictures_go_into_a_folder(golden: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = failing(["inspect", golden, parts, "--overlay", parts / "notes.txt"], capsys, "--overlay is no folder")
    assert not out  # said before any work
