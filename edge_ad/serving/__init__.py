"""Serving: from a bundle to the operating point that is in use.

settings -> point (opened) -> timing -> chooser -> ladder. `meter` counts frames; `tuning` measures this machine, and
`profile` stores the result.
"""
