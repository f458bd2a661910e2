"""The answer to a frame: the verdict, its anomaly map, pictures of both."""
