"""`edge-ad demo`: what is refused before there is a page, and how it ends. The page itself: tests/demo/test_page.py."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_ad.cli import main
from edge_ad.demo import app
from edge_ad.demo.address import Address, listen
from edge_ad.errors import EdgeADError, SpecError
from tests.cli.calling import failing
from tests.demo.browser import WAIT_S, served
from tests.frames.photometric.made import write_stack
from tests.paths import DATA, ROOT
from tests.stacks import stack
from tests.tiny import good_frame

GRADIO_READS = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE", "GRADIO_TEMP_DIR")


@pytest.fixture
def gradio(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before Gradio is imported, which takes seconds."""
    monkeypatch.setattr(app, "_import_gradio", lambda: pytest.fail("nothing was refused"))
    monkeypatch.setattr(app, "serve", lambda *_: pytest.fail("nothing was refused"))


def test_without_gradio(golden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    failing(["demo", golden], capsys, r"edge-ad demo needs gradio; got none installed. pip install 'edge-ad\[page\]'")


def test_help_needs_no_gradio(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--help"])
    assert ended.value.code == 0
    assert "--samples" in capsys.readouterr().out


@pytest.mark.usefixtures("gradio")
def test_what_is_refused(golden: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = parts / "notes.txt"
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, says in (
        ([tmp_path / "none.bundle"], "none.bundle"),
        ([notes], "notes.txt"),
        ([golden, "--samples", tmp_path / "none"], "there is no "),
        ([golden, "--samples", empty], "there are no images in "),
        ([golden, "--point", "int4"], "int4"),
        ([golden, "--port", "70000"], "--port is out of range; expected 0..65535"),
        ([golden, "--host", "host.invalid"], "no page can be at host.invalid:7860"),
        ([golden, "--host", "192.0.2.1", "--port", "0"], "expected an interface of this PC"),
    ):
        failing(["demo", *arguments], capsys, says)


@pytest.mark.usefixtures("gradio")
def test_a_port_that_is_taken(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failing(["demo", golden, "--port", port], capsys, rf"no page can be at 127.0.0.1:{port}; .*Give another --port")


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("pc", False)],
)
def test_who_reaches_it(host: str, local: bool) -> None:
    assert Address(host).is_local is local


def test_another_host_is_told(
    golden: Path, parts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_import_gradio", lambda: None)
    given: list[object] = []
    monkeypatch.setattr(app, "serve", lambda *all_: given.extend(all_))
    assert main(["demo", str(golden), "--host", "0.0.0.0", "--port", "0", "--samples", str(parts)]) == 0
    assert "note: --host 0.0.0.0: whoever reaches this PC there sees the samples" in capsys.readouterr().err
    _, file, samples, listening, address = given
    assert (file, address) == (golden.name, Address("0.0.0.0", 0))
    assert [sample.name for sample in samples][-1] == "line 2/bad.png"  # type: ignore[attr-defined]
    assert listening.fileno() == -1  # type: ignore[attr-defined]  # closed


def test_many_samples(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(70):
        cv2.imwrite(str(tmp_path / f"{i}.png"), good_frame(1))
    monkeypatch.setattr(app, "_import_gradio", lambda: None)
    given: list[object] = []
    monkeypatch.setattr(app, "serve", lambda *all_: given.extend(all_))
    assert main(["demo", str(golden), "--port", "0", "--samples", str(tmp_path)]) == 0
    assert "note: the page shows 60 of 70 samples" in capsys.readouterr().err
    names = [sample.name for sample in given[2]]  # type: ignore[attr-defined]
    assert (len(names), names[0], names[-1]) == (60, "0.png", "69.png")


def test_the_process_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)

    def imported() -> None:
        assert [os.environ[name] for name in GRADIO_READS[:2]] == ["False", "1"]
        with pytest.raises(ImportError):
            import matplotlib  # noqa: F401

    monkeypatch.setattr(app, "_import_gradio", imported)
    with contextlib.suppress(KeyError), app.gradio_ready():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        (folder / "an upload").touch()
        raise KeyError
    assert not folder.exists()
    assert [os.environ.get(name) for name in GRADIO_READS] == [None, "0", None]
    assert "matplotlib" not in sys.modules


def test_a_broken_gradio_is_not_taken_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(name: str) -> None:
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(app.importlib, "import_module", breaks)
    with pytest.raises(ModuleNotFoundError, match="pandas"), app.gradio_ready():
        pass


def test_the_port_is_a_number_of_tcp() -> None:
    for wrong in (-1, 65536):
        with pytest.raises(SpecError, match="--port is out of range"):
            Address(port=wrong)
    with pytest.raises(EdgeADError, match="no page can be at"):
        listen(Address("a" * 70))


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_it_answers_this_pc_alone_and_ends_cleanly(golden: Path, tmp_path: Path) -> None:
    """A page elsewhere whose name leads here (DNS rebinding) gets nothing. A tab that is open is not waited for."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with served(golden, env=env) as (address, process):
        port = int(address.rstrip("/").rpartition(":")[2])

        def answer(host: str, path: str, ends: str = "Connection: close\r\n") -> socket.socket:
            tab = socket.create_connection(("127.0.0.1", port))
            tab.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{ends}\r\n".encode())
            return tab

        found = {}
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "evil.example"):
            with answer(host, "/config") as tab:
                found[host.partition(":")[0]] = tab.recv(12)
        assert found == {"127.0.0.1": b"HTTP/1.1 200", "localhost": b"HTTP/1.1 200", "evil.example": b"HTTP/1.1 400"}
        with answer("127.0.0.1", "/gradio_api/heartbeat/abc", "") as tab:
            assert tab.recv(12) == b"HTTP/1.1 200"
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=WAIT_S) == 143
        assert process.stderr.read().splitlines() == ["interrupted"]
    assert list(tmp_path.iterdir()) == []


def test_one_picture_of_a_stack_is_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown crossed out, and the page will say why; a stack alone is a sample by its own name."""
    folder = write_stack(tmp_path / "part", list(stack(3001)))
    monkeypatch.setattr(app, "_import_gradio", lambda: None)
    for given, name in ((folder / "00.png", "00.png"), (folder, "part"), (tmp_path, "part")):
        shown: list[Any] = []
        monkeypatch.setattr(app, "serve", lambda *all_, to=shown: to.extend(all_))
        assert main(["demo", str(DATA / "format-4.bundle"), "--port", "0", "--samples", str(given)]) == 0
        assert [sample.name for sample in shown[2]] == [name]
