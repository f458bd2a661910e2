"""What edge-ad needs of the machine: processor, versions, files, names, exit codes, processes, progress, tables."""
