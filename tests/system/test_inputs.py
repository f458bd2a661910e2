"""Files of the user that are read whole."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edge_ad.system.inputs import read_input

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no devices and pipes in its folders")


def test_a_file(tmp_path: Path) -> None:
    for data in (b"", b"a", bytes(3_000_001)):
        (tmp_path / "a").write_bytes(data)
        assert read_input(tmp_path / "a") == data


def test_more_than_it_may_hold(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_input(tmp_path / "a", most=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_input(tmp_path / "a", most=4)


@POSIX
def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe, data = tmp_path / "pipe", bytes(range(256)) * 8000
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert read_input(pipe) == data
    writer.join()


@POSIX
def test_a_device_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="a device"):
        read_input(tmp_path / "a.png")
