"""The export stage: good images in, a bundle out. Needs a workstation; nothing here runs on the edge PC.

python -m export cable --to openvino
"""
