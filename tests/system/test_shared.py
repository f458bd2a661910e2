"""Memory without a name, between two processes."""

from __future__ import annotations

import os
import subprocess
import sys

from edge_ad.system.shared import Memory, nameless_file
from tests.paths import ROOT

_OTHER = """
import sys
from edge_ad.system.shared import sized
ticket = int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1]
for size in (100, 5000):
    memory = sized(ticket, size)
    memory[size - 1] = size % 256
    print(size, flush=True)
    sys.stdin.readline()
"""


def test_two_processes_see_it() -> None:
    """And it may grow."""
    memory = Memory()
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(memory.ticket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        pass_fds=memory.inherited,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for size in (100, 5000):
            assert int(other.stdout.readline()) == size
            assert memory.look(size)[size - 1] == size % 256
            other.stdin.write("\n")
            other.stdin.flush()
    memory.close()
    memory.close()


def test_a_file_that_no_folder_shows() -> None:
    with nameless_file() as file:
        file.write(b"words")
        file.seek(0)
        assert file.read() == b"words"
        if os.path.isdir("/proc/self/fd"):
            assert "(deleted)" in os.readlink(f"/proc/self/fd/{file.fileno()}")
