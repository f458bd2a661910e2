"""The operator page and its machine-readable endpoints: a process of their own beside the inspection.

`host.py`, `commands.py`, `counts.py`, `live.py` and `jobs.py` belong to the station; what is served is in the other
process. They talk by `channel.py`.
"""
