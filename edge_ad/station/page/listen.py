"""The socket of the page."""

from __future__ import annotations

import socket

from edge_ad.errors import EdgeADError

_WAITING = 256  # connections that nobody has taken yet


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one.

    Raises:
        EdgeADError: there is no such address, or the port is taken or not allowed.
    """
    try:
        kind, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(where[0]), int(where[1])), family=kind, backlog=_WAITING)
    except (OSError, UnicodeError) as error:
        raise EdgeADError(
            f"the operator page cannot be at {host}:{port}",
            expected="an address of this PC and a free port",
            got=getattr(error, "strerror", None) or error,
            remedy="Change http in [station].",
        ) from error
