"""`edge-ad check`: whether this PC gives the answers that a bundle expects."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import edge_ad.cli.check
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from tests.cli.calling import failing
from tests.edited import edited


def test_check(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(golden)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^hashes +ok, \d+ members, id [0-9a-f]{16}$", out, re.MULTILINE)
    for engine in installed_engines():
        assert re.search(rf"^{engine} +ok", out, re.MULTILINE)
    assert ("parity" in out) == (len(installed_engines()) == 2)


def test_check_finds_altered_probes(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Bundle.open(golden) as bundle:
        distances = np.array(bundle.array("probes/distances"))
    distances[1, 7] += 0.01
    path = edited(golden, tmp_path / "altered.bundle", {"probes/distances": distances})
    assert main(["check", str(path)]) == 2
    out = capsys.readouterr().out
    assert out.count("FAILED") == len(installed_engines())
    assert "distances" in out


def test_check_finds_a_damaged_file(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(golden.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.bundle").write_bytes(data)
    failing(["check", tmp_path / "damaged.bundle"], capsys, "damaged")


def test_check_goes_on_to_the_next_engine(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    path = edited(golden, tmp_path / "ir.bundle", {"model.onnx": None})
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^onnxruntime +not run", out, re.MULTILINE)
    assert re.search(r"^openvino +ok", out, re.MULTILINE)
    broken = edited(golden, tmp_path / "broken.bundle", {"model.onnx": b"garbage"})
    assert main(["check", str(broken)]) == 2
    out = capsys.readouterr().out
    assert re.search(r"^onnxruntime +FAILED", out, re.MULTILINE)
    assert re.search(r"^openvino +ok", out, re.MULTILINE)


def test_check_finds_engines_that_differ(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    monkeypatch.setattr(edge_ad.cli.check, "relative_difference", lambda a, b: 0.5)
    assert main(["check", str(golden)]) == 2
    assert re.search(r"^parity +FAILED, patches 5.0e-01", capsys.readouterr().out, re.MULTILINE)


def test_check_without_an_engine_proves_nothing(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge_ad.cli.check, "installed_engines", lambda: ())
    monkeypatch.setattr("edge_ad.serving.point.installed_engines", lambda: ())
    failing(["check", golden], capsys, "pip install")
