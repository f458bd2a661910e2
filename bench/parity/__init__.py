"""edge-ad's PatchCore and PaDiM against anomalib's: image and pixel AUROC, and what each difference is made of."""
