"""What edge-ad needs of the machine and the terminal: processor, versions, processes, progress, tables, percentiles."""
