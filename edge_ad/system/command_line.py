"""What all command lines share: help that is printed or is an error, and paths."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser whose help is an error where it cannot be printed: argparse's passes over that, and the code is 0."""

    def print_help(self, file: Any = None) -> None:
        """Prints the help, on the standard output unless a file is given.

        Raises:
            OSError: it cannot be printed.
        """
        (file or sys.stdout).write(self.format_help())
        if file is None:
            sys.stdout.flush()


def given_path(text: str) -> Path:
    """A path of the command line.

    Raises:
        ArgumentTypeError: it is empty. An unset variable of a shell gives that, and it would be the working directory.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; expected a file or a folder")
    return Path(text)
