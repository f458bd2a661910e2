"""What is said of a frame: the verdict, its anomaly map, pictures of both."""
