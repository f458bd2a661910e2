"""The `edge-ad` command: a file beside this one for each command, and export and teach with parsers of their own.

Exit codes: 0 all good, 1 some anomalous, 2 error. `edge_ad.system.entry` lists all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from edge_ad.registry import ENGINES, one_of
from edge_ad.system.command_line import Parser, given_path
from edge_ad.system.entry import ANOMALOUS, ERROR, OK, run_command
from edge_ad.system.notices import show_image_warnings

__all__ = ["ANOMALOUS", "ERROR", "OK", "RUNTIME_OPTIONS", "add_runtime_options", "add_who", "given_path", "main"]

_EXPORT = "Makes a bundle from images of good parts: the same as python -m export."
_TEACH = "Makes a bundle of a few good images in seconds, or adds good images to a bundle, on the PC without torch."


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return run_command(lambda: _run(given))


def _run(given: Sequence[str]) -> int:
    from edge_ad.cli import (
        calibrate,
        check,
        demo,
        doctor,
        drift,
        eval,
        export,
        fleet,
        info,
        inspect,
        journal,
        label,
        learn,
        lights,
        log,
        replay,
        roi,
        rollback,
        run,
        teach,
        trigger,
        tune,
    )

    for name, forwarded in (("export", export), ("teach", teach)):  # they have parsers of their own
        if given[:1] == [name]:
            return forwarded.run(given[1:])
    parser = Parser(prog="edge-ad", description="Inspects images with a bundle, without torch.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    on_the_line = (run, journal, replay, rollback, trigger, label, drift, doctor)
    for command in (info, inspect, check, tune, calibrate, learn, log, eval, roi, lights, demo, fleet, *on_the_line):
        name = command.__name__.rpartition(".")[2]
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    commands.add_parser("export", help=_EXPORT, add_help=False)
    commands.add_parser("teach", help=_TEACH, add_help=False)
    options = parser.parse_args(given)
    with show_image_warnings():
        code: int = options.run(options)
    return code


def add_runtime_options(parser: argparse.ArgumentParser, *, many: bool = False, points: bool = True) -> None:
    """Adds the options that are passed to `Runtime` unchanged.

    Args:
        many: take one or more bundles instead of one.
        points: False leaves out --point and --search.
    """
    if many:
        parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle files")
    else:
        parser.add_argument("bundle", help="the bundle file")
    parser.add_argument(
        "--engine", choices=("auto", *ENGINES), default="auto", help="auto picks one for this CPU and bundle"
    )
    with_devices = one_of(tuple(engine.title for engine in ENGINES.values() if engine.devices is None))
    parser.add_argument("--device", default="CPU", help=f"device of {with_devices}")
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")
    parser.add_argument(
        "--cores", type=lambda text: [int(core) for core in text.split(",")], help="logical cores to use, such as 0,1"
    )
    if points:
        parser.add_argument("--point", help="operating point to use; `edge-ad info` lists them; default: f32")
        parser.add_argument(
            "--search",
            choices=("auto", "exact", "graph"),
            default="auto",
            help="how the nearest patches are found; auto picks the faster one for this coreset and CPU",
        )


def add_who(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds the option that names a person; `who_of` takes what it gives."""
    parser.add_argument("--who", default="", metavar="NAME", help=f"{help}; default: the user")


RUNTIME_OPTIONS = ("engine", "device", "threads", "cores", "point", "search")
