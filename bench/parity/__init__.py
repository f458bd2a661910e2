"""edge-ad's PatchCore and PaDiM against anomalib's: image and pixel AUROC, and the cause of each difference."""
