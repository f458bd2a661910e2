"""Switches among the variables of the environment."""

from __future__ import annotations

import pytest

from edge_ad.system.variables import switched_on


@pytest.mark.parametrize(("value", "wanted"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_nothing_and_0_are_off(monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool) -> None:
    monkeypatch.delenv("EDGE_AD_X", raising=False)
    if value is not None:
        monkeypatch.setenv("EDGE_AD_X", value)
    assert switched_on("EDGE_AD_X") is wanted
