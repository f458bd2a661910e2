"""Instruction sets, the pool, and the checks of arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import _core
from tests.native.made import clusters

ALL_ISAS = ("portable", "avx2", "avxvnni", "avx512", "avx512vnni", "amx", "neon", "neondot")
SCRIPT = """
import numpy as np
from edge_ad import native
v = np.arange(600, dtype=np.float32).reshape(100, 6)
d, i = native.exact_search(native.Coreset(v), v + np.float32(0.25), native.Pool(2))
print(native.isa(), i.tolist() == list(range(100)), float(d.max()))
"""


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ALL_ISAS)
def test_the_environment_chooses_the_isa_or_is_refused(name: str) -> None:
    done = _run(SCRIPT, EDGE_AD_FORCE_ISA=name)
    if name in native.supported_isas():
        assert done.stdout.split()[:2] == [name, "True"], done.stderr
        assert float(done.stdout.split()[2]) == pytest.approx(0.25 * 6**0.5)
    else:
        assert done.returncode != 0
        assert "NativeError: EDGE_AD_FORCE_ISA: this CPU cannot run" in done.stderr


@pytest.mark.parametrize("name", ["sse9", "", "AVX2"])
def test_an_unknown_isa_is_refused(name: str) -> None:
    done = _run(SCRIPT, EDGE_AD_FORCE_ISA=name)
    assert done.returncode != 0
    assert "NativeError: EDGE_AD_FORCE_ISA: unknown instruction set" in done.stderr
    assert f"got '{name}'" in done.stderr


DAEMONS = """
import threading, time
import numpy as np
from edge_ad import native
vectors = np.random.default_rng(0).normal(size=(20000, 64)).astype(np.float32)
coreset, pool, begun = native.Coreset(vectors), native.Pool(1), threading.Event()
def search():
    while True:
        native.exact_search(coreset, vectors[:512], pool)
        begun.set()
for _ in range(3):
    threading.Thread(target=search, daemon=True).start()
begun.wait()
"""


def test_daemon_threads_in_the_core_do_not_abort_the_end_of_the_process() -> None:
    done = _run(DAEMONS)
    assert (done.returncode, done.stderr) == (0, "")


def test_import_alone_minds_no_environment() -> None:
    assert _run("import edge_ad.native", EDGE_AD_FORCE_ISA="sse9").returncode == 0


def test_the_best_isa_is_the_default() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "EDGE_AD_FORCE_ISA"}
    code = "from edge_ad import native; print(native.isa())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == native.supported_isas()[0]
    assert "portable" in native.supported_isas()
    assert set(native.supported_isas()) <= set(ALL_ISAS)


def test_isas_agree_to_rounding(pool: native.Pool) -> None:
    vectors, queries = clusters(1, 300, 50), clusters(2, 100, 50)
    coreset, before, results = native.Coreset(vectors), native.isa(), []
    for name in native.supported_isas():
        _core.use_isa(name)
        results.append(native.exact_search(coreset, queries, pool)[0])
    _core.use_isa(before)
    for distances in results[1:]:
        np.testing.assert_allclose(distances, results[0], rtol=1e-5)


def test_pool_arguments_are_checked() -> None:
    for threads in (0, -1, 1025, 1.0, "2", True):
        with pytest.raises(NativeError, match="threads is out of its range"):
            native.Pool(threads)  # type: ignore[arg-type]
    for cores in ([], [0, 0], [-1], [1.5]):
        with pytest.raises(NativeError, match="core"):
            native.Pool(2, cores)  # type: ignore[arg-type]
    assert native.Pool(3).threads == 3


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_workers_are_pinned_and_the_caller_is_not() -> None:
    def masks() -> dict[str, set[int]]:
        return {task: os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}

    allowed = os.sched_getaffinity(0)
    before, core = masks(), max(allowed)
    pool = native.Pool(3, [core])
    started = {task: mask for task, mask in masks().items() if task not in before}
    assert sorted(started.values(), key=sorted) == [{core}, {core}]
    assert os.sched_getaffinity(0) == allowed
    vectors = clusters(3, 50, 8)
    assert not native.exact_search(native.Coreset(vectors), vectors, pool)[0].any()
    del pool
    assert set(masks()) == set(before)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_a_core_that_is_not_there_is_refused() -> None:
    with pytest.raises(NativeError, match="cannot pin"):
        native.Pool(2, [1000])
    with pytest.raises(NativeError, match="cannot pin"):
        native.Pool(2, [100_000])


def test_a_pool_of_one_starts_no_thread() -> None:
    code = "import os\nfrom edge_ad import native\nbefore = len(os.listdir('/proc/self/task'))\n"
    code += "pools = [native.Pool(1) for _ in range(5)]\nprint(len(os.listdir('/proc/self/task')) - before)"
    if sys.platform == "linux":
        assert _run(code).stdout.strip() == "0"


@pytest.mark.parametrize("threads", [1, 2])
def test_streams_answer_the_same_whoever_calls(threads: int) -> None:
    generator = np.random.default_rng(0)
    coreset = native.Coreset(generator.standard_normal((700, 24), dtype=np.float32))
    queries = [generator.standard_normal((40, 24), dtype=np.float32) for _ in range(24)]
    wanted = [native.exact_search(coreset, some, native.Pool(1)) for some in queries]
    streams = native.Pool(threads, streams=3)
    assert streams.threads == threads
    with ThreadPoolExecutor(5) as callers:
        found = list(callers.map(lambda some: native.exact_search(coreset, some, streams), queries))
    for one, other in zip(found, wanted, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    for wrong in (0, 1024 // threads + 1, 1.5):
        with pytest.raises(NativeError, match="streams"):
            native.Pool(threads, streams=wrong)  # type: ignore[arg-type]


def test_calls_from_several_threads(pool: native.Pool) -> None:
    vectors = clusters(4, 2000, 32)
    coreset, failures = native.Coreset(vectors), []

    def work(seed: int) -> None:
        queries = clusters(seed, 120, 32)
        wanted = native.exact_search(coreset, queries, native.Pool(1))
        for _ in range(30):
            got = native.exact_search(coreset, queries, pool)
            if not (np.array_equal(got[0], wanted[0]) and np.array_equal(got[1], wanted[1])):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures


FORKS = """
import os, signal, threading, warnings
import numpy as np
from edge_ad import native
warnings.simplefilter("ignore", DeprecationWarning)
v = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
coreset, pool, stop = native.Coreset(v), native.Pool(3), threading.Event()
def search():
    while not stop.is_set():
        native.exact_search(coreset, v, pool)
