"""The other side of `bench/parity/peer.py`: starts anomalib's process and sends it requests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.parity.compare import Answers


class PeerProcess:
    """anomalib in its own process; see `bench/parity/peer.py`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, request: str, **given: Any) -> dict[str, Any]:
        """The answer to a request, which is a method of the peer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"request": request, **given}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def inspect(self, request: str, **given: Any) -> Answers:
        """What a method of the peer says of the test images."""
        path = self._folder / "answers.npz"
        self.ask(request, answers=str(path), **given)
        with np.load(path) as found:
            return Answers(found["scores"], found["distances"], found["maps"])

    def save(self, name: str, array: NDArray[Any]) -> str:
        """The path of an array that a request is to name."""
        np.save(self._folder / name, array)
        return str(self._folder / name)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("the peer's process ended early, see above")


def check_peer(python: Path) -> None:
    """Ends the program where there is no interpreter, or none that has anomalib."""
    remedy = "Make an environment of its own: python -m venv PEER && PEER/bin/pip install anomalib"
    script = "import importlib.metadata as m; m.version('anomalib')"  # importing it takes a quarter of a minute
    try:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SystemExit(f"--peer-python {python} cannot be run: {error.strerror}. {remedy}") from error
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SystemExit(f"--peer-python {python} has no anomalib: {reason}. {remedy}")


@contextmanager
def open_peer(python: Path, weights: Path, size: int, threads: int, folder: Path) -> Iterator[PeerProcess]:
    """The process; `folder` is where arrays are handed over."""
    script = Path(__file__).with_name("peer.py").absolute()
    command = [python, script, weights.absolute(), str(size), str(threads)]
    pipe = subprocess.PIPE  # it runs in the scratch folder, as anomalib may leave files where it runs
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=folder)
    try:
        yield PeerProcess(process, folder)
    finally:
        process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:  # a crowded machine; it has nothing to lose
            process.kill()
            process.wait()
