"""The operator page and its machine-readable endpoints: a process of their own beside the inspection.

`host.py` and `extra.py` belong to the station; all other files to the process that serves. They talk by `channel.py`.
"""
