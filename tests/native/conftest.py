from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_ad import native
from edge_ad.native import _core


@pytest.fixture(params=native.supported_isas())
def each_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once for every instruction set of this CPU."""
    before = native.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture(scope="session")
def pool() -> native.Pool:
    return native.Pool(2)
