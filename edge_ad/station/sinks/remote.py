"""What sinks over a network share: addresses, secrets, TLS, and an outcome as JSON."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_ad.errors import SpecError
from edge_ad.station.sinks.base import Message
from edge_ad.system.inputs import read_input
from edge_ad.system.keys import Key, Problem, number, text
from edge_ad.system.names import storable

_MOST_SECRET = 2**16  # bytes

TIMES = {
    "connect_s": Key(number(0.1, 60), "seconds for a connection: name, TCP and TLS", 5.0),
    "answer_s": Key(number(0.1, 600), "seconds for an answer", 10.0),
}
TLS = {
    "ca": Key(text, "file (PEM) of the authorities that are trusted, in place of those of the system"),
    "cert": Key(text, "file (PEM) of this station's own certificate, where the peer wants one"),
    "key": Key(text, "file (PEM) of its private key, not encrypted"),
}


def address(*schemes: str) -> Callable[[Any], str]:
    """An address without a user or password: whoever reads the configuration, or a log, would read them."""

    def read(value: Any) -> str:
        given, expected = text(value), " or ".join(f"{scheme}://HOST" for scheme in schemes)
        try:
            parts = urlsplit(given)
            fits = parts.scheme in schemes and bool((parts.hostname or "").encode("idna")) and parts.port != 0
        except ValueError:  # a port that is no number, brackets that do not close, a name that is too long
            fits = False
        if not fits or not given.isascii() or " " in given or "#" in given:
            raise SpecError("it is no address", expected=expected)
        if parts.username is not None or parts.password is not None:
            raise SpecError("it holds a user or password", expected=expected, remedy="There are keys for them.")
        return given

    return read


def secret_keys(name: str, meaning: str) -> dict[str, Key]:
    """Keys of a secret, which never stands in the configuration itself."""
    return {
        f"{name}_env": Key(text, f"environment variable with {meaning}"),
        f"{name}_file": Key(text, f"file with {meaning}; the end of its line does not count"),
    }


def secret_of(options: Mapping[str, Any], name: str) -> bytes | None:
    """A secret; None where none is configured.

    Raises:
        SpecError: it is not where the configuration says, or is empty.
    """
    variable, file = options[f"{name}_env"], options[f"{name}_file"]
    if variable is not None:
        found = os.fsencode(os.environ.get(variable, ""))
        where, remedy = f"the environment variable {variable}", "systemd sets it by EnvironmentFile=."
    elif file is not None:
        found = _content(Path(file)).rstrip(b"\r\n")
        where, remedy = f"the file {file}", None
    else:
        return None
    if not found:
        raise SpecError(f"{where} holds no {name}", expected="a text that is not empty", remedy=remedy)
    return found


def _content(path: Path) -> bytes:
    try:
        return read_input(path, most=_MOST_SECRET)
    except OSError as error:
        raise SpecError(f"{path} cannot be read", got=error.strerror or error) from error


def problems_of(values: Mapping[str, Any], secrets: tuple[str, ...], secure: str) -> list[Problem]:
    """Keys that do not go together.

    Args:
        secure: the scheme of addresses with TLS.
    """
    found = [
        (f"{name}_file", f"{name}_env is given too; one of them is enough")
        for name in secrets
        if values[f"{name}_env"] is not None and values[f"{name}_file"] is not None
    ]
    if (values["cert"] is None) != (values["key"] is None):
        found.append(("cert" if values["key"] is None else "key", "cert and key go together"))
    if urlsplit(values["url"] or "").scheme != secure:
        found += [(name, f"it goes with {secure}://") for name in TLS if values[name] is not None]
    return found


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """TLS that verifies the peer's certificate and name.

    Raises:
        SpecError: a file holds no certificates or keys.
    """
    ca, cert, key = options["ca"], options["cert"], options["key"]
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SpecError(f"the certificates of {ca} cannot be read", expected="a file in PEM", got=error) from error
    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ValueError) as error:
            raise SpecError(
                f"the certificate {cert} and the key {key} cannot be used",
                expected="files in PEM that belong to one another",
                got=error,
            ) from error
    return context


def _no_password() -> str:
    raise SpecError("the private key is encrypted", remedy="Nobody is there to type its password: store it without.")


def json_of(message: Message, station: str) -> bytes:
    """An outcome as sinks over a network send it: the fields of `kind = "jsonl"`, and the station."""
    told = {"station": station, **message.row.to_dict(), "key": message.key}
    return storable(json.dumps(told, ensure_ascii=False)).encode()
