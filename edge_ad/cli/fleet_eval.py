"""`edge-ad fleet eval BUNDLES --data CATEGORY... --out RESULTS`: a table of many categories and their bundles."""

from __future__ import annotations

import argparse
import shutil
import sys

from edge_ad.cli import ERROR, OK, given_path
from edge_ad.cli.fleet_options import add_ray, side_by_side, workers_of
from edge_ad.errors import SpecError
from edge_ad.evaluation.run import replace_text
from edge_ad.evaluation.summary import to_csv, to_text
from edge_ad.fleet.evaluations import evaluations_of, rows_of
from edge_ad.system.entry import say
from edge_ad.system.names import printable, printable_lines
from edge_ad.system.progress import Progress

HELP = "Measures the bundles of many categories on their labelled images, several categories at a time: one table."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "bundles",
        type=given_path,
        help="a folder, in which NAME.bundle and NAME/*.bundle are of the category NAME, as fleet export writes it; "
        "or a bundle for all categories",
    )
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="CATEGORY", help="labelled folders or CSV files, as eval takes them"
    )
    parser.add_argument("--out", type=given_path, required=True, metavar="RESULTS", help="folder of the results")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="how many categories at once; by default one for each --threads cores"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each; default: 1")
    parser.add_argument("--pictures", choices=("none", "worst", "all"), default="none", help="images to draw")
    parser.add_argument("--point", help="operating point to use; default: f32")
    add_ray(parser)


def run(options: argparse.Namespace) -> int:
    """Measures; returns 0, or 2 if something failed."""
    workers_of(options)
    if options.out.exists() and not options.out.is_dir():
        raise SpecError("--out is a file", expected="a folder, or a path where one can be made", got=options.out)
    evaluations = evaluations_of(options.bundles, options.data, options.out)
    passed = ["--pictures", options.pictures, *(["--point", options.point] if options.point else [])]
    tasks = [evaluation.task(options.threads, passed) for evaluation in evaluations]
    for evaluation in evaluations:  # what is there afterwards is of this run; scores and maps stay
        evaluation.table.unlink(missing_ok=True)
    errors: dict[int, str] = {}
    with side_by_side(options) as run_tasks, Progress("eval", len(tasks), unit="categories") as progress:
        for ended in run_tasks(tasks, lambda: progress.update(0)):
            if ended.error is not None:
                evaluation = evaluations[ended.number]
                partly = evaluation.table.is_file()
                errors[ended.number] = (
                    f"some images or bundles, see {tasks[ended.number].log}" if partly else ended.error
                )
                progress.wipe()
                say(f"error: {evaluation.labelled.name}: {errors[ended.number]}")
            progress.update(1)
    rows = [row for number, evaluation in enumerate(evaluations) for row in rows_of(evaluation, errors.get(number))]
    replace_text(options.out / "summary.csv", to_csv(rows))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(printable_lines(to_text(rows, width)))
    print(f"table: {printable(options.out / 'summary.csv')}")
    return ERROR if errors else OK
