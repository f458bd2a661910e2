"""Where the page of a station is, and who may ask it: keys of `[station]`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import SpecError
from edge_ad.system.keys import Key, number, switch, text

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.IGNORECASE)


def address(value: Any) -> tuple[str, int]:
    """Host and port of "HOST:PORT"; an IPv6 address stands in brackets."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and _is_host(host) and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SpecError("it is no address", expected='such as "127.0.0.1:8080"', got=repr(value))
    return host, int(port)


def names(value: Any) -> tuple[str, ...]:
    """A list of host names."""
    if not isinstance(value, list) or not all(isinstance(each, str) and _NAME.fullmatch(each) for each in value):
        raise SpecError("it is no list of host names", expected='such as ["line4.example.org"]', got=repr(value))
    return tuple(each.lower() for each in value)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _NAME.fullmatch(host) is not None
    return True


HTTP = {
    "http": Key(address, "where the operator page is, such as 127.0.0.1:8080; without it there is none"),
    "http_names": Key(names, "further host names that browsers may call the page by", ()),
    "http_max_mb": Key(number(1, 1024), "largest upload, in 10^6 bytes", 32.0),
    "viewer_token_file": Key(text, "file of the token that reads; without it, data/tokens/viewer is made"),
    "operator_token_file": Key(text, "file of the token that may change things; likewise data/tokens/operator"),
    "metrics_open": Key(switch, "true: /metrics and /ready need no token", False),
}


@dataclass(frozen=True)
class Http:
    """The page of a station.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        names: further host names that browsers may call it by.
        max_body: bytes of a request's body.
        viewer_token, operator_token: files; None for one of the station's own.
        metrics_open: whether `/metrics` and `/ready` need no token.
    """

    host: str
    port: int
    names: tuple[str, ...]
    max_body: int
    viewer_token: Path | None
    operator_token: Path | None
    metrics_open: bool

    @property
    def tokens(self) -> dict[str, Path | None]:
        """Files of the tokens, by role; None for one of the station's own."""
        return {"viewer": self.viewer_token, "operator": self.operator_token}

    @property
    def is_local(self) -> bool:
        """Whether only this PC reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """For people."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


def http_of(station: Mapping[str, Any], path_of: Callable[[str], Path]) -> Http | None:
    """What the table `[station]` says of the page; None without one."""
    if station["http"] is None:
        return None
    host, port = station["http"]
    viewer, operator = (
        None if station[key] is None else path_of(station[key]) for key in ("viewer_token_file", "operator_token_file")
    )
    size = round(station["http_max_mb"] * 1e6)
    return Http(host, port, station["http_names"], size, viewer, operator, station["metrics_open"])
