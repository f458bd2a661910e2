"""Where the page is. It knows no Gradio."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from edge_ad.errors import EdgeADError
from edge_ad.system.arguments import whole_number

PORT = 7860  # Gradio's


@dataclass(frozen=True)
class Address:
    """Where the page is.

    Attributes:
        host: name or number of an interface of this PC.
        port: of TCP; 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: int = PORT

    def __post_init__(self) -> None:
        whole_number("--port", self.port, 0, 65535)

    @property
    def is_local(self) -> bool:
        """Whether only this PC reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def listen(address: Address) -> socket.socket:
    """A socket that listens there.

    Raises:
        EdgeADError: there is no such interface, or the port is taken or not allowed.
    """
    try:
        kind, _, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(where[0]), int(where[1])), family=kind)
    except (OSError, UnicodeError) as error:
        raise EdgeADError(
            f"no page can be at {address.host}:{address.port}",
            expected="an interface of this PC and a free port",
            got=getattr(error, "strerror", None) or error,
            remedy="Give another --port (0 takes a free one) or --host.",
        ) from error
