"""Parquet: the rows of a shard, and manifests. Nothing else imports pyarrow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from edge_ad.errors import EdgeADError

_TYPES = {  # columns of a part, in this order
    "path": "string",
    "label": "string",
    "score": "float64",
    "threshold": "float64",
    "is_anomalous": "bool_",
    "found": "bool_",
    "point": "string",
    "ms": "float64",
    "sha256": "string",
    "error": "string",
}


def require_parquet() -> None:
    """Checks that Parquet files can be read and written.

    Raises:
        EdgeADError: pyarrow is not installed; names the pip command.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise EdgeADError(
            "edge-ad fleet needs pyarrow", got="none installed", remedy="pip install 'edge-ad[fleet]'"
        ) from error


def to_parquet(columns: Mapping[str, Sequence[Any]], facts: Mapping[str, str]) -> bytes:
    """A Parquet file of the rows of a shard: the columns of `edge_ad.fleet.inspector`, with `path` and `label`.

    Args:
        columns: name -> values.
        facts: kept in the file's metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {f"edge_ad.{name}": value for name, value in facts.items()}
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in _TYPES.items()], metadata=metadata)
    table = pa.Table.from_pydict({name: list(columns[name]) for name in _TYPES}, schema=schema)
    out = io.BytesIO()
    dictionaries = ["label", "point", "error"]
    pq.write_table(table, out, compression="zstd", use_dictionary=dictionaries, write_page_checksum=True)
    return out.getvalue()


def facts_of(data: bytes) -> tuple[dict[str, str], int] | None:
    """What `to_parquet` was given as facts, and the number of rows; None if this is no file of it, or damaged.

    All rows are read for that: what lies before the end of a file may be damaged too.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read()
        table.validate(full=True)
        known = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    except (pa.ArrowException, OSError, ValueError):
        return None
    if table.schema.names != list(_TYPES):
        return None
    own = {key.removeprefix("edge_ad."): value for key, value in known.items() if key.startswith("edge_ad.")}
    return own, int(table.num_rows)


def read_columns(data: bytes, names: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """Columns of a Parquet file, by name; those of `names` that are there, or all.

    Raises:
        ValueError: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        wanted = [name for name in file.schema_arrow.names if names is None or name in names]
        read: dict[str, list[Any]] = file.read(columns=wanted).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    return read
