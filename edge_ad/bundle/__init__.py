"""The bundle: the file, and the golden probes in it."""
