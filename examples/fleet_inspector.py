"""Inspects a folder by Ray Data: blocks of paths travel, edge-ad reads and decodes, rows come back.

    pip install 'edge-ad[ray]'
    python examples/fleet_inspector.py cable.bundle photos/

The same object serves Dask, `dataframe.map_partitions(lambda part: pandas.DataFrame(inspector(part)))`, and a plain
pool, `pool.map(inspector, batches)`. `edge-ad fleet inspect` is the whole of it: it resumes, and finds the image that
kills its worker.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray would report its use
import ray

from edge_ad.fleet.inspector import Inspector


def main(bundle: str, folder: str) -> int:
    """Prints a line for each image; returns the exit code of `edge-ad inspect`."""
    Inspector(bundle)  # a bundle that cannot be used is told here, before anything starts
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    images = [{"path": str(path.absolute())} for path in sorted(Path(folder).rglob("*.png"))]
    rows = ray.data.from_items(images).map_batches(
        Inspector,
        fn_constructor_args=(str(Path(bundle).absolute()),),
        num_cpus=1,  # one Runtime an actor, of one thread
        concurrency=2,
        batch_size=32,
    )
    failed = anomalous = 0
    for row in rows.iter_rows():  # or rows.write_parquet(...)
        failed += bool(row["error"])
        anomalous += bool(row["is_anomalous"])
        print(row["path"], row["error"] or f"{row['score']:.5g} {int(row['is_anomalous'])}")
    return 2 if failed else 1 if anomalous else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
