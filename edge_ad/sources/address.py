"""Addresses of cameras for people: without what nobody else may read."""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "***"
_USER = re.compile(r"(?<=://)([^/\s?#@:]*):([^/\s]*)@")  # user:password@, to the last @ before the path
# rtsp://10.0.0.5/?user=admin&password=x and rtsp://10.0.0.5/user=admin_password=x_channel=1
_FIELD = re.compile(r"((?:pass(?:word|wd|phrase)?|pwd|token|secret|auth|key|sig(?:nature)?)=)[^&/\s;]+", re.IGNORECASE)


def shown(address: str) -> str:
    """The address with `***` for a password, wherever cameras take one: before the host, in the query, in the path."""
    return _FIELD.sub(rf"\1{_HIDDEN}", _USER.sub(rf"\1:{_HIDDEN}@", address))


def masked(text: str, address: str) -> str:
    """A message of a library about `address`, without its password."""
    text = shown(text.replace(address, shown(address)))
    for secret in _secrets(address):
        text = text.replace(secret, _HIDDEN)
    return text


def _secrets(address: str) -> list[str]:
    found = {match.group(2) for match in _USER.finditer(address)}
    found |= {match.group(0).partition("=")[2] for match in _FIELD.finditer(address)}
    found |= {unquote(secret) for secret in found}
    # one of two letters stands in half of all words: the rules of `shown` hide it where it is one
    return sorted((secret for secret in found if len(secret) > 2), key=len, reverse=True)
