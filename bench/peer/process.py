"""The other side of `bench/peer/worker.py`: starts anomalib's process and sends it requests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peer import peer_environment
from bench.peer.answers import Answers
from edge_ad import native
from edge_ad.errors import EngineError, ParityError, SpecError

_REMEDY = "Make an environment of its own: python -m venv PEER && PEER/bin/pip install anomalib openvino"


class PeerProcess:
    """anomalib in its own process; see `bench/peer/worker.py`. Arrays are handed over in `folder`.

    Raises:
        EngineError: the process has ended.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, request: str, **given: Any) -> dict[str, Any]:
        """The answer to a request, which is a method of the peer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"request": request, **given}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise _ended() from error
        return self._answer()

    def show_images(
        self, good_images: Sequence[Path], test: Sequence[Path], layers: Sequence[str], crops: str | None = None
    ) -> None:
        """Lets the peer extract the features of these images; see `Peer.images` in the worker."""
        files = [[str(path.absolute()) for path in paths] for paths in (good_images, test)]
        self.ask("images", good_images=files[0], test=files[1], layers=list(layers), crops=crops)

    def apart(self, paths: Sequence[Path], crops: str) -> float:
        """How far a pixel of edge-ad's crops of files is from what anomalib makes of them at most, in grey levels."""
        found: float = self.ask("apart", paths=[str(path.absolute()) for path in paths], crops=crops)["levels"]
        return found

    def coreset_rows(self, seed: int, fraction: float, pool: native.Pool) -> NDArray[np.int64]:
        """The coreset that anomalib chooses of the good images, as rows in the order of images and positions.

        Its own loop, a pass over all patches for a pick, would take hours: its projection and its start go to
        edge-ad's greedy selection, which must agree on the first picks.

        Raises:
            ParityError: it does not.
        """
        out = str(self._folder / "projected.npy")
        answer = self.ask("project", resize="anomalib", seed=seed, fraction=fraction, out=out)
        picker = native.KCenter(np.load(out), answer["first"][0], pool)
        picker.advance(answer["wanted"] - 1)
        rows = picker.selected.astype(np.int64)
        first = rows[: len(answer["first"])].tolist()
        if first != answer["first"]:
            raise ParityError("the peer picks other rows", expected=first, got=answer["first"])
        return rows

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

    def save_all(self, name: str, arrays: Sequence[NDArray[Any]]) -> str:
        """The path of an .npz file with arrays that a request is to name."""
        np.savez(self._folder / name, *arrays)
        return str(self._folder / name)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise _ended()


def _ended() -> EngineError:
    return EngineError("the peer's process ended early", remedy="What it printed stands above.")


def check_peer(python: Path) -> str:
    """The version of anomalib that an interpreter has.

    Raises:
        SpecError: there is none, or it has none.
    """
    script = "import importlib.metadata as m; print(m.version('anomalib'))"  # importing it takes a quarter of a minute
    try:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    except OSError as error:
        what = f"--peer-python {python} cannot be run"
        raise SpecError(what, expected="a Python", got=error.strerror, remedy=_REMEDY) from error
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SpecError(f"--peer-python {python} has no anomalib", expected="anomalib", got=reason, remedy=_REMEDY)
    return found.stdout.strip()


@contextmanager
def open_peer(python: Path, weights: Path, size: int, threads: int, folder: Path) -> Iterator[PeerProcess]:
    """The process; `folder` is where arrays are handed over."""
    command = [str(python.absolute()), "-m", "bench.peer.worker", str(weights.absolute()), str(size), str(threads)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        text=True,
        cwd=folder,  # anomalib may leave files where it runs
        env=peer_environment(),
        start_new_session=sys.platform != "win32",  # Ctrl-C is ours to hear; it would answer with a traceback
    )
    try:
        yield PeerProcess(process, folder)
    except BaseException:
        process.kill()  # it may be in the middle of something long
        raise
    finally:
        process.communicate()  # closes its input, which ends it, and waits
