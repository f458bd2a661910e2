"""Heads: from patches to distances and a score. One module a method; `edge_ad.registry.METHODS` names them."""

from __future__ import annotations

from edge_ad.heads.base import Head, Opening, check_search
from edge_ad.registry import METHODS


def open_head(opening: Opening) -> Head:
    """The head of a bundle.

    Raises:
        BundleCorruptError: a member does not fit the manifest.
        SpecError: there is no such search, or no graph for it.
    """
    method = METHODS[opening.method]
    check_search(opening.search, method, has_graph=opening.has_graph)
    return method.open(opening)
