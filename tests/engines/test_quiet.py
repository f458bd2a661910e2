"""Nothing is sent and nothing is stored behind the user's back: the engines and the export are watched by strace.

Tolerated are sockets of the family AF_UNIX, which stay on the machine: the C library asks its name service by one, and
libuuid its daemon. The export may also make an AF_INET socket that is never connected and sends nothing: Python's
`uuid.uuid1`, which ONNX Runtime's quantiser calls, reads the address of the network card through it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from edge_ad.engines import installed_engines, quietly
from tests.paths import ROOT

CALLS = "trace=network,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2"
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^(creat|mkdir|mkdirat|rename|renameat|renameat2)\(")
SENT = re.compile(r"^(connect|sendto|sendmsg|sendmmsg)\(")
INSPECT = """
import sys
from edge_ad import Runtime
from tests.tiny import good_frame
for engine in sys.argv[2:]:
    runtime = Runtime(sys.argv[1], engine=engine)
    assert runtime.inspect(good_frame(0)).score > 0
"""


def environment(folder: Path) -> dict[str, str]:
    """A user's environment with an empty home, and without the variables by which packages spare tests and CI."""
    kept = ("PATH", "LD_LIBRARY_PATH", "LANG", "VIRTUAL_ENV")
    own = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": 1}
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir()
    return {**{name: os.environ[name] for name in kept if name in os.environ}, **{k: str(v) for k, v in own.items()}}


def watched(folder: Path, *command: str) -> list[str]:
    """Runs Python in folder/work and returns its calls that name a file or a socket and did not fail for a lack."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, timeout=60)
    if tried.returncode:
        pytest.skip(f"strace may not watch here: {tried.stderr.strip()[:100]}")
    log = folder / "calls"
    done = subprocess.run(
        [strace, "-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o", str(log), sys.executable, *command],
        cwd=folder / "work",
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = (line.partition(" ")[2].strip() for line in log.read_text(errors="replace").splitlines())
    return [line for line in lines if not re.search(r"= -1 (ENOENT|EEXIST)", line)]


def written(calls: list[str], folder: Path) -> list[str]:
    """The calls that write where the command was not told to: outside of its temporary and its working folder."""
    own = (str(folder / "tmp"), str(folder / "work"), "/dev/null", "/dev/shm/")
    return [call for call in calls if WRITES.search(call) and not any(f'"{path}' in call for path in own)]


def test_the_engines_send_nothing_and_write_nothing(golden: Path, tmp_path: Path) -> None:
    assert installed_engines()
    calls = watched(tmp_path, "-c", INSPECT, str(golden), *installed_engines())
    assert any(str(golden) in call for call in calls)  # the log is one
    assert [call for call in calls if call.startswith("socket(") and "AF_UNIX" not in call] == []
    assert [call for call in calls if SENT.match(call) and "AF_UNIX" not in call] == []
    assert written(calls, tmp_path) == []
    assert [*(tmp_path / "home").iterdir(), *(tmp_path / "tmp").iterdir(), *(tmp_path / "work").iterdir()] == []


def test_the_export_sends_nothing_and_writes_the_bundle_only(tmp_path: Path) -> None:
    """With int8 where NNCF is installed: it has telemetry of its own."""
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from tests.tiny import write_material

    write_material(tmp_path / "in", goods=20)
    both = len(installed_engines()) == 2
    points = "f32,int8" if both and importlib.util.find_spec("nncf") else "f32"
    to = "both" if both else {"openvino": "openvino", "onnxruntime": "onnx"}[installed_engines()[0]]
    options = f"--to {to} --layers fine coarse --input-size 64 --coreset 0.1 --points {points}".split()
    own = [str(tmp_path / "in" / "part"), "--backbone", str(tmp_path / "in" / "backbone.onnx")]
    calls = watched(tmp_path, "-m", "export", *own, *options)
    assert [call for call in calls if SENT.match(call) and "AF_UNIX" not in call] == []
    assert written(calls, tmp_path) == []
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["part.bundle"]
    assert list((tmp_path / "home").iterdir()) == []


# -------------------------------------------------------------------------------------------- homes of all kinds


@pytest.mark.parametrize("home", [None, "/nonexistent", "/proc"], ids=["unset", "missing", "read-only"])
def test_a_home_is_not_needed(golden: Path, tmp_path: Path, home: str | None) -> None:
    """Nor an entry for the user in passwd, where the kernel lets a test be such a user."""
    env = {k: v for k, v in environment(tmp_path).items() if k != "HOME"} | ({"HOME": home} if home else {})
    command = [sys.executable, "-c", INSPECT, str(golden), *installed_engines()]
    nobody = [shutil.which("unshare") or "", "--user", "--map-user=54321", "--map-group=54321"]
    commands = [command]
    if nobody[0] and subprocess.run([*nobody, "true"], capture_output=True, timeout=60).returncode == 0:
        commands.append([*nobody, *command])
    for given in commands:
        done = subprocess.run(given, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")


# ----------------------------------------------------------------------------------------------------- quietly


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A telemetry package that the program has imported, and an environment that says nothing."""
    found = types.ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", found)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(disable_telemetry_events=lambda: None))
    return found


def test_the_process_is_left_as_it_was(telemetry: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside() -> None:
        with quietly(), quietly():
            assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
            with pytest.raises(ImportError):
                import openvino_telemetry  # noqa: F401
            raise KeyError

    for imported in (True, False):
        if not imported:
            monkeypatch.delitem(sys.modules, "openvino_telemetry")
        with pytest.raises(KeyError):
            inside()
        assert sys.modules.get("openvino_telemetry") is (telemetry if imported else None)
        assert ("openvino_telemetry" in sys.modules) == imported
        assert "ORT_DISABLE_TELEMETRY" not in os.environ


@pytest.mark.parametrize(("said", "times"), [(None, 1), ("1", 1), ("0", 0)])
def test_the_users_word_on_onnxruntime_holds(
    telemetry: types.ModuleType, monkeypatch: pytest.MonkeyPatch, said: str | None, times: int
) -> None:
    called = []
    monkeypatch.setitem(
        sys.modules, "onnxruntime", types.SimpleNamespace(disable_telemetry_events=lambda: called.append(1))
    )
    if said is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", said)
    with quietly():
        assert os.environ["ORT_DISABLE_TELEMETRY"] == (said or "1")
    assert len(called) == times
    assert os.environ.get("ORT_DISABLE_TELEMETRY") == said


def test_an_engine_that_the_program_imported_before(golden: Path, tmp_path: Path) -> None:
    code = f"""
import sys, types
class Telemetry:
    def __init__(self, *args, **more): self.backend = types.SimpleNamespace(app_name=more.get("app_name"))
    def __getattr__(self, name): return lambda *args, **more: None
names = ("openvino_telemetry", "openvino_telemetry.backend", "openvino_telemetry.backend.backend_ga4")
for name in names: sys.modules[name] = types.ModuleType(name)
sys.modules[names[0]].Telemetry = Telemetry
sys.modules[names[1]].backend_ga4 = sys.modules[names[2]]
own = sys.modules[names[0]]
import {", ".join(installed_engines())}
{INSPECT}
assert sys.modules["openvino_telemetry"] is own
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(golden), *installed_engines()],
        cwd=tmp_path,
        env={**environment(tmp_path), "ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
