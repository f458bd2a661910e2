"""What has kinds in the configuration: sinks and links. Each kind is a module, which is imported when it is asked for.

Such a module has `KEYS`, and a function that opens one. It may also have `FILES`, the keys that name files which it
reads, and `problems(values)`, which says what does not go together. What else it may have, its table says.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from edge_ad.system.keys import Key, Problem

Opening = TypeVar("Opening")
Opened = TypeVar("Opened")


class Kinds(dict[str, str], Generic[Opening, Opened]):
    """The modules, by kind.

    Args:
        opener: the name of the function that opens one.
        keys: that every kind has.
        modules: by kind.
    """

    def __init__(self, opener: str, keys: Mapping[str, Key], modules: Mapping[str, str]) -> None:
        super().__init__(modules)
        self._opener, self._keys = opener, keys

    def keys_of(self, kind: str) -> dict[str, Key]:
        """The keys of a kind, those that every kind has among them."""
        return {**self._keys, **self.own(kind, "KEYS")}

    def files_of(self, kind: str) -> tuple[str, ...]:
        """The keys that name files which it reads."""
        return tuple(self.own(kind, "FILES", ()))

    def problems_of(self, kind: str, values: Mapping[str, Any]) -> list[Problem]:
        """What is wrong with keys beside one another."""
        return list(self.own(kind, "problems", lambda values: [])(values))

    def open(self, kind: str, opening: Opening) -> Opened:
        """Opens one.

        Raises:
            EdgeADError: it cannot be opened, such as a port that is in use.
        """
        opened: Opened = self.own(kind, self._opener)(opening)
        return opened

    def own(self, kind: str, name: str, *default: Any) -> Any:
        """What the module of a kind has by that name; the default where it has none."""
        return getattr(importlib.import_module(self[kind]), name, *default)
