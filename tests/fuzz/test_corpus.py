"""Inputs of the fuzzers (`make fuzz`), those that failed once among them: each ends well or in an error of edge-ad."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.bundle.file import Bundle
from tests.fuzz import targets

FILES = sorted(path for path in targets.CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_of_the_corpus(path: Path) -> None:
    targets.target(path.parent.name)(path.read_bytes())


@pytest.mark.parametrize("name", ["file", "sealed", "manifest"])
def test_a_first_input_is_a_bundle(tmp_path: Path, name: str) -> None:
    """Else the fuzzer would start, and stay, outside of the reader."""
    targets.read_bundle(tmp_path / "input.bundle", targets.seeds()["bundle"][name])
    with Bundle.open(tmp_path / "input.bundle") as bundle:
        assert set(bundle.manifest.members) == set(targets.MEMBERS)
