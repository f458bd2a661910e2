"""The export: it makes a bundle from good images. It runs on a workstation, never on the edge PC.

python -m export cable --to openvino
"""
