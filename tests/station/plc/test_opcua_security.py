"""Who may speak OPC UA with a station: certificates, users, and clients that try the doors beside them."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import SpecError
from edge_ad.station.plc.opcua import KEYS, problems
from tests.station.making import wait_for

pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from edge_ad.station.plc.opcua_security import Trust, Users, identity
from tests.station.plc.opcua_making import Client, Served, certificate, client, trust


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    folder, made = tmp_path_factory.mktemp("certificates"), {}

    def make(name: str) -> dict[str, str]:
        if name not in made:
            made[name] = certificate(folder, name)
        return made[name]

    return make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, certificates: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    trust(folder, certificates("plc"))
    made = Served(folder, sessions=2)
    yield made
    made.link.close()


@pytest.fixture
def one() -> Iterator[Client]:
    with client() as made:
        yield made


def test_what_anybody_is_answered(served: Served, one: Client) -> None:
    assert one.do("endpoints", served.url) == [["Basic256Sha256", "SignAndEncrypt"], ["Basic256Sha256", "Sign"]]
    answers = one.do("without_security", served.url)
    assert answers[:4] == ["BadSecurityPolicyRejected"] * 4
    assert answers[4] == "BadServiceUnsupported"


def test_a_stranger_is_refused_until_somebody_trusts_him(
    served: Served, one: Client, certificates: Callable[[str], dict[str, str]]
) -> None:
    stranger, plc = certificates("stranger"), certificates("plc")
    assert one.refused("connect", served.url, "SignAndEncrypt", **stranger) == "BadCertificateUntrusted"
    for shown in ("", plc["cert"]):  # it is the channel's certificate that counts
        assert one.refused("connect_with_another", served.url, shown, **stranger) == "BadCertificateUntrusted"
    assert served.told("move ")
    (kept,) = (served.folder / "var/pki/rejected").glob("*stranger-*.der")
    trusted = served.folder / "var/pki/trusted" / kept.name
    shutil.move(kept, trusted)
    wait_for(lambda: _connects(one, served, stranger))
    assert one.do("read", "top.Outcome.Ready") == [True]
    trusted.unlink()
    wait_for(lambda: "BadCertificateUntrusted" in str(_answer(one, "read", "top.Outcome.Ready")))


def _answer(one: Client, do: str, *args: Any, **more: Any) -> dict[str, Any]:
    one.send(do, *args, **more)
    return one.answer()


def _connects(one: Client, served: Served, who: dict[str, str]) -> bool:
    return "ok" in _answer(one, "connect", served.url, "Sign", **who)


def test_so_many_sessions_and_no_more(served: Served, certificates: Callable[[str], dict[str, str]]) -> None:
    plc = certificates("plc")
    with client() as first, client() as second, client() as third:
        first.do("connect", served.url, "Sign", **plc)
        second.do("connect", served.url, "SignAndEncrypt", **plc)
        assert served.link.state().well
        assert third.refused("connect", served.url, "Sign", **plc) == "BadTooManySessions"
        second.do("disconnect")
        wait_for(lambda: _connects(third, served, plc))
    wait_for(lambda: "clients: 0" in served.link.state().text)


def _hello(size: int) -> bytes:
    return b"HELF" + struct.pack("<I", size)


@pytest.mark.parametrize(
    "frame",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 64,
        _hello(2**32 - 1),  # announces four gigabytes
        _hello(0),
        _hello(8),
        _hello(32) + b"\xff" * 24,
        b"OPNF" + struct.pack("<II", 20, 0) + b"\xff" * 8,
        b"MSGF" + struct.pack("<II", 24, 1) + b"\x00" * 12,
        b"MSGC" + struct.pack("<II", 2**31, 1),
    ],
)
def test_frames_that_are_none(served: Served, frame: bytes) -> None:
    """The connection ends, and nobody else notices."""
    with socket.create_connection(("127.0.0.1", served.port), 60) as line:
        with contextlib.suppress(OSError):
            line.sendall(frame)
        line.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while line.recv(4096):
                pass
    assert "clients" in served.link.state().text
    with socket.create_connection(("127.0.0.1", served.port), 60) as line:
        line.sendall(_hello(32 + 4) + struct.pack("<5I", 0, 65535, 65535, 0, 0) + struct.pack("<I", 4) + b"opc:")
        assert line.recv(4) == b"ACKF"


def test_users(tmp_path: Path, certificates: Callable[[str], dict[str, str]]) -> None:
    plc = certificates("plc")
    trust(tmp_path, plc)
    (tmp_path / "users").write_text("# who may\nline:Geheim7\nother: with blank\n", encoding="utf-8")
    made = Served(tmp_path, users=str(tmp_path / "users"))
    try:
        with client() as one:
            for mode in ("Sign", "SignAndEncrypt"):
                assert one.refused("connect", made.url, mode, **plc) == "BadIdentityTokenRejected"
                login = {"user": "line", "password": "Falsch8"}
                assert one.refused("connect", made.url, mode, **plc, **login) == "BadUserAccessDenied"
                assert one.do("connect", made.url, mode, **plc, user="line", password="Geheim7")
                one.do("disconnect")
        assert made.told("its user or its password is wrong")
        assert not made.told("Falsch8")
    finally:
        made.link.close()


def test_without_security_where_it_is_asked_for(tmp_path: Path) -> None:
    made = Served(tmp_path, insecure=True)
    try:
        with client() as one:
            assert one.do("endpoints", made.url) == [["None", "None_"]]
            one.do("connect", made.url, "None")
            assert one.do("jobs", "top", "a")[0]["Good"]
        assert "WITHOUT SECURITY" in made.link.state().text
        assert not (tmp_path / "var").exists()
    finally:
        made.link.close()
    values = {name: key.default for name, key in KEYS.items()} | {"insecure": True, "users": "users"}
    assert [name for name, _ in problems(values)] == ["users"]


def test_the_stations_own_certificate(tmp_path: Path) -> None:
    first = identity(tmp_path / "pki", "Line 1")
    assert first.uri.endswith(":edge-ad:Line-1")
    again = identity(tmp_path / "pki", "another name")
    assert (again.certificate, again.key, again.uri) == (first.certificate, first.key, first.uri)
    own = tmp_path / "pki/own"
    if os.name == "posix":
        assert own.stat().st_mode & 0o077 == 0
    identity(tmp_path / "other", "b")
    shutil.copy(tmp_path / "other/own/key.pem", own)
    with pytest.raises(SpecError, match=r"key\.pem cannot be used.*a key of another certificate.*Remove both"):
        identity(tmp_path / "pki", "Line 1")
    (own / "key.pem").write_text("no key")
    with pytest.raises(SpecError, match=r"key\.pem cannot be used"):
        identity(tmp_path / "pki", "Line 1")


def _made(name: str, days: int = 1) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(names, names, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=9))
    return builder.not_valid_after(now + datetime.timedelta(days=days)).sign(key, hashes.SHA256())


def test_whoever_makes_certificates_without_end_fills_no_disk(tmp_path: Path) -> None:
    told: list[str] = []
    trusted = Trust(tmp_path, told.append)
    for at in range(60):
        assert trusted.why_not(_made(f"../{at}\n"))
    assert len(list((tmp_path / "rejected").iterdir())) == 50
    assert len(told) == 1
    assert [each.name for each in tmp_path.iterdir() if each.name not in ("trusted", "rejected")] == []


def test_whose_time_is_over_and_what_is_no_certificate(tmp_path: Path) -> None:
    told: list[str] = []
    trusted = Trust(tmp_path, told.append)
    from cryptography.hazmat.primitives.serialization import Encoding

    old, good = _made("old", -1), _made("good")
    (tmp_path / "trusted/old.der").write_bytes(old.public_bytes(Encoding.DER))
    (tmp_path / "trusted/good.pem").write_bytes(good.public_bytes(Encoding.PEM))
    (tmp_path / "trusted/broken.der").write_bytes(b"nothing")
    (tmp_path / "trusted/notes.txt").write_text("not looked at")
    assert trusted.why_not(old) == "its time is over, or has not come"
    assert trusted.why_not(good) == ""
    assert any("broken.der is no certificate" in each for each in told)
    assert not list((tmp_path / "rejected").iterdir())


@pytest.mark.parametrize("text", ["", "# nobody\n", "a\n", "a:\n", ":b\n", "a:b\na:c\n", "\udcff"])
def test_files_of_users_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SpecError, match="users"):
        Users(path)
    with pytest.raises(SpecError, match="cannot be read"):
        Users(tmp_path / "none")


def test_passwords(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("a:b:c\n", encoding="utf-8")
    users = Users(tmp_path / "users")
    assert users.knows("a", "b:c")
    assert [users.knows(*each) for each in ((None, None), ("", ""), ("a", "b"), ("b", ""))] == [False] * 4
