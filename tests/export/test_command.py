"""`python -m export` as users run it: what it prints, and what is left when it is stopped."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import Runtime  # noqa: E402
from tests.export.made import command, run  # noqa: E402
from tests.paths import ROOT  # noqa: E402
from tests.processes import child, slowed  # noqa: E402
from tests.tiny import bad_frame, good_frame  # noqa: E402


def test_from_the_command_line_to_verdicts(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.bundle"
    done = run(command(tiny, out))
    assert done.returncode == 0, done.stderr
    for name in ("images", "threshold", "patches", "graph search", "runtime", "bundle", "seconds"):
        assert re.search(rf"^{name} ", done.stdout, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["part.bundle"]
    runtime = Runtime(out, self_check=True)
    share = np.mean([runtime.inspect(good_frame(5000 + seed)).is_anomalous for seed in range(30)])
    assert share <= 0.2
    assert all(runtime.inspect(bad_frame(6000 + seed)).is_anomalous for seed in range(30))


def test_torch_is_never_imported_for_an_onnx_backbone(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from export.__main__ import main; code = main(sys.argv[1:]); "
        "print({m for m in sys.modules if m.partition('.')[0] in ('torch', 'torchvision')}, code)"
    )
    done = run([sys.executable, "-c", code, *command(tiny, tmp_path / "x.bundle")[3:]])
    assert done.stdout.splitlines()[-1] == "set() 0", done.stderr


def test_a_full_disk_leaves_the_old_bundle(tiny: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the middle alike."""
    out = tmp_path / "part.bundle"
    out.write_bytes(b"the old one")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = run(command(tiny, out), preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert out.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["part.bundle"]


@pytest.mark.parametrize(
    "stage",
    [
        *(f"make_point.{name}" for name in ("extract", "cross_fit", "at_point")),
        "finish.make_probes",
        "finish.write_bundle",
    ],
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(golden: Path, tiny: Path, tmp_path: Path, stage: str, how: signal.Signals) -> None:
    out = tmp_path / "part.bundle"
    shutil.copy(golden, out)
    old = out.read_bytes()
    slow = [*slowed(f"export.{stage}", "export.__main__"), *command(tiny, out)[3:], "--input-size", "48"]
    with child(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "NOW\n"
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    assert out.read_bytes() == old
    Runtime(out, self_check=True)
    left = {path.name for path in tmp_path.iterdir()} - {"part.bundle"}
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "interrupted" in errors
        assert left == set()
    else:
        assert all(
            name.startswith(".part.bundle.") and name.endswith(".tmp") for name in left
        )  # hidden, and no .bundle
        assert run(command(tiny, out)).returncode == 0  # and the next export does not mind
        assert out.read_bytes() != old


def test_an_error_is_one_line(tiny: Path, tmp_path: Path) -> None:
    done = run(command(tiny, tmp_path / "x.bundle", "--data", tiny, "prat"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no category 'prat'")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_summary_is_all_that_is_printed(tiny: Path, tmp_path: Path) -> None:
    done = run(command(tiny, tmp_path / "x.bundle"))
    assert done.returncode == 0
    assert float(re.search(r"total ([0-9.]+)", done.stdout)[1]) > 0  # type: ignore[index]
    assert len(done.stdout.splitlines()) <= 12
