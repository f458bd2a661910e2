"""Categories and candidates: which bundles `edge-ad fleet export` makes, and which of them are there already."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad import __version__
from edge_ad.data.layouts import find_category
from edge_ad.errors import SpecError
from edge_ad.evaluation.cells import unique
from edge_ad.evaluation.exports import Order
from edge_ad.evaluation.grid import digest_of, state_of

_OWN = ("--data", "--out", "--threads", "--help")
_NAME = re.compile(r"\w[\w.-]*")  # no hidden file, and no option


@dataclass(frozen=True)
class Candidate:
    """Options of `python -m export` under a name."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Export:
    """A category and a candidate.

    Attributes:
        folder: of the category.
        title: of the category.
    """

    folder: Path
    title: str
    candidate: Candidate

    def command(self, out: Path, threads: int) -> list[str]:
        """The command that makes the bundle `out`."""
        command = [sys.executable, "-m", "edge_ad.cli", "export", str(self.folder), *self.candidate.options]
        return [*command, "--out", str(out), "--threads", str(threads)]

    def fingerprint(self) -> dict[str, Any]:
        """Everything that the bundle depends on, ready for JSON. A file is described by path, size and time of
        change."""
        named = [Path(option.partition("=")[2] or option) for option in self.candidate.options]
        return {
            "category": str(self.folder),
            "options": list(self.candidate.options),
            "images": digest_of(sorted(path for path in self.folder.rglob("*") if path.is_file())),
            "files": [list(state_of(path)) for path in named if path.is_file()],
            "edge_ad": __version__,
        }


def read_candidates(given: Sequence[str]) -> tuple[Candidate, ...]:
    """Candidates from NAME=OPTIONS each; without any, one of the export's defaults.

    Raises:
        SpecError: a name is missing, cannot be a file's, or is given twice; or the options hold one that the fleet
            sets itself.
    """
    found: dict[str, Candidate] = {}
    for text in given or ("default=",):
        name, equals, options = text.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise SpecError(
                "--candidate cannot be used", expected="NAME=OPTIONS, NAME of letters, digits, and - . within", got=text
            )
        if name.lower() in found:
            raise SpecError("two candidates have one name", expected="a name each", got=name)
        try:
            words = tuple(shlex.split(options))
        except ValueError as error:
            raise SpecError(f"the options of {name} cannot be read", got=f"{options} ({error})") from error
        for word in words:
            option = word.partition("=")[0]
            if len(option) > 2 and option.startswith("--") and any(own.startswith(option) for own in _OWN):
                raise SpecError(
                    f"{option} cannot be among the options of {name}", got=word, remedy="The fleet sets it."
                )
        found[name.lower()] = Candidate(name, words)
    return tuple(found.values())


def orders_of(categories: Sequence[str], candidates: Sequence[Candidate], out: Path) -> list[Order]:
    """A bundle OUT/CATEGORY/CANDIDATE.bundle of each category and candidate.

    Raises:
        EdgeADError: there is no such category, or one is given twice.
    """
    folders = [find_category(given).absolute() for given in categories]
    names = unique([(folder.name, str(folder)) for folder in folders])
    return [
        Order(Export(folder, name, candidate), out.absolute() / name / f"{candidate.name}.bundle", "")
        for folder, name in zip(folders, names, strict=True)
        for candidate in candidates
    ]
