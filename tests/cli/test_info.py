"""`edge-ad info`: what a bundle says of itself, and this PC."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ad import Runtime
from edge_ad.cli import main
from edge_ad.heads.spade import SpadeSpec
from edge_ad.spec import ProjectionSpec
from tests.cli.calling import failing
from tests.edited import edited


def test_info(golden: Path, golden_roi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(golden)]) == 0
    out = capsys.readouterr().out
    for text in (
        "part, made 2023",
        "patchcore",
        "64 x 64 at export",
        "onnx openvino",
        "307 of 3,072",
        "percentile 99.5",
    ):
        assert text in out
    assert "edge_ad" in out
    assert main(["info", str(golden_roi)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^roi +box 20,18,46,44, halo 2 px$", out, re.MULTILINE)
    assert "Eq. 7 b=5" in out
    assert "32 x 32 of 64 x 64" in out


def test_what_the_good_images_can_promise(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold from three scores says so; without scores there is nothing to promise."""
    few = edited(golden, tmp_path / "few.bundle", calibration={"good_scores": (0.1, 0.2, 0.3), "threshold": 0.31})
    assert main(["info", str(few)]) == 0
    assert re.search(r"^promise .*expect 25% rejected.*from 3 scores is hardly", capsys.readouterr().out, re.MULTILINE)
    none = edited(golden, tmp_path / "none.bundle", calibration={"good_scores": ()})
    assert main(["info", str(none)]) == 0
    assert not re.search("^promise ", capsys.readouterr().out, re.MULTILINE)


def test_info_of_a_method_with_a_projection(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = SpadeSpec("spade", images=1200, gallery=50, neighbors=5, projection=ProjectionSpec(64))
    assert main(["info", str(edited(golden, tmp_path / "spade.bundle", head=head, index=None))]) == 0
    assert "spade, images 1,200, gallery 50, neighbors 5, projection 64" in capsys.readouterr().out


def test_info_without_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for name in ("edge_ad", "python", "cpu", "isa", "openvino", "onnxruntime", "numpy"):
        assert re.search(rf"^{name} ", out, re.MULTILINE)
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["isa"]


def test_info_as_json(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", str(golden)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == Runtime(golden).bundle_id
    assert found["manifest"]["index"]["size"] == 307
    assert "coreset" in found["manifest"]["members"]


def test_info_opens_no_engine(golden: Path) -> None:
    code = (
        "import sys; from edge_ad.cli import main; "
        f"code = main(['info', {str(golden)!r}]); "
        "print({'openvino', 'onnxruntime', 'torch'} & {*sys.modules}, code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set() 0"


def test_info_of_what_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.bundle").write_text("no bundle")
    failing(["info", tmp_path / "x.bundle"], capsys, "no bundle")
    failing(["info", tmp_path], capsys, "regular file|directory")
