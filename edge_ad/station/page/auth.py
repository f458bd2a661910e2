"""Who may do what: two tokens, sessions of browsers, and what keeps other sites from using them.

A viewer reads; an operator also changes things. A browser sends the token once, and gets a cookie that scripts cannot
read and other sites cannot send; a machine sends the token with each request. A cookie is signed, and holds no secret:
role, end, a number. Its signature covers the token too, so a token that is exchanged ends its sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from edge_ad.errors import EdgeADError
from edge_ad.station.page.buckets import Buckets

VIEWER, OPERATOR = "viewer", "operator"
ROLES = (VIEWER, OPERATOR)
_SESSION_S = 12 * 3600  # a shift, and some
_LEAST = 16  # characters of a token
_MOST = 1024
_TRIES = 5  # wrong tokens of an address at once
_TRY_S = 10.0  # and one more in so many seconds
_REVOKED = 10_000  # sessions that were ended, kept until they would have ended


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        role: "viewer" or "operator".
        address: that the request came from.
        csrf: to be sent with what changes something; "" of a machine, which needs none.
    """

    role: str
    address: str
    csrf: str = ""

    @property
    def may_change(self) -> bool:
        """Whether it is an operator."""
        return self.role == OPERATOR

    @property
    def who(self) -> str:
        """For the journal."""
        return f"{self.role} at {self.address}"


def make_token(path: Path) -> bool:
    """Makes a token that only the owner of the file reads, where there is none. Returns whether it did.

    Raises:
        EdgeADError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise EdgeADError(f"the token {path} cannot be written", got=error.strerror or error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{secrets.token_urlsafe(24)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # half a token would be refused by each start from now on
        path.unlink(missing_ok=True)
        raise EdgeADError(f"the token {path} cannot be written", got=error.strerror or error) from error
    return True


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        EdgeADError: there is none, or one that can be guessed.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe is to wait for whoever writes into it
            raise EdgeADError(f"the token {path} cannot be read", expected="a file", got="something else")
        with path.open("rb") as file:
            token = file.read(_MOST + 1).decode("ascii")
    except (OSError, ValueError) as error:
        got = (error.strerror or error) if isinstance(error, OSError) else "bytes that are no ASCII"
        raise EdgeADError(f"the token {path} cannot be read", expected="a line of text", got=got) from error
    if len(token) > _MOST:
        raise EdgeADError(f"the token in {path} is too long", expected=f"{_MOST} characters at most")
    token = token.strip()
    if len(token) < _LEAST or not token.isprintable() or " " in token:
        raise EdgeADError(
            f"the token in {path} is too short, or has blanks",
            expected=f"{_LEAST} characters or more on one line",
            got=f"{len(token)} characters",
            remedy="Remove the file: the next start makes a good one.",
        )
    return token


def read_tokens(files: Mapping[str, Path]) -> dict[str, str]:
    """The tokens in files, by role.

    Raises:
        EdgeADError: one cannot be read, or two are the same: then nobody would be a viewer.
    """
    tokens = {role: read_token(path) for role, path in files.items()}
    if len(tokens) > 1 and len({*tokens.values()}) == 1:
        raise EdgeADError("viewer and operator have the same token", got=" and ".join(map(str, files.values())))
    return tokens


def is_open(path: Path) -> bool:
    """Whether others on this PC may read or write a file, as far as the system tells."""
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)


class Auth:
    """Tokens and sessions. Thread-safe.

    Args:
        files: of the tokens, by role. They are read again when they change.
        secret: signs cookies.
        cookie: name of the cookie.

    Raises:
        EdgeADError: a token cannot be read, or both are the same.
    """

    def __init__(
        self, files: Mapping[str, Path], secret: bytes, cookie: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._files, self._secret, self.cookie, self._clock = files, secret, cookie, clock
        stamps = {role: self._stamp(role) for role in ROLES}
        self._known = {role: (stamps[role], token) for role, token in read_tokens(files).items()}
        self.wrong = Buckets(_TRIES, 1 / _TRY_S)
        self._revoked: dict[str, float] = {}

    def _stamp(self, role: str) -> tuple[int, int] | None:
        try:
            found = self._files[role].stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _token(self, role: str) -> str:
        """The token now; the one before where the file is gone or cannot be used."""
        stamp, token = self._known[role]
        found = self._stamp(role)
        if found != stamp and found is not None:
            try:
                token = read_token(self._files[role])
            except EdgeADError:
                return token
            self._known[role] = found, token
        return token

    def role_of(self, token: str) -> str:
        """The role of a token; "" where it is none. It takes the same time for each."""
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = ""
        for role in ROLES:
            if hmac.compare_digest(given, hashlib.sha256(self._token(role).encode()).digest()):
                found = role
        return found

    def _sign(self, what: str, role: str) -> str:
        text = f"{what}\0{self._token(role)}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def session(self, role: str) -> str:
        """A new session: the value of its cookie."""
        plain = f"{role}.{int(self._clock()) + _SESSION_S}.{secrets.token_hex(16)}"
        return f"{plain}.{self._sign(plain, role)}"

    def visitor(self, session: str, address: str) -> Visitor | None:
        """Whose session it is; None where it is none, or has ended."""
        plain, _, signature = session.rpartition(".")
        role, _, rest = plain.partition(".")
        end = rest.partition(".")[0]
        if role not in ROLES or not session.isascii() or not end.isdigit() or len(end) > 20:
            return None
        if not hmac.compare_digest(signature, self._sign(plain, role)):
            return None
        if int(end) < self._clock() or signature in self._revoked:
            return None
        return Visitor(role, address, self._sign(f"csrf {plain}", role))

    def end(self, session: str) -> None:
        """Ends a session."""
        if self.visitor(session, "") is not None:
            while len(self._revoked) >= _REVOKED:
                del self._revoked[next(iter(self._revoked))]
            self._revoked[session.rpartition(".")[2]] = self._clock()

    def session_of(self, cookies: str) -> str:
        """The session among the cookies of a request; "" without one."""
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value

    def set_cookie(self, session: str, *, secure: bool) -> str:
        """The header that gives a browser a session; "" takes it away."""
        ends = "" if session else "; Max-Age=0"
        return f"{self.cookie}={session}; Path=/; HttpOnly; SameSite=Strict{ends}" + ("; Secure" if secure else "")


def is_same(given: str, expected: str) -> bool:
    """Whether a CSRF token is the right one; in the same time whatever it is."""
    return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
