"""What edge-ad needs of the machine it runs on: files, processes, messages."""
