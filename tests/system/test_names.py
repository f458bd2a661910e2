"""Names that are no UTF-8, or hold control characters, or are as long as may be: one printable form everywhere."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import edge_ad
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.data.labelled import slugs
from edge_ad.errors import SpecError
from edge_ad.system import names
from edge_ad.system.names import printable, who_of
from tests.tiny import good_frame, tiny_options, write_category

ODD = os.fsdecode(b"odd\xff\xfe")
SHOWN = "odd\\xff\\xfe"


@pytest.fixture
def odd(tmp_path: Path, golden: Path) -> Path:
    """A folder with an undecodable name that holds images with undecodable and strange names, beside a bundle."""
    folder = tmp_path / ODD
    try:
        folder.mkdir()
    except OSError as error:  # macOS takes UTF-8 alone
        pytest.skip(f"this file system takes no such name: {error}")
    for i, name in enumerate((f"{ODD}.png", "a\nb.png", "漢ü.png")):
        (folder / name).write_bytes(cv2.imencode(".png", good_frame(i))[1].tobytes())
    return folder


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("漢ü.png", "漢ü.png"),
        (os.fsdecode(b"\xff.png") if os.name != "nt" else "\udcff.png", "\\xff.png"),
        ("a\nb\x1b[2J", "a\\nb\\x1b[2J"),
        ("\u2028\x85", "\\u2028\\x85"),
        ("\ud800", "\\ud800"),
    ],
)
def test_one_form(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(Path(name)) == shown


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict", "ascii:strict"])
def test_every_image_has_its_line_and_its_row(golden: Path, odd: Path, tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_ad.cli", "inspect", golden, odd, "--csv", tmp_path / "t.csv"],
        capture_output=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONIOENCODING": encoding,
            "PYTHONPATH": str(Path(edge_ad.__file__).parents[1]),
        },
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode(encoding.partition(":")[0]).splitlines()
    assert len(lines) == 3
    assert {line.split(" ")[0] for line in lines} >= {f"{SHOWN}.png", "a\\nb.png"}
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["file"] for row in csv.DictReader(stream)} == {f"{SHOWN}.png", "a\\nb.png", "漢ü.png"}


def test_json_lines(golden: Path, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(golden), str(odd), "--jsonl"]) == 0
    names = {json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()}
    assert f"{SHOWN}.png" in names


def test_pictures_keep_the_names_as_they_are(golden: Path, odd: Path, tmp_path: Path) -> None:
    assert main(["inspect", str(golden), str(odd), "--overlay", str(tmp_path / "pictures")]) == 0
    assert sorted(os.listdir(tmp_path / "pictures")) == sorted(os.listdir(odd))


def test_info_and_calibrate(golden: Path, odd: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"{ODD}.bundle"
    assert main(["calibrate", str(golden), "--data", str(odd), "--out", str(out)]) == 0
    with Bundle.open(out) as bundle:
        source = bundle.manifest.calibration.source
    assert source is not None
    assert source.data == SHOWN
    for more in ([], ["--json"]):
        assert main(["info", str(out), *more]) == 0
    printed = capfd.readouterr().out
    assert f"images: {tmp_path / SHOWN}\n" in printed
    assert f"{tmp_path / SHOWN}.bundle (" in printed


def test_eval(golden: Path, odd: Path, tmp_path: Path) -> None:
    part = write_category(tmp_path / "part", goods=1, tests=2).rename(odd / "part")  # OpenCV crashes on such a path
    os.rename(part / "test/good/000.png", part / "test/good" / f"{ODD}.png")
    out = tmp_path / "out"
    assert main(["eval", str(golden), "--data", str(part), "--out", str(out), "--pictures", "all"]) == 0
    assert f"good/{SHOWN}.png" in (out / "part" / golden.stem / "scores.csv").read_text(encoding="utf-8")


def test_the_manifest_of_an_export(tiny: Path, odd: Path, tmp_path: Path) -> None:
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from export.pipeline import export_bundle

    category = write_category(tmp_path / "part", tests=1).rename(odd / ODD)
    summary = export_bundle(tiny_options(tiny, category=str(category), out=tmp_path / "x.bundle", to="onnx"))
    with Bundle.open(summary.bundle) as bundle:
        assert bundle.manifest.name == SHOWN


def test_the_longest_name(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    name = "n" * 250
    cv2.imwrite(str(tmp_path / "in" / "0.png"), good_frame(0))
    (tmp_path / "in" / "0.png").rename(tmp_path / "in" / f"{name}.png")
    inspecting = ["inspect", str(golden), str(tmp_path / "in")]
    assert main([*inspecting, "--csv", str(tmp_path / f"{name}.csv"), "--overlay", str(tmp_path / "pictures")]) == 0
    assert os.listdir(tmp_path / "pictures") == [f"{name}.png"]
    assert main([*inspecting, "--csv", str(tmp_path / f"{name}.table")]) == 2
    assert "cannot be written; got File name too long. Give another --csv." in capsys.readouterr().err


def test_a_category_whose_bundle_would_have_too_long_a_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_category(tmp_path / ("n" * 250), tests=1)
    assert main(["export", "n" * 250]) == 2
    assert "cannot be written; got File name too long. Give another --out." in capsys.readouterr().err


def test_a_name_that_is_too_long_for_any_file(capsys: pytest.CaptureFixture[str], golden: Path) -> None:
    for arguments in (["inspect", str(golden)], ["export"], ["info"]):
        assert main([*arguments, "n" * 300]) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_slugs_fit_into_names_of_files() -> None:
    (slug,) = slugs(["漢" * 100 + ".png"])
    assert 90 < len(slug.encode()) <= 100


def test_who_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.getpass, "getuser", lambda: "bert")
    assert [who_of(" anna "), who_of(""), who_of("a\nb")] == ["anna", "bert", "a\\nb"]
    with pytest.raises(SpecError, match="--who is too long"):
        who_of("a" * 201)

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(names.getpass, "getuser", nobody)
    assert who_of("") == "unknown"
