"""The station: every accepted trigger yields exactly one outcome before its deadline, and the journal keeps it.

config     the TOML file, checked as a whole
station    all of it together: cameras, sinks, bundles, retention, one process a data folder
line       a camera: trigger -> capture -> verdict -> outcome
desk       accepts triggers, decides each one once, and makes both durable in groups
journal    the SQLite file
swap       bundles in use: kept by id, exchanged between two triggers
outbox     what sinks are given, at least once and in order; `sinks/` holds one file a kind
"""
