"""Workers as actors of a Ray cluster, and commands as its tasks. Nothing else imports ray.

Actors and not Ray Data: that tries a whole block again when an actor dies, and knows nothing of the image that kills
each of them. And its `read_images` decodes by Pillow: other pixels than those that the bundle was made from. So paths
travel, and edge-ad reads. The bundle travels too: machines of the cluster need edge-ad, an engine and the images.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from edge_ad import __version__
from edge_ad.errors import EdgeADError
from edge_ad.fleet.crew import HANGS, Answer, Answered, Event, Load, Ready, Starts, Watch, answered, least_loaded
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.plan import Piece
from edge_ad.system.files import open_log, write_new
from edge_ad.system.inputs import read_input
from edge_ad.system.processes import Ended, Task, why_it_failed

LOCAL = "local"
# Ray reads these when it is imported. The first keeps it from reporting its use.
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_STORE_BYTES = 2**28  # of the objects of a local Ray: paths, rows, and beside them the bundle
_LOOK_S = 0.2
_KNOCK_S, _MAX_PORT = 5.0, 65535
_SENT, _OLD_S = "edge-ad-sent-", 3600.0  # folders of bundles that were sent


@contextlib.contextmanager
def connected(address: str, cpus: int) -> Iterator[int]:
    """A connection to a Ray cluster, which ends with the block; the number of its CPUs.

    Args:
        address: as `ray.init` takes it, or "local": Ray is started on this PC, and ends with the block.
        cpus: of a Ray that is started here.

    Raises:
        EdgeADError: ray is not installed, or there is no cluster at the address.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(_VARIABLES)  # for the workers too, which inherit them
    try:
        with _joined(address, cpus) as found:
            yield found
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _joined(address: str, cpus: int) -> Iterator[int]:
    ray = _import_ray()
    _require_listening(address)
    handler = signal.getsignal(signal.SIGTERM)
    own: dict[str, Any] = {"include_dashboard": False, "num_cpus": cpus, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == LOCAL else {}),
        )
    except Exception as error:  # ConnectionError, ValueError, RuntimeError and more
        raise _no_cluster(address, _one_line(error)) from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # ray's would end this process with a code of its own
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Ray waits for minutes where nothing listens, so that is looked at before.

    Raises:
        EdgeADError: nothing listens at HOST:PORT; other addresses are left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) > _MAX_PORT:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except (OSError, UnicodeError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, got: str) -> EdgeADError:
    remedy = "Is ray running there, in the same version? --ray local starts one here."
    return EdgeADError(f"no Ray cluster at {address}", got=got, remedy=remedy)


class Actors:
    """A crew of actors; inside `connected`. Use it as a context manager.

    Args:
        inspector: what each of them opens; its bundle is sent to them.
        bundle: file of the bundle.
        size: how many.
        threads: CPUs of each.
    """

    def __init__(self, inspector: Inspector, bundle: Path, size: int, threads: int) -> None:
        self.size = size
        self._inspector, self._bundle, self._threads = inspector, bundle, threads
        self._loads: dict[int, Load] = {}
        self._actors: dict[int, Any] = {}
        self._refs: dict[int, list[Any]] = {}  # of each actor, in order: of its start, then one for each piece
        self._starts, self._watch = Starts(size), Watch()

    def __enter__(self) -> Actors:
        ray = _import_ray()
        self._data = ray.put(read_input(self._bundle))
        self._kind = ray.remote(num_cpus=self._threads, max_restarts=0, max_task_retries=0)(Worker)
        for number in range(self.size):
            self._start(number)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wants(self) -> int | None:
        """As `Crew`."""
        return least_loaded(self._loads)

    def give(self, worker: int, piece: Piece, paths: list[str]) -> None:
        """As `Crew`."""
        self._loads[worker].pieces.append(piece)
        self._refs[worker].append(self._actors[worker].work.remote(paths))

    def wait(self, timeout_s: float) -> list[Event]:
        """As `Crew`."""
        ray = _import_ray()
        pending = [ref for refs in self._refs.values() for ref in refs]
        if not pending:
            return []
        ray.wait(pending, num_returns=1, timeout=timeout_s)
        done = set(ray.wait(pending, num_returns=len(pending), timeout=0)[0])
        events: list[Event] = []
        for number in list(self._refs):
            while self._refs[number] and self._refs[number][0] in done:
                event = self._took(number, self._refs[number].pop(0))
                events.append(event)
                if not isinstance(event, (Ready, Answered)):
                    break  # another actor stands there now
        passed = self._watch.passed(timeout_s)  # one that is not ready may wait for a machine
        hanging = [number for number, load in self._loads.items() if load.is_ready and load.hangs(passed)]
        return events + [self._lost(number, HANGS) for number in hanging]

    def close(self) -> None:
        """As `Crew`."""
        ray = _import_ray()
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors, self._loads, self._refs = {}, {}, {}

    def _took(self, number: int, ref: Any) -> Event:
        """The event that an actor's result is."""
        ray = _import_ray()
        load = self._loads[number]
        try:
            message = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise EdgeADError("a worker failed", got=_one_line(error, -1)) from error
        except ray.exceptions.RayError as error:  # the actor, its machine, or the way to it is gone
            return self._lost(number, _one_line(error))
        if isinstance(message, EdgeADError):
            raise message
        if isinstance(message, Answer):
            return Answered(load.done(), message)
        load.ready()
        self._starts.ready()
        _require_same(message)
        return Ready(message)

    def _lost(self, number: int, why: str) -> Event:
        """Another actor takes the place of one that is gone, or hangs."""
        load = self._loads[number]
        if not load.is_ready:
            self._starts.died(why)
        _import_ray().kill(self._actors[number])  # where only the way is gone
        self._start(number)
        return load.death(why)

    def _start(self, number: int) -> None:
        actor = self._kind.remote(self._inspector, self._data, self._threads)
        self._actors[number], self._loads[number] = actor, Load()
        self._refs[number] = [actor.ready.remote()]


