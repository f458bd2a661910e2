"""The interface to the machine: processor, versions, files, names, exit codes, processes, progress, tables."""
