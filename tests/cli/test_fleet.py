"""`edge-ad fleet`: what a person sees of it. How it survives is in tests/fleet."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra fleet)")
pytest.importorskip("fsspec", reason="URLs need fsspec (the extra fleet)")

import pyarrow.parquet as pq

from edge_ad.cli import main
from edge_ad.fleet import tables
from tests.fleet.made import assert_equal_to_inspect, rows_of, write_images
from tests.tiny import good_frame, write_backbone, write_category

NEEDED = {"pyarrow": "edge-ad[fleet]", "ray": "edge-ad[ray]"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "in", 12)
    return tmp_path / "in"


def test_codes_and_summary(golden: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--workers", "1"]
    assert main(["fleet", "inspect", str(golden), str(images), "--out", str(tmp_path / "a"), *one]) == 2
    said = capsys.readouterr()
    assert "errors       2" in said.out
    assert "FILE cannot be decoded" in said.out
    assert said.err.count("error: ") == 2
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert (summary["images"], summary["good"] + summary["anomalous"], summary["errors"]) == (12, 10, 2)
    assert_equal_to_inspect(rows_of(tmp_path / "a"), golden, sorted(images.iterdir()))
    bad = images / "0000.png"
    assert (
        main(["fleet", "inspect", str(golden), str(bad), "--out", str(tmp_path / "b"), *one, "--threshold", "1e-9"])
        == 1
    )
    assert (
        main(["fleet", "inspect", str(golden), str(bad), "--out", str(tmp_path / "c"), *one, "--threshold", "1e9"]) == 0
    )
    assert "options" in json.loads((tmp_path / "c" / "fleet.json").read_text())


def test_labels_ride_along_and_results_go_to_a_url(golden: Path, images: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"in/{name:04d}.png,kind {name % 2}\n" for name in (4, 5, 7)))
    out = (tmp_path / "out").as_uri()
    assert main(["fleet", "inspect", str(golden), str(listed), "--out", out, "--workers", "1"]) in (0, 1)
    rows = pq.read_table(tmp_path / "out" / "parts").to_pylist()
    assert [(Path(row["path"]).name, row["label"]) for row in rows] == [
        ("0004.png", "kind 0"),
        ("0005.png", "kind 1"),
        ("0007.png", "kind 1"),
    ]
    assert main(["fleet", "inspect", str(golden), str(images), "--out", out]) == 2, "other images"


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(images: Path) -> Iterator[str]:
    handler = functools.partial(Silent, directory=str(images))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def test_images_of_a_web_server(golden: Path, images: Path, tmp_path: Path, server: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http by aiohttp")
    (images / "list.txt").write_text("0004.png\n0005.png\nnone.png\n")
    command = ["fleet", "inspect", str(golden), f"{server}/list.txt", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(command) == 2
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [f"{server}/{name}" for name in ("0004.png", "0005.png", "none.png")]
    assert [bool(row["error"]) for row in rows] == [False, False, True]
    assert "nothing there" in rows[2]["error"]


@pytest.mark.parametrize("package", NEEDED)
def test_what_is_not_installed(
    golden: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    more = ["--ray", "local"] if package == "ray" else []
    assert main(["fleet", "inspect", str(golden), str(images), "--out", str(tmp_path / "out"), *more]) == 2
    assert f"pip install '{NEEDED[package]}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "0"], "--workers is out of range"),
        (["--threads", "0"], "--threads is out of range"),
        (["--shard-size", "0"], "--shard-size is out of range"),
        (["--readers", "-1"], "readers is out of range"),
        (["--threshold", "-1"], "threshold is out of range"),
        (["--point", "int9"], "int9"),
    ],
)
def test_options_out_of_range(
    golden: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    out = tmp_path / "out"
    assert main(["fleet", "inspect", str(golden), str(images), "--out", str(out), "--workers", "1", *options]) == 2
    assert says in capsys.readouterr().err
    assert not (out / "parts").exists()


def test_parquet_is_asked_for_once() -> None:
    tables.require_parquet()


def test_categories_and_candidates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exports, then evaluations; the second time nothing is made again, and what changed is."""
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    for name in ("bolt", "nut"):
        write_category(tmp_path / name, goods=8, tests=2)
    backbone = write_backbone(tmp_path / "backbone.onnx")
    own = f"--backbone {backbone} --layers fine coarse --input-size 64 --quick --coreset 0.1"
    categories, bundles = [str(tmp_path / "bolt"), str(tmp_path / "nut")], str(tmp_path / "bundles")
    command = ["fleet", "export", *categories, "--candidate", f"own={own}", "--out", bundles, "--workers", "2"]
    assert main([*command, "--candidate", f"wrong={own} --nonsense"]) == 2
    said = capsys.readouterr()
    assert said.out.count("made in") == 2
    assert said.out.count("unrecognized arguments: --nonsense") == 2
    assert (tmp_path / "bundles" / "nut" / "own.log").is_file()
    assert main(command) == 0
    assert capsys.readouterr().out.count("done before") == 2
    cv2.imwrite(str(tmp_path / "nut" / "train" / "good" / "more.png"), good_frame(99))
    assert main(command) == 0
    said = capsys.readouterr()
    assert (said.out.count("done before"), said.out.count("made in")) == (1, 1)

    (tmp_path / "nut" / "test" / "good" / "broken.png").write_bytes(b"no image")
    measure = ["fleet", "eval", bundles, "--data", *categories, "--out", str(tmp_path / "res"), "--workers", "2"]
    assert main(measure) == 2
    said = capsys.readouterr()
    assert "error: nut: some images or bundles, see" in said.err
    rows = (tmp_path / "res" / "summary.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["category", "bolt", "nut"]
    assert "image AUROC" in said.out
    assert main([*measure[:-4], "bolt_and_more", *measure[-4:]]) == 2, "no such category"


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        ("..=--quick", "cannot be used"),
        ("-a=--quick", "cannot be used"),
        ("--quick", "NAME=OPTIONS"),
        ("a/b=--quick", "NAME=OPTIONS"),
        ("a=--out x", "--out cannot be among the options of a"),
        ("a='", "cannot be read"),
    ],
)
def test_candidates_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], candidate: str, says: str
) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    assert main(["fleet", "export", "part", f"--candidate={candidate}", "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err
