"""Exit codes mean what the README says, whatever happens: 1 is "some anomalous" and never an accident."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import edge_ad
from edge_ad.cli import inspect, main
from edge_ad.errors import SpecError
from edge_ad.system import entry
from edge_ad.system.entry import run_command
from tests.paths import DATA
from tests.processes import child
from tests.tiny import good_frame

COMMANDS = ("edge_ad.cli", "export", "export.sample", "export.distill", "edge_ad.evaluation.finish")
COMMAND = [sys.executable, "-m", "edge_ad.cli"]
ROOT = str(Path(edge_ad.__file__).parents[1])


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with two good images."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), good_frame(i))
    return folder


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), text=True, timeout=120, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload, no-any-return]


# ---------------------------------------------------------------------------------------------- whatever is raised


@pytest.mark.parametrize("error", [ValueError("odd"), RecursionError("deep"), ImportError("libGL.so.1"), KeyError("k")])
def test_what_nobody_foresaw_is_an_error_on_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert run_command(work) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: unexpected {type(error).__name__}: ")
    assert "please report it" in said
    assert said.count("\n") == 1


def test_a_command_has_no_other_way_out(
    golden: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspect, "Runtime", lambda *_, **__: 1 / 0)
    assert main(["inspect", str(golden), str(parts)]) == 2
    assert "unexpected ZeroDivisionError" in capsys.readouterr().err


def test_no_memory(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise MemoryError

    assert run_command(work) == 2
    assert capsys.readouterr().err.startswith("error: there is not enough memory")


def test_the_traceback_is_there_for_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(entry.DEBUG_VARIABLE, "1")
    assert run_command(lambda: int("x")) == 2
    assert capsys.readouterr().err.startswith("Traceback")


def test_an_error_of_ours_is_told_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise SpecError("it is out of range", expected="1", got=2)

    assert run_command(work) == 2
    assert capsys.readouterr().err == "error: it is out of range; expected 1; got 2\n"


@pytest.mark.parametrize("module", COMMANDS)
def test_a_module_that_cannot_be_imported(module: str, tmp_path: Path) -> None:
    """Each command, with its arguments and the packages that it imports late broken."""
    arguments = {
        "edge_ad.cli": "['info']",
        "export": "['x']",
        "export.sample": "['cable', '/nonexistent\\0']",
        "export.distill": "['x', '--out', '/nonexistent/y.onnx']",
        "edge_ad.evaluation.finish": "['{}']",
    }[module]
    code = (
        "import importlib, sys\n"
        f"m = importlib.import_module({module + '.__main__' if module.startswith('export') else module!r})\n"
        "for name in ('edge_ad.cli.info', 'export.options', 'export.backbone'): sys.modules[name] = None\n"
        f"sys.exit(m.main({arguments}))"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signals")
@pytest.mark.parametrize("module", ["edge_ad.cli", "export"])
def test_stopped_before_it_has_begun(module: str, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])}
    with child([sys.executable, "-m", module, "x"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=60)[1] == "interrupted\n"
    assert process.returncode == 130


# ---------------------------------------------------------------------------------------------- standard streams


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_verdict(golden: Path, parts: Path, tmp_path: Path, streams: str) -> None:
    table = tmp_path / "t.csv"
    done = run("bash", "-c", f'"$0" "$@" {streams}', *COMMAND, "inspect", golden, parts, "--csv", table)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(table.read_text().splitlines()) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["info"], ["calibrate", "b.bundle", "--threshold-rule", "sigma"]])
def test_a_full_disk_behind_stdout(golden: Path, tmp_path: Path, arguments: list[str]) -> None:
    shutil.copy(golden, tmp_path / "b.bundle")
    with open("/dev/full", "w") as full:
        done = run(*COMMAND, *arguments, stdout=full, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT})
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the standard output or a temporary file cannot be written")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["export", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_cannot_be_printed(arguments: list[str], unbuffered: str) -> None:
    """The export's is longer than Python's buffer, the others are shorter."""
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = run(*COMMAND, *arguments, stdout=full, env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the standard output or a temporary file cannot be written")


# ---------------------------------------------------------------------------------------------- where it runs


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="root becomes another user, on Linux")
def test_a_user_without_a_name_and_a_home(golden: Path, engine: str) -> None:
    keep = "ctypes.CDLL(None).prctl(28, 4, 0, 0, 0)"  # root's rights (SECBIT_NO_SETUID_FIXUP): Python's folder
    code = (  # may be for root alone
        f"import ctypes, os, sys; {keep}; os.setgroups([]); os.setuid(54321)\n"
        "from edge_ad.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = run(
        *(sys.executable, "-c", code, "inspect", golden, DATA / "good-0.png", "--engine", engine),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr


def test_an_empty_environment(golden: Path, parts: Path) -> None:
    done = run(*COMMAND, "inspect", golden, parts, env={"PYTHONPATH": ROOT})
    assert done.returncode == 0, done.stderr


def test_tune_says_before_the_work_that_there_is_no_home(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EDGE_AD_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr("edge_ad.cli.tune.tune", lambda *_: pytest.fail("work was done"))
    assert main(["tune", str(golden)]) == 2
    assert "Set EDGE_AD_CACHE_DIR to a folder" in capsys.readouterr().err


def test_tune_says_before_the_work_that_the_cache_cannot_be_written(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")  # as root may write everywhere, a file is in the way
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr("edge_ad.cli.tune.tune", lambda *_: pytest.fail("work was done"))
    assert main(["tune", str(golden)]) == 2
    assert "Set EDGE_AD_CACHE_DIR to a folder that can be written" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folder of a process")
def test_a_working_directory_that_is_gone(golden: Path, parts: Path, tmp_path: Path) -> None:
    gone = 'mkdir "$1" && cd "$1" && rmdir "$1" && shift && "$@"'
    inspecting = [*COMMAND, "inspect", golden, parts, "--csv", tmp_path / "t.csv"]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    assert run("bash", "-c", gone, "-", tmp_path / "gone", *inspecting, env=environment).returncode == 0
    assert (tmp_path / "t.csv").is_file()
    here = [*COMMAND, "inspect", golden, parts, "--csv", "t.csv"]
    done = run("bash", "-c", gone, "-", tmp_path / "gone", *here, env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("epoch", ["abc", "1.5", "99999999999999999", "-99999999999999"])
def test_a_bad_source_date_epoch(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    out = tmp_path / "x.bundle"
    assert main(["calibrate", str(golden), "--threshold-rule", "sigma", "--out", str(out)]) == 2
    assert f"SOURCE_DATE_EPOCH is no time; expected whole seconds since 1970, such as 1700000000; got '{epoch}'" in (
        capsys.readouterr().err
    )
    assert not out.exists()


def test_a_bad_source_date_epoch_before_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    assert main(["export", str(tmp_path)]) == 2
    assert "SOURCE_DATE_EPOCH is no time" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- edge-ad export


def test_edge_ad_export_is_python_m_export(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["export", "--help"])
    assert end.value.code == 0
    assert "--coreset" in capsys.readouterr().out


def test_a_file_export_py_shadows_nothing(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    (tmp_path / "export.py").write_text("raise SystemExit('another export')")
    done = run(*COMMAND, "export", "no-such-part", cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT})
    assert done.returncode == 2
    assert "there is no category 'no-such-part'" in done.stderr


@pytest.mark.parametrize(("command", "extra"), [("export", "demo"), ("teach", "teach")])
def test_an_edge_pc_without_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, extra: str
) -> None:
    monkeypatch.setattr("edge_ad.cli.export.__file__", str(tmp_path / "edge_ad" / "cli" / "export.py"))
    assert main([command, "x"]) == 2
    error = capsys.readouterr().err
    assert "the export is not installed here" in error
    assert f"pip install 'edge-ad[{extra}]'" in error
