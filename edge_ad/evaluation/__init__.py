"""Bundles against labelled images: scores, maps, metrics, pictures and a report. `edge-ad eval` is its command.

test_set.py    finds the images and their labels
run.py         inspects them, once: scores and maps are kept
measure.py     metrics of what was kept
pictures.py    overlays of what was kept (OpenCV); curves.py: curves (matplotlib); report.py: one HTML page
summary.py     the table of all categories and bundles
"""
