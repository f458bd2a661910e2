"""`edge-ad learn`: teaches a bundle the patches of good parts that it rejected, and no more (`edge_ad.learning`)."""
