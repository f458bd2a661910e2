"""Tokens, sessions, and who may do what."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.page.auth import OPERATOR, VIEWER, Auth, is_open, make_token, read_token
from edge_ad.station.page.buckets import Buckets

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="Python 3.10 reads TOML by the extra `station`")


def make_auth(folder: Path, **options: Any) -> Auth:
    files = {role: folder / role for role in (VIEWER, OPERATOR)}
    for path in files.values():
        make_token(path)
    return Auth(files, b"secret", "session", **options)


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens" / "viewer"
    assert make_token(path)
    token = read_token(path)
    assert len(token) >= 32
    assert not make_token(path)
    assert read_token(path) == token
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"with blanks in it, and long",
        b"of-two-lines-all\nin-all",
        b"a" * 1100,
        "größer als ASCII".encode(),
    ],
)
def test_a_token_that_is_no_good(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(EdgeADError, match="t"):
        read_token(tmp_path / "t")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
def test_a_token_that_is_no_file(tmp_path: Path) -> None:
    """Whoever opened the pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(EdgeADError, match="something else"):
            read_token(path)


def test_no_half_a_token_is_left_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EdgeADError, match="No space left"):
            make_token(tmp_path / "t")
    assert make_token(tmp_path / "t")


@pytest.mark.skipif(os.name != "posix", reason="this system has other rights")
def test_a_token_that_others_read(tmp_path: Path) -> None:
    make_token(tmp_path / "t")
    assert not is_open(tmp_path / "t")
    (tmp_path / "t").chmod(0o640)
    assert is_open(tmp_path / "t")


def test_both_tokens_must_differ(tmp_path: Path) -> None:
    for role in (VIEWER, OPERATOR):
        (tmp_path / role).write_text("the-very-same-token")
    with pytest.raises(EdgeADError, match="the same token"):
        make_auth(tmp_path)


def test_roles(tmp_path: Path) -> None:
    auth = make_auth(tmp_path)
    for role in (VIEWER, OPERATOR):
        assert auth.role_of(read_token(tmp_path / role)) == role
        visitor = auth.visitor(auth.session(role), "10.0.0.1")
        assert visitor is not None
        assert (visitor.role, visitor.may_change, visitor.address) == (role, role == OPERATOR, "10.0.0.1")
        assert visitor.csrf
    for wrong in ("", "x", "ÿ" * 40, read_token(tmp_path / VIEWER)[:-1]):
        assert auth.role_of(wrong) == ""


def test_a_session_cannot_be_made_up_and_ends(tmp_path: Path) -> None:
    now = [1000.0]
    auth = make_auth(tmp_path, clock=lambda: now[0])
    session = auth.session(VIEWER)
    for wrong in (
        "",
        "...",
        session[:-1],
        session.replace("viewer", "operator"),
        session.replace("viewer.44200", "viewer.99999999"),
        "ÿ" + session,
    ):
        assert auth.visitor(wrong, "") is None, wrong
    assert auth.visitor(session, "") is not None
    other = auth.session(VIEWER)
    auth.end(session)
    assert auth.visitor(session, "") is None
    assert auth.visitor(other, "") is not None
    now[0] += 13 * 3600
    assert auth.visitor(other, "") is None


def test_a_session_outlives_the_page_but_not_its_token(tmp_path: Path) -> None:
    session = make_auth(tmp_path).session(OPERATOR)
    again = make_auth(tmp_path)  # the page was started again by the same station
    assert again.visitor(session, "") is not None
    (tmp_path / OPERATOR).unlink()
    assert again.visitor(session, "") is not None  # a file that is gone takes nobody's place
    make_token(tmp_path / OPERATOR)
    assert again.visitor(session, "") is None
    assert again.role_of(read_token(tmp_path / OPERATOR)) == OPERATOR


def test_buckets() -> None:
    now = [0.0]
    buckets = Buckets(2, 0.5, clock=lambda: now[0])
    assert [buckets.take("a"), buckets.take("a")] == [0, 0]
    assert buckets.take("a") == 2.0
    assert buckets.take("b") == 0
    now[0] = 2.0
    assert buckets.wait("a") == 0
    assert buckets.take("a") == 0
    assert buckets.take("a") > 0
    for key in range(20_000):
        buckets.take(key)
    assert buckets.take("a") == 0  # forgotten: memory is bounded
