"""Certificates and users of the OPC UA link: who the station is, and whom it trusts.

`pki/own` holds the station's certificate and key, made at the first start. `pki/trusted` holds the certificates of
clients: each of them by itself, no authorities, so that there is no list of revoked ones to keep. Whoever is refused is
written to `pki/rejected`, and is trusted when a person moves that file to `pki/trusted`; no restart is needed.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_ad.errors import SpecError
from edge_ad.station.plc.base import Sparing
from edge_ad.system.files import write_output
from edge_ad.system.inputs import read_input
from edge_ad.system.names import printable

OWN_CERTIFICATE, OWN_KEY = "certificate.der", "key.pem"
_ENDINGS = (".der", ".pem", ".crt", ".cer")
_MOST = 2**16  # bytes of a certificate, and of the file of users
_REJECTED = 50  # files of refused certificates; anybody can make as many as he likes
_LOOK_S = 0.5  # between two looks into the folder of the trusted
_YEARS = 20  # nobody comes to renew it
_KEY_BITS = 2048


class Identity:
    """The station's certificate, in DER, its private key in PEM, and the address that the certificate names it by."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self.certificate, self.key = certificate, key
        parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.uri = str(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
        self.thumbprint = thumbprint(parsed)


def identity(folder: Path, station: str) -> Identity:
    """Reads the station's certificate, or makes one.

    Args:
        folder: `pki`.

    Raises:
        EdgeADError: it cannot be written or read.
    """
    certificate, key = folder / "own" / OWN_CERTIFICATE, folder / "own" / OWN_KEY
    if not certificate.exists():
        _make(certificate, key, station)
    try:
        found = Identity(read_input(certificate, most=_MOST), read_input(key, most=_MOST))
        opened = serialization.load_pem_private_key(found.key, password=None)
        wanted = x509.load_der_x509_certificate(found.certificate).public_key()
        fits = opened.public_key() == wanted
    except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound) as error:
        raise _unfit(certificate, key, error) from error
    if not fits:
        raise _unfit(certificate, key, "a key of another certificate")
    return found


def application_uri(station: str) -> str:
    """How OPC UA calls this station; a certificate names it too."""
    return f"urn:{_plain(socket.gethostname())}:edge-ad:{_plain(station)}"


def _plain(name: str) -> str:
    return re.sub("[^A-Za-z0-9._-]", "-", name)


def _unfit(certificate: Path, key: Path, got: object) -> SpecError:
    return SpecError(
        f"the certificate {certificate} and the key {key} cannot be used",
        expected="a certificate in DER with the station's address, and its key in PEM, not encrypted",
        got=got,
        remedy="Remove both, and the station makes new ones; clients must trust the new certificate.",
    )


def _make(certificate: Path, key: Path, station: str) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"edge-ad {station}"[:64])])
    addresses = [
        x509.UniformResourceIdentifier(application_uri(station)),
        *(x509.DNSName(each) for each in dict.fromkeys((_plain(socket.gethostname()), "localhost"))),
    ]
    builder = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign"), True
    )
    usage |= dict.fromkeys(("key_agreement", "crl_sign", "encipher_only", "decipher_only"), False)
    roles = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for extension, critical in (
        (x509.SubjectAlternativeName(addresses), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.ExtendedKeyUsage(roles), False),
        (x509.SubjectKeyIdentifier.from_public_key(private.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    signed = builder.sign(private, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    encoded = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    key.parent.mkdir(parents=True, exist_ok=True)
    key.parent.chmod(0o700)  # before the key is in it; Windows keeps the rights of the data folder
    write_output(key, [encoded])
    write_output(certificate, [signed.public_bytes(serialization.Encoding.DER)])


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-1 in hex: the name that OPC UA gives a certificate. Nothing is compared by it."""
    return certificate.fingerprint(hashes.SHA1()).hex()


class Trust:
    """Whom the station trusts. Used by one thread.

    Args:
        tell: says something among the events of the journal.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._trusted, self._rejected, self._tell = folder / "trusted", folder / "rejected", Sparing(tell)
        self._seen: tuple[float, list[bytes]] = (-_LOOK_S, [])
        for each in (self._trusted, self._rejected):
            each.mkdir(parents=True, exist_ok=True)

    def why_not(self, certificate: x509.Certificate) -> str:
        """Why this certificate is refused; "" where it is trusted. Whom nobody knows is written down."""
        der = certificate.public_bytes(serialization.Encoding.DER)
        if not any(hmac.compare_digest(der, each) for each in self._known()):
            self._keep(certificate, der)
            return "it is not trusted"
        now = datetime.datetime.now(datetime.timezone.utc)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            until = f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}"
            self._tell(f"the certificate of {_name(certificate)} holds from {until}, and the clock says {now:%Y-%m-%d}")
            return "its time is over, or has not come"
        return ""

    def _known(self) -> list[bytes]:
        if time.monotonic() - self._seen[0] >= _LOOK_S:
            self._seen = time.monotonic(), self._read()
        return self._seen[1]

    def _read(self) -> list[bytes]:
        found = []
        for path in sorted(self._trusted.iterdir()):
            if path.suffix.lower() not in _ENDINGS:
                continue
            try:
                content = read_input(path, most=_MOST)
                pem = content.lstrip().startswith(b"-----BEGIN")
                one = x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
            except (OSError, ValueError) as error:
                self._tell(f"{path} is no certificate: {error}")
                continue
            found.append(one.public_bytes(serialization.Encoding.DER))
        return found

    def _keep(self, certificate: x509.Certificate, der: bytes) -> None:
        mark = thumbprint(certificate)
        path = self._rejected / f"{re.sub('[^A-Za-z0-9._-]', '_', _name(certificate))[:40]}-{mark}.der"
        if not path.exists():
            there = sorted(self._rejected.glob("*.der"), key=lambda each: each.name)
            there.sort(key=_age)
            for old in there[: max(0, len(there) + 1 - _REJECTED)]:
                old.unlink(missing_ok=True)
            write_output(path, [der])
        self._tell(
            f"a client is refused, as nobody trusts its certificate ({_name(certificate)}, SHA-1 {mark}). If it is "
            f"yours, move {path} to {self._trusted}",
            "stranger",  # one text at a time: anybody can make certificates without end
        )


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # somebody moves it now
        return 0.0


def _name(certificate: x509.Certificate) -> str:
    found: Any = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(found[0].value))[:80] if found else "no name"


class Users:
    """Names and passwords of a file: a line NAME:PASSWORD for each; lines that begin with # say nothing.

    Raises:
        SpecError: it cannot be read, or a line is none of these.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = read_input(path, most=_MOST).decode("utf-8")
        except (OSError, ValueError) as error:
            raise SpecError(f"{path} cannot be read", expected="a text file", got=error) from error
        self._digests: dict[str, bytes] = {}
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, colon, password = line.partition(":")
            if not (colon and name.strip() and password) or name.strip() in self._digests:
                raise SpecError(
                    f"{path}:{number}: it is no user", expected="NAME:PASSWORD, each name once", got="another line"
                )
            self._digests[name.strip()] = _digest(password)
        if not self._digests:
            raise SpecError(f"{path} has no users", expected="a line NAME:PASSWORD for each")

    def knows(self, name: str | None, password: str | None) -> bool:
        """Whether this is a user's password. Takes as long for any name."""
        wanted = self._digests.get(name or "", _digest(""))
        return hmac.compare_digest(wanted, _digest(password or "")) and name in self._digests


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()
