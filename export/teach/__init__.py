"""`edge-ad teach`: a bundle of a few good images in seconds, or a bundle that learns from more of them."""
