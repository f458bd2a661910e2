"""The summary that an export prints at its end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_ad.spec import Size
from edge_ad.system.tables import named


@dataclass
class Summary:
    """A report of what an export did.

    Attributes:
        bundle: the bundle written.
        lines: (name, text) facts in the order they were found.
        seconds: of each stage.
    """

    bundle: Path
    lines: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def say(self, name: str, text: str) -> None:
        """Adds a fact."""
        self.lines.append((name, text))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage. If it runs more than once, the times are added."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def add(self, other: Summary, prefix: str = "") -> None:
        """Adds the facts of another summary, their texts after the prefix, and its seconds."""
        self.lines += [(name, prefix + text) for name, text in other.lines]
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def __str__(self) -> str:
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items())
        rows = [*self.lines, ("seconds", f"{stages}; total {sum(self.seconds.values()):.1f}")]
        return named(rows)


def describe_sizes(sizes: Collection[Size]) -> str:
    """The (H, W) of images, in words."""
    found = sorted(sizes)
    one = "x".join(map(str, found[0]))
    return one if len(found) == 1 else f"{len(found)} sizes from {one} to {'x'.join(map(str, found[-1]))}"
