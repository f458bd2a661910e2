"""`python packaging/requirements.py export,test`: what those extras of pyproject.toml need, for `pip install --requirement`.

So the Makefile can install it while the native core is built: pip itself asks edge-ad for its extras, which has to be
built first for that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pip brings its own
    from pip._vendor import tomli as tomllib

_ITSELF = re.compile(r"edge-ad\[([\w,]+)\]")  # an extra that takes in others


def requirements(project: dict[str, Any], extras: list[str]) -> Iterator[str]:
    """Of the package and of some extras, and of those that they take in.

    Args:
        project: the table of that name in pyproject.toml.
    """
    yield from project["dependencies"]
    for extra in extras:
        for each in project["optional-dependencies"][extra]:
            itself = _ITSELF.fullmatch(each)
            yield from requirements(project, itself[1].split(",")) if itself else [each]


if __name__ == "__main__":
    table = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    print(*dict.fromkeys(requirements(table["project"], sys.argv[1].split(","))), sep="\n")
