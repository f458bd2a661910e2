"""Photometric stereo: pictures of one part under several lights in, a normal for each pixel out.

lights.py       the lights: arrays, lights.json
solve.py        normals, albedo and residual
sphere.py       lights from a chrome sphere, their evenness from a matt plane
pictures.py     reads a picture of a stack
sets.py         reads published sets
normal_map.py   a normal map as a frame, a picture and files
"""

from edge_ad.frames.photometric.lights import make_lights, read_lights
from edge_ad.frames.photometric.solve import METHODS, Normals, normals
from edge_ad.frames.photometric.sphere import calibrate_field, calibrate_lights

__all__ = ["METHODS", "Normals", "calibrate_field", "calibrate_lights", "make_lights", "normals", "read_lights"]
