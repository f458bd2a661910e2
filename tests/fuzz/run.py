"""``python -m tests.fuzz.run bundle|image [options of libFuzzer]``: see the Makefile's `fuzz`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge_ad"]):
    from tests.fuzz import targets


def main() -> None:
    """Fuzzes one target. What it finds that is new stays in a temporary folder; a failing input is written out."""
    name = sys.argv.pop(1)
    found = Path(tempfile.mkdtemp(prefix=f"edge-ad-fuzz-{name}-"))
    for seed, data in targets.seeds()[name].items():
        (found / seed).write_bytes(data)
    atheris.Setup([*sys.argv, str(found), str(targets.CORPUS / name)], targets.target(name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
