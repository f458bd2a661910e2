"""A batch of images in, a batch of rows out: for Ray Data, Dask, plain pools, and `edge-ad fleet inspect` itself."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import __version__
from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleError, ForkError, FrameError, SpecError
from edge_ad.fleet.remote import is_url, read_url
from edge_ad.frames.check import decode_frame, in_declared_order, read_bytes
from edge_ad.runtime import Runtime
from edge_ad.spec import Pixels
from edge_ad.system.arguments import whole_number
from edge_ad.system.entry import describe_error

Column = NDArray[Any]
COLUMNS: dict[str, Any] = {  # of a verdict, and their types; `path` and what came with it stand before them
    "score": np.float64,
    "threshold": np.float64,
    "is_anomalous": np.bool_,
    "found": np.bool_,
    "point": object,
    "ms": np.float64,
    "sha256": object,
    "error": object,
}
_runtimes: dict[tuple[object, ...], Runtime] = {}  # of this process: an Inspector is unpickled for every batch
_opening = threading.Lock()


class Inspector:
    """Inspects batches of images with a bundle. It pickles, and opens one Runtime in each process, at the first batch.

    Called with a dict of columns, it gives a dict of columns with as many rows in the same order. It takes a column
    ``path`` (files, or URLs that fsspec reads) or a column ``bytes`` (the content of image files; ``path`` is their
    name then, if there is one). ``bytes`` is left out of the answer; other columns stay as they are. It adds
    (numpy arrays):

        score         float64; NaN where the image could not be inspected
        threshold     float64
        is_anomalous  bool; True where the image could not be inspected: what failed is never good
        found         bool; whether the part was found (`Verdict.found`); False where the image was not inspected
        point         str, name of the operating point
        ms            float64, milliseconds from the frame in memory to the verdict; NaN without a verdict
        sha256        str, digest of the file as it was inspected; empty if it could not be read, and of stacks
        error         str, why there is no verdict; empty if there is one

    Images are decoded as `edge-ad inspect` decodes them, so the scores are the same to the bit. An image that cannot be
    read or inspected gives a row with an error, and no exception. Thread-safe.

    Args:
        bundle: path of the bundle, the same on each machine.
        threads: most threads of the Runtime.
        readers: threads that read files ahead of the inspection; 0 reads each when its turn comes.
        **options: further arguments of `edge_ad.Runtime`.

    Raises:
        BundleError: the bundle is missing, broken, or of a newer format.
        SpecError: an option is out of range.
    """

    def __init__(self, bundle: str | os.PathLike[str], threads: int = 1, *, readers: int = 2, **options: Any) -> None:
        self._path = os.path.abspath(os.fspath(bundle))
        self._readers = whole_number("readers", readers, 0, 64)
        self._options: dict[str, Any] = {"threads": whole_number("threads", threads, 1, 1024), **options}
        with Bundle.open(bundle, points=()) as opened:
            self._bundle_id, self._stacks = opened.id, opened.manifest.frame.stack is not None

    @property
    def bundle_id(self) -> str:
        """The id of the bundle. Another bundle at its path, on any machine, is refused."""
        return self._bundle_id

    @property
    def takes_stacks(self) -> bool:
        """Whether the bundle inspects stacks: a path is then the folder of one."""
        return self._stacks

    def at(self, bundle: str | os.PathLike[str]) -> Inspector:
        """The same with the bundle at another path, as machines have it that it was sent to."""
        other = copy.copy(self)
        other._path = os.path.abspath(os.fspath(bundle))
        return other

    def open(self) -> dict[str, Any]:
        """Opens the Runtime of this process, and says what it is.

        Returns:
            edge_ad, engine, engine_version, precision, point, search, threshold, threads.

        Raises:
            EdgeADError: bundle or engine cannot be used here, or the bundle is another one.
        """
        runtime = self._runtime()
        names = ("engine", "engine_version", "precision", "point", "search", "threshold", "threads")
        return {"edge_ad": __version__, **{name: getattr(runtime, name) for name in names}}

    def __call__(self, batch: Mapping[str, Sequence[Any] | Column]) -> dict[str, Any]:
        """The rows of a batch.

        Raises:
            SpecError: there is neither a column `path` nor a column `bytes`, or they differ in length.
            EdgeADError: bundle or engine cannot be used at all.
        """
        paths, data = batch.get("path"), batch.get("bytes")
        given = paths if data is None else data
        if given is None or (paths is not None and len(paths) != len(given)):
            raise SpecError(
                "a batch has no images", expected="a column path or bytes", got=", ".join(batch) or "no columns"
            )
        names = [f"image {i}" for i in range(len(given))] if paths is None else [_text(path) for path in paths]
        runtime = self._runtime()
        rows = [self._row(runtime, name, content) for name, content in self._contents(names, data)]
        answer: dict[str, Any] = {name: column for name, column in batch.items() if name != "bytes"}
        for i, (name, kind) in enumerate(COLUMNS.items()):
            answer[name] = _column([row[i] for row in rows], kind)
        return answer

    def _row(self, runtime: Runtime, name: str, content: bytes | str | Exception) -> tuple[Any, ...]:
        """A row as `COLUMNS`: `content` is a file's bytes, the folder of a stack, or why it was not read."""
        digest = sha256(content).hexdigest() if isinstance(content, bytes) else ""
        try:
            if isinstance(content, Exception):
                raise content
            verdict = runtime.inspect(self._frame(runtime, content, name) if isinstance(content, bytes) else content)
        except ForkError:
            raise
        except Exception as error:  # an image must not end the work of a night, whatever it does
            nothing = float("nan")
            return nothing, runtime.threshold, True, False, runtime.point, nothing, digest, describe_error(error)
        known = verdict.score, verdict.threshold, verdict.is_anomalous, verdict.found, verdict.point
        return *known, verdict.latency_ms, digest, ""

    def _frame(self, runtime: Runtime, content: bytes, name: str) -> Pixels:
        if self._stacks:
            raise FrameError(f"{name} is no stack", expected="a folder with a picture under each light", got="a file")
        frame = decode_frame(content, name)
        return in_declared_order(frame, runtime.manifest.frame)  # as an array has it; a decoded file is BGR

    def _contents(
        self, names: Sequence[str], data: Sequence[Any] | Column | None
    ) -> Iterator[tuple[str, bytes | str | Exception]]:
        """Name and content of each image, in order. `readers` threads read ahead, as many files at most."""
        if data is not None:
            yield from ((name, bytes(content)) for name, content in zip(names, data, strict=True))
        elif self._readers == 0 or len(names) < 2:
            yield from ((name, self._read(name)) for name in names)
        else:
            with ThreadPoolExecutor(self._readers, thread_name_prefix="edge-ad-read") as pool:
                ahead: list[Future[bytes | str | Exception]] = []
                for i, name in enumerate(names):
                    while len(ahead) <= self._readers and i + len(ahead) < len(names):
                        ahead.append(pool.submit(self._read, names[i + len(ahead)]))
                    yield name, ahead.pop(0).result()

    def _read(self, name: str) -> bytes | str | Exception:
        try:
            if is_url(name):
                return read_url(name)
            return name if self._stacks else read_bytes(name)
        except Exception as error:  # it becomes the error of its row
            return error

    def _runtime(self) -> Runtime:
        key = (os.getpid(), self._path, self._bundle_id, repr(sorted(self._options.items())))
        with _opening:
            if key not in _runtimes:
                runtime = Runtime(self._path, **self._options)
                if runtime.bundle_id != self._bundle_id:
                    raise BundleError(
                        f"{self._path} is another bundle here",
                        expected=self._bundle_id,
                        got=runtime.bundle_id,
                        remedy="Copy the same file to each machine.",
                    )
                _runtimes[key] = runtime
            return _runtimes[key]


def failed_columns(count: int, threshold: float, point: str, error: str) -> dict[str, Column]:
    """The columns of a verdict for images whose worker died: rows with an error."""
    row = (float("nan"), threshold, True, False, point, float("nan"), "", error)
    return {name: _column([value] * count, kind) for (name, kind), value in zip(COLUMNS.items(), row, strict=True)}


def _text(path: object) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise SpecError("a path of a batch is none", expected="str", got=repr(path)[:80])
    return os.fspath(path)


def _column(values: Sequence[Any], kind: Any) -> Column:
    column: Column = np.empty(len(values), kind)
    column[:] = values
    return column
