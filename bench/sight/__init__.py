"""What edge-ad sees of labelled sets at its defaults, beside anomalib's PatchCore R18 at its own."""
