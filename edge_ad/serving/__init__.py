"""Serving: from a bundle to the operating point that is in use.

settings -> point (opened) -> timing -> chooser -> ladder; meter counts; tuning and profile know the machine
"""