busy = threading.Thread(target=search)
busy.start()  # so that forks find the pool at work, its locks held
for _ in range(8):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        ok = all(not native.exact_search(coreset, v, pool)[0].any() for _ in range(3))
        threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 3
        del pool, coreset
        os._exit(0 if ok and threads == 3 else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
busy.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_children_search_with_workers_of_their_own() -> None:
    done = _run(FORKS)
    assert done.stdout.split() == ["0"] * 8, done.stderr


def test_the_interpreter_exits_with_a_pool_alive() -> None:
    done = _run(SCRIPT + "\nkept = native.Pool(4)\nimport builtins\nbuiltins.kept = kept\n")
    assert done.returncode == 0
    assert done.stderr == ""


def test_pools_come_and_go() -> None:
    vectors = clusters(6, 300, 8)
    coreset = native.Coreset(vectors)
    for threads in range(1, 40):
        assert not native.exact_search(coreset, vectors, native.Pool(threads % 5 + 1))[0].any()


def test_a_coreset_keeps_its_array_without_a_copy() -> None:
    vectors = clusters(7, 10, 3)
    coreset = native.Coreset(vectors)
    assert coreset.vectors is vectors
    assert (coreset.size, coreset.dim) == (10, 3)
    queries = np.ascontiguousarray(vectors[::-1])
    del vectors
    _, indices = native.exact_search(coreset, queries, native.Pool(1))
    assert indices.tolist() == list(range(9, -1, -1))


def test_coreset_and_queries_are_checked(pool: native.Pool) -> None:
    vectors = clusters(8, 40, 6)
    wrong_kinds = [
        vectors.astype(np.float64),
        vectors.astype(">f4"),
        vectors[:, ::2],
        vectors[::2],
        np.asfortranarray(vectors),
        vectors[0],
        vectors.tolist(),
        None,
    ]
    for wrong in wrong_kinds:
        with pytest.raises(NativeError, match="vectors"):
            native.Coreset(wrong)  # type: ignore[arg-type]
    for empty in (vectors[:0], np.empty((4, 0), np.float32)):
        with pytest.raises(NativeError, match="the coreset is empty"):
            native.Coreset(empty)
    coreset = native.Coreset(vectors)
    for wrong in [*wrong_kinds, np.ascontiguousarray(vectors[:, :5])]:
        with pytest.raises(NativeError, match="queries"):
            native.exact_search(coreset, wrong, pool)  # type: ignore[arg-type]
    unaligned = np.frombuffer(b"\0" + vectors.tobytes(), np.uint8)[1:].view(np.float32).reshape(vectors.shape)
    with pytest.raises(NativeError, match="aligned"):
        native.exact_search(coreset, unaligned, pool)


def test_rows_are_checked(pool: native.Pool) -> None:
    vectors = clusters(9, 40, 6)
    coreset = native.Coreset(vectors)
    for outside in ([-1], [40], [0, 2**31 - 1]):
        with pytest.raises(NativeError, match="rows reach outside the queries"):
            native.exact_search(coreset, vectors, pool, np.array(outside, np.int32))
    for wrong in (np.array([0]), np.array([[0]], np.int32), np.arange(6, dtype=np.int32)[::2], [0]):
        with pytest.raises(NativeError, match="rows"):
            native.exact_search(coreset, vectors, pool, wrong)  # type: ignore[arg-type]
    distances, indices = native.exact_search(coreset, vectors, pool, np.empty(0, np.int32))
    assert distances.shape == indices.shape == (0,)


def test_the_compiled_core_checks_for_itself(pool: native.Pool) -> None:
    vectors = clusters(10, 20, 4)
    coreset = _core.Coreset(vectors, 20, None, pool._core)
    distances, indices = np.empty(20, np.float32), np.empty(20, np.int32)
    with pytest.raises(NativeError, match="dimension"):
        _core.exact_search(coreset, clusters(1, 20, 5), None, None, 1, pool._core, distances, indices)
    with pytest.raises(NativeError, match="results"):
        _core.exact_search(coreset, vectors, None, None, 1, pool._core, distances[:5], indices)
    with pytest.raises(NativeError, match="a row is not a query"):
        _core.exact_search(coreset, vectors, np.full(20, 20, np.int32), None, 1, pool._core, distances, indices)
