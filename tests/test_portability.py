"""What Python has on Windows and macOS is enough: the calls and modules that only Linux has are taken away first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"

_SCRIPT = """
import os, pkgutil, signal, socket, subprocess, sys, tempfile
from pathlib import Path
import cv2, numpy as np, onnxruntime

only = {os: "posix_fallocate sched_getaffinity sched_setaffinity fork forkpty register_at_fork getuid geteuid getgid "
            "getpgid setpgid setsid killpg mkfifo mknod uname getloadavg nice sysconf statvfs fchmod fchown "
            "O_NONBLOCK O_NOCTTY O_DIRECTORY O_NOFOLLOW O_CLOEXEC memfd_create pread preadv sendfile waitid wait3",
        signal: "SIGHUP SIGKILL SIGALRM SIGUSR1 SIGUSR2 SIGQUIT SIGPIPE alarm setitimer pthread_sigmask sigwait"}
for module, names in only.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "readline"):
    sys.modules[name] = None

import edge_ad, export
with_torch = "export.backbone", "export.distill", "export.autoencoder.training", "export.autoencoder.unet"
for package in (edge_ad, export):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name.startswith(with_torch) or found.name.endswith("__main__"):
            continue  # torch itself cannot be imported without these; a __main__ runs
        try:
            __import__(found.name)
        except ModuleNotFoundError as error:  # an extra that is not installed
            assert error.name.partition(".")[0] not in ("edge_ad", "export"), error

from edge_ad.system.processes import children_can_be_stopped
with children_can_be_stopped():
    pass

from export import features
features._IN_MEMORY = 0
with features.patch_store((3, 5, 7), Path.cwd()) as store:
    assert not store.any()
    store[...] = 1.0
    assert store.sum() == 3 * 5 * 7

data = Path(sys.argv[1])
frame = cv2.imread(str(data / "bad-0.png"))
print(edge_ad.Runtime(data / "format-1.bundle", engine="onnxruntime").inspect(frame).score > 0)
"""


def test_nothing_needs_what_only_posix_has(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(DATA)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
