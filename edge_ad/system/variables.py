"""Switches among the variables of the environment."""

from __future__ import annotations

import os


def switched_on(name: str) -> bool:
    """Whether the variable is set to anything but "" and "0"."""
    return os.environ.get(name, "") not in ("", "0")
