"""Evaluates bundles on labelled images: scores, maps, metrics, pictures and a report. The command is `edge-ad eval`.

labelled.py    finds the images and their labels
grid.py        methods and backbones that are to be exported; exports.py: makes their bundles
cells.py       the work: each category with each bundle
run.py         inspects the images, once: scores and maps are kept
finish.py      what follows, and needs no clock: metrics_row.py: metrics of what was kept; pictures.py: overlays of
               what was kept (OpenCV); curves.py: curves (matplotlib)
report.py      one HTML page; summary.py: the table of all categories and bundles
"""
