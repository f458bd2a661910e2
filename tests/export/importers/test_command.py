"""The command of the importers: whatever it is given, it makes a bundle or says what is wrong."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import EdgeADError, SpecError  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from export.importers.base import View  # noqa: E402
from export.importers.command import main  # noqa: E402
from export.importers.registry import FORMATS, format_of  # noqa: E402
from tests.export.importers.graphs import bank, gaussians, graph, padim_graph  # noqa: E402
from tests.tiny import write_category  # noqa: E402


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=4, tests=1)
    (folder / "weights/onnx").mkdir(parents=True)
    onnx.save(padim_graph(folder, *gaussians(folder)), str(folder / "weights/onnx/model.onnx"))
    onnx.save(graph(folder, bank(folder)), str(folder / "patchcore.onnx"))
    return folder


def words(given: Path, model: Path, out: Path, *more: object) -> list[str]:
    to = () if "openvino" in installed_engines() else ("--to", "onnx")
    command = [model, "--data", given / "part", "--out", out, "--threads", 1, "--no-graph", *to, *more]
    return [str(word) for word in command]


NAMES = ["model.ckpt", "model.xml", "model.onnx", "patchcore_params.pkl", "nnscorer_search_index.faiss", "a.json"]
CONTENTS = [
    b"",
    b"\0",
    b"\x08",
    b"\x80\x05.",
    b"PK\x03\x04" + bytes(60),
    b"<?xml version='1.0'?><net",
    b"{",
    b"IxF2",
    b"hello\n",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", CONTENTS, ids=repr)
def test_wrong_files_with_right_names(name: str, content: bytes, given: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgeADError) as caught:
        main(words(given, tmp_path / name, tmp_path / "a.bundle"))
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "a.bundle").exists()


def test_what_is_no_file(given: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, got in (("empty", "folder without"), ("none", "there is no")):
        with pytest.raises(SpecError, match=got):
            main(words(given, tmp_path / name, tmp_path / "a.bundle"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are of POSIX")
def test_a_pipe_is_not_waited_for(given: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match="a device or a pipe"):
        main(words(given, tmp_path / "pipe", tmp_path / "a.bundle"))


def test_a_folder_of_anomalib_names_the_file(given: Path) -> None:
    with pytest.raises(SpecError, match=r"Name the file: .*weights/onnx/model\.onnx"):
        format_of(given / "weights")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"PK")

    def refused(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(SpecError, match=r"cannot read .*Permission denied"):
        format_of(tmp_path / "model.ckpt")


def test_a_full_disk(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.bundle import file

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file, "write_output", full, raising=False)
    monkeypatch.setattr("edge_ad.system.files.os.fsync", full)
    with pytest.raises(EdgeADError, match="No space left"):
        main(words(given, given / "patchcore.onnx", tmp_path / "a.bundle"))
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_the_model(given: Path) -> None:
    before = (given / "patchcore.onnx").read_bytes()
    with pytest.raises(EdgeADError, match="file of the model"):
        main(words(given, given / "patchcore.onnx", given / "patchcore.onnx"))
    assert (given / "patchcore.onnx").read_bytes() == before


def test_a_typo(given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words(given, given / "patchcore.onnx", tmp_path / "a.bundle", "--fales-reject", 0.1))
    assert caught.value.code == 2
    assert "--fales-reject" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_nothing(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.system.entry import run_command

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.importers.make.finish", interrupted)
    out = tmp_path / "a.bundle"
    monkeypatch.setattr("sys.argv", ["export.importers", *words(given, given / "patchcore.onnx", out)])
    assert run_command(main, "interrupted; no half-written bundle is left") == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [("--input-size", -1, 64), ("--input-size", 64, 10**6), ("--resize", 0)])
def test_sizes_that_cannot_be(option: tuple[object, ...], given: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"{option[0]} is out of range"):
        main(words(given, given / "patchcore.onnx", tmp_path / "a.bundle", *option))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("view", [{"size": (10**9, 64)}, {"shorter": 2**40}, {"size": (64, 64), "crop": (64, 10**6)}])
def test_a_model_may_say_no_huge_size(view: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="a side of the model's images is out of range"):
        View(**view)
    with pytest.raises(SpecError, match="longer side of a resized frame is out of range"):
        View(shorter=4096).at((16, 4096))


def test_every_tool_has_a_format() -> None:
    import importlib

    for module in FORMATS.values():
        found = importlib.import_module(module).FORMAT
        assert not found.claims(Path("/nowhere"))
        assert found.files
