"""The settings that an operating point is opened with, and those that the user has fixed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How an operating point is opened; see `edge_ad.Runtime`.

    Attributes:
        engine, search: names, or "auto".
        device: OpenVINO's device.
        threads: most threads for engine and search together.
        cores: logical cores to use; None for all that the process may use.
        streams: calls that run side by side; they share the threads.
    """

    engine: str
    device: str
    threads: int
    cores: tuple[int, ...] | None
    search: str
    streams: int = 1

    @property
    def each(self) -> int:
        """Threads of one call."""
        return max(1, self.threads // self.streams)

    @property
    def cores_text(self) -> str:
        """The cores, for a table."""
        return "all" if self.cores is None else ",".join(map(str, self.cores))


@dataclass(frozen=True)
class Fixed:
    """The settings that the user has fixed. None: the machine's profile chooses, or without one the default is used."""

    engine: str | None = None
    device: str | None = None
    threads: int | None = None
    cores: tuple[int, ...] | None = None
    search: str | None = None
    streams: int | None = None

    def merged(self, base: Settings) -> Settings:
        """`base`, with the fixed settings in place of its own."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})

    def allows(self, settings: Settings) -> bool:
        """Whether the settings agree with all that the user has fixed."""
        return self.merged(settings) == settings
