"""What the routes of the page work with."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.station.journal import Journal
from edge_ad.station.page.auth import OPERATOR, VIEWER, Auth
from edge_ad.station.page.bridge import Bridge
from edge_ad.station.page.channel import UNAVAILABLE, RefusedError

_PATIENCE_S = 5.0  # with what is asked of the journal


@dataclass(frozen=True)
class Settings:
    """What the station tells its page at the start; all of it goes through JSON.

    Attributes:
        station: name of the station.
        path: of its configuration.
        data: the data folder.
        host, port: where the page listens.
        names: further host names that browsers may call it by.
        metrics_open: whether `/metrics` and `/ready` need no token.
        max_body: bytes of a request's body.
        viewer_token, operator_token: the files of the tokens.
        log: form of log lines, "text" or "json".
        secret: 64 hexadecimal digits that sign cookies; the same until the station ends.
    """

    station: str
    path: str
    data: str
    host: str
    port: int
    names: tuple[str, ...]
    metrics_open: bool
    max_body: int
    viewer_token: str
    operator_token: str
    log: str
    secret: str

    @property
    def token_files(self) -> dict[str, Path]:
        """The files of the tokens, by role."""
        return {VIEWER: Path(self.viewer_token), OPERATOR: Path(self.operator_token)}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """What `to_dict` gave."""
        return cls(**{**given, "names": tuple(given["names"])})


@dataclass(frozen=True)
class Context:
    """What the routes get. Everything may be used by several threads.

    A route finds who asks at `request.state.visitor` (`auth.Visitor`: role, csrf, who); it is there on all paths but
    the open ones (`/health`, `/login`, `/static/`), where it is None for strangers. Whatever is no GET has been checked
    before a route is called: only an operator comes that far, and of a cookie's session the CSRF token was right. It
    comes as the form field `csrf`, or as the header `X-CSRF-Token`.

    `POST /login` (fields `token`, and `next`, a path) and `POST /logout` are there; the form at `GET /login` belongs to
    `views.py`. A refused token leads to `/login?failed=token`, too many of them to `/login?failed=wait`.

    Attributes:
        bridge: to the station.
        journal_path: the journal, to be read.
        data: the data folder.
        settings: of the page.
        auth: tokens and sessions.
    """

    bridge: Bridge
    journal_path: Path
    data: Path
    settings: Settings
    auth: Auth

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        """The journal, for a moment: `with context.journal() as journal`. It cannot be written, and whatever is asked
        of it ends after five seconds.

        Raises:
            EdgeADError: it cannot be opened or read.
            RefusedError: it took longer.
        """
        with Journal(self.journal_path) as journal:
            journal.give_up_after(_PATIENCE_S)
            try:
                yield journal
            except sqlite3.OperationalError as error:
                if str(error) != "interrupted":
                    raise
                raise RefusedError("the search took too long; narrow it, by camera or day", UNAVAILABLE) from error
