"""The `edge-ad` command: info, inspect, check, tune, calibrate, eval.

Exit codes: 0 all good, 1 some anomalous, 2 error, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from edge_ad.errors import EdgeADError

__all__ = ["main"]

OK, ANOMALOUS, ERROR, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    from edge_ad.cli import calibrate, check, eval, info, inspect, tune

    parser = argparse.ArgumentParser(prog="edge-ad", description="Inspects images with a bundle, without torch.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (info, inspect, check, tune, calibrate, eval):
        name = command.__name__.rpartition(".")[2]
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except EdgeADError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # that is `edge-ad inspect ... | head`
            print(f"error: {error}", file=sys.stderr)  # a full disk behind stdout, a folder that may not be read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again at its end
        return ERROR


def add_runtime_options(parser: argparse.ArgumentParser, *, many: bool = False, points: bool = True) -> None:
    """The options that go to `Runtime` as they are.

    Args:
        many: takes bundles, one or more, instead of one bundle.
        points: False leaves out --point and --search.
    """
    if many:
        parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle files")
    else:
        parser.add_argument("bundle", help="the bundle file")
    engines = ("auto", "openvino", "onnxruntime")
    parser.add_argument("--engine", choices=engines, default="auto", help="auto picks it by the CPU and the bundle")
    parser.add_argument("--device", default="CPU", help="OpenVINO's device")
    parser.add_argument("--threads", type=int, help="most threads to use; by default one for each physical core")
    parser.add_argument(
        "--cores", type=lambda text: [int(core) for core in text.split(",")], help="logical cores to stay on: 0,1"
    )
    if points:
        parser.add_argument("--point", help="operating point to use; `edge-ad info` lists them; default: f32")
        parser.add_argument(
            "--search",
            choices=("auto", "exact", "graph"),
            default="auto",
            help="how the nearest patches are found; auto picks the faster one for this coreset and CPU",
        )


RUNTIME_OPTIONS = ("engine", "device", "threads", "cores", "point", "search")
