"""The method in a manifest, and the coreset that some methods search in.

The spec of each method stands in the module of its head (`edge_ad.registry` names them), below `HeadSpec`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from edge_ad.registry import METHODS
from edge_ad.spec.base import OneOf, Range, check_fields, require

NEIGHBORS = Range(1, 1000)  # of every method that has some


@dataclass(frozen=True)
class HeadSpec:
    """The method and its parameters. Each method has its own subclass.

    Attributes:
        method: name of the method.
    """

    method: Annotated[str, OneOf(METHODS)]

    def __post_init__(self) -> None:
        check_fields(self, "head")

    def describe(self) -> str:
        """The method and its numbers, for a reader."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        numbers |= {name: value.dim for name, value in values.items() if isinstance(value, ProjectionSpec)}
        return ", ".join([self.method, *(f"{name} {value:,}" for name, value in numbers.items())])


@dataclass(frozen=True)
class ProjectionSpec:
    """The projection that bounds distances in exact search (edge_ad/native/bounds.hpp).

    Attributes:
        dim: d, rows of the basis.
    """

    dim: Annotated[int, Range(1, 256)]

    def __post_init__(self) -> None:
        check_fields(self, "projection")


@dataclass(frozen=True)
class GraphSpec:
    """The HNSW graph over the coreset (Malkov & Yashunin 2018).

    Attributes:
        entry: coreset row where the descent starts.
        m, ef_construction: parameters of the construction.
        ef: how many candidates the search keeps at run time.
        recall: share of held-out patches whose true nearest neighbour the search found at export.
    """

    entry: Annotated[int, Range(0)]
    m: Annotated[int, Range(1, 1024)]
    ef_construction: Annotated[int, Range(1, 2**16)]
    ef: Annotated[int, Range(1, 4096)]
    recall: Annotated[float, Range(0, 1)]

    def __post_init__(self) -> None:
        check_fields(self, "index.graph")


@dataclass(frozen=True)
class IndexSpec:
    """The coreset: `size` patch vectors of the good images, and the graph over them if there is one.

    Only the methods that search in a coreset have it (`edge_ad.registry.Method.needs_index`).

    Attributes:
        size: N, rows of the coreset.
        patches: how many patches it was chosen from.
        seed: seed of the selection.
        graph: HNSW graph; None if the coreset is too small to need one.
        projection: projection for exact search; None if brute force is as fast, and in older bundles.
    """

    size: Annotated[int, Range(1)]
    patches: Annotated[int, Range(1)]
    seed: int
    graph: GraphSpec | None
    projection: ProjectionSpec | None = None

    def __post_init__(self) -> None:
        check_fields(self, "index")
        require(self.size <= self.patches, "index.size is out of range", expected="1..patches", got=self.size)
        require(
            self.graph is None or self.graph.entry < self.size,
            "index.graph.entry is not a row of the coreset",
            expected=f"below {self.size}",
            got=self.graph and self.graph.entry,
        )