class Worker:
    """What an actor is: opens the bundle that was sent to it, and inspects."""

    def __init__(self, inspector: Inspector, data: bytes, threads: int) -> None:
        cv2.setNumThreads(threads)  # Ray itself sees to OMP_NUM_THREADS
        self._inspector, self._data = inspector, data

    def ready(self) -> dict[str, Any] | EdgeADError:
        """What `Inspector.open` says, or why the bundle cannot be opened."""
        try:
            _remove_leftovers()
            with tempfile.TemporaryDirectory(prefix=_SENT) as folder:
                path = Path(folder, "sent.bundle")
                write_new(path, self._data)
                self._inspector = self._inspector.at(path)
                self._data = b""
                return self._inspector.open()
        except EdgeADError as error:
            return error

    def work(self, paths: list[str]) -> Answer | EdgeADError:
        """The rows of images."""
        try:
            return answered(self._inspector, paths)
        except EdgeADError as error:
            return error


def _remove_leftovers() -> None:
    """Removes what actors left that were killed while they opened a bundle: what is an hour old. It takes seconds."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SENT}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _OLD_S:
                shutil.rmtree(left, ignore_errors=True)


def run_all_on_ray(tasks: Sequence[Task], jobs: int, tick: Callable[[], object], *, threads: int) -> Iterator[Ended]:
    """As `edge_ad.system.processes.run_all`, on the machines of a cluster; inside `connected`.

    The files that the commands name, and their logs, are on a file system that all machines mount.
    """
    ray = _import_ray()
    remote = ray.remote(num_cpus=threads, max_retries=0)(run_command)
    waiting, running = list(enumerate(tasks))[::-1], dict[Any, tuple[int, float]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, task = waiting.pop()
                running[remote.remote(list(task.command), str(task.log), dict(task.environment))] = (
                    number,
                    time.monotonic(),
                )
            for ref in ray.wait(list(running), num_returns=1, timeout=_LOOK_S)[0]:
                number, began = running.pop(ref)
                try:
                    error = why_it_failed(ray.get(ref), tasks[number].log)
                except ray.exceptions.RayError as lost:
                    error = f"killed with its worker: {_one_line(lost)}"
                yield Ended(number, error, time.monotonic() - began)
            tick()
    finally:
        for ref in running:
            ray.cancel(ref)


def run_command(command: list[str], log: str, environment: Mapping[str, str]) -> int:
    """Runs a command here, with all that it prints in a log; returns its exit code. When it is cancelled, the command
    is too."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open_log(Path(log)) as file:
        own = {**os.environ, **environment}
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=own)
    try:
        while (code := child.poll()) is None:  # a cancellation arrives between two of these, not within a wait
            time.sleep(_LOOK_S)
        return code
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _require_same(facts: Mapping[str, Any]) -> None:
    if facts["edge_ad"] != __version__:
        raise EdgeADError(
            "a machine of the cluster has another edge-ad",
            expected=__version__,
            got=facts["edge_ad"],
            remedy="Install the same version on each.",
        )


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EdgeADError("--ray needs ray", got="none installed", remedy="pip install 'edge-ad[ray]'") from error
    return ray


def _one_line(error: Exception, which: int = 0) -> str:
    """A line of an error of Ray, which has many, in colours; of a traceback the last one says what it was."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[which][:300] if lines else type(error).__name__
