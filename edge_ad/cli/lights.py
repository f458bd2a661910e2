"""`edge-ad lights SPHERE`: finds the lights of a station, and writes them as lights.json with a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_ad.cli import OK
from edge_ad.errors import DatasetError, SpecError
from edge_ad.frames.photometric.lights import angles_between, directions_of, lights_to_json, read_lights
from edge_ad.frames.photometric.sets import LightSet, read_mask, read_set
from edge_ad.frames.photometric.solve import METHODS, normals
from edge_ad.frames.photometric.sphere import Sphere, calibrate_field, find_lights, lights_picture
from edge_ad.spec import LightsSpec
from edge_ad.system.command_line import given_path
from edge_ad.system.files import check_outputs, check_target, is_special, is_stdout, write_output
from edge_ad.system.names import printable
from edge_ad.system.tables import named

HELP = "Finds the lights of a station for photometric stereo, and writes lights.json and a picture."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add(
        "source",
        type=given_path,
        metavar="SPHERE",
        help="folder with a picture of a chrome sphere under each light, 00.png, 01.png, ..., and mask.png; or what "
        "names its lights: a lights.json, a lights.txt, a DiLiGenT folder",
    )
    add("--mask", type=given_path, metavar="IMAGE", help="white on the sphere; by default the mask in SPHERE")
    add(
        "--plane",
        type=given_path,
        metavar="DIR",
        help="pictures of a matt plane under the same lights: how even they are",
    )
    add("--ambient", type=given_path, metavar="IMAGE", help="a picture of the plane without the lights")
    add("--against", type=given_path, metavar="LIGHTS", help="a lights.json or lights.txt to compare with")
    add(
        "--check",
        type=given_path,
        metavar="DIR",
        action="append",
        default=[],
        help="pictures of a matt object under the same lights: says how well they fit; may be given again",
    )
    add("--out", type=given_path, metavar="FILE.json", default=Path("lights.json"), help="default: %(default)s")
    add("--picture", type=given_path, metavar="FILE.png", help="by default beside --out, as FILE.png")


def run(options: argparse.Namespace) -> int:
    """Finds and writes; returns 0.

    Raises:
        EdgeADError: the lights cannot be found, or a file cannot be read or written.
    """
    check_target("--out", options.out)
    picture = options.picture or _beside(options.out)
    outputs = [("--out", options.out), ("--picture", picture)]
    check_target(*outputs[1])
    source, planes, objects = _sets(options)
    check_outputs(outputs, _inputs(options, [*([source] if source else []), *planes, *objects]))
    lights, sphere = _found(options, source)
    if planes:
        lights = calibrate_field(_pictures(planes[0]), lights, options.ambient)
    facts = [*_facts(lights, sphere), *_compared(lights, options.against), *_fits(lights, objects)]
    write_output(picture, [cv2.imencode(".png", lights_picture(lights, sphere))[1].tobytes()])
    write_output(options.out, [lights_to_json(lights)])  # last: lights that are there stay until all else is done
    text = named(
        (label, printable(fact)) for label, fact in [*facts, ("lights", f"{options.out}"), ("picture", f"{picture}")]
    )
    print(text, file=sys.stderr if any(is_stdout(path) for _, path in outputs) else sys.stdout)
    return OK


def _beside(out: Path) -> Path:
    """The picture's file where none is named."""
    if is_special(out):
        raise SpecError(
            "--out is a pipe or a device, with no place for a picture beside it",
            expected="--picture FILE.png",
            got=out,
        )
    return out.with_suffix(".png")


def _sets(options: argparse.Namespace) -> tuple[LightSet | None, list[LightSet], list[LightSet]]:
    """The set of the sphere, that of the plane, and the matt objects. Lights beside them may be those of a former
    time, which are looked for anew."""
    source = None if options.source.is_file() else read_set(options.source, lights_too=False)
    planes = [] if options.plane is None else [read_set(options.plane, lights_too=False)]
    return source, planes, [read_set(path, lights_too=False) for path in options.check]


def _inputs(options: argparse.Namespace, sets: list[LightSet]) -> Iterator[tuple[str, Path]]:
    for what in ("source", "mask", "ambient", "against"):
        path = getattr(options, what)
        if path is not None and path.is_file():
            yield "the lights" if what == "source" else f"the file of --{what}", path
    yield from (("a picture", path) for one in sets for path in one.pictures)
    yield from (("a file of the set", path) for one in sets for path in one.others)


def _found(options: argparse.Namespace, source: LightSet | None) -> tuple[LightsSpec, Sphere | None]:
    if source is None:
        return read_lights(options.source), None
    if (options.source / "filenames.txt").is_file() and source.lights is not None:
        return source.lights, None
    mask = source.mask if options.mask is None else read_mask(options.mask)
    if mask is None:
        raise DatasetError(
            f"{options.source} has no mask of the sphere",
            expected="mask.png in it, or --mask",
            got="neither",
            remedy="Draw the sphere white on black in a picture of the same size.",
        )
    sphere = find_lights(_pictures(source), mask)
    return sphere.lights, sphere


def _pictures(one: LightSet) -> list[str]:
    return [str(path) for path in one.pictures]


def _facts(lights: LightsSpec, sphere: Sphere | None) -> Iterator[tuple[str, str]]:
    rises = np.degrees(np.arcsin(np.clip(directions_of(lights)[:, 2], -1, 1)))
    yield "found", f"{lights.count} lights, {rises.min():.0f} to {rises.max():.0f} degrees above the table"
    if sphere is not None:
        y, x = sphere.centre
        yield "sphere", f"centre {y:.1f}, {x:.1f}, radius {sphere.radius:.1f} pixels"
    if lights.field_size is not None:
        yield "fields", f"{min(lights.fields):.2f} to {max(lights.fields):.2f} of the mean brightness"
    if lights.count < 6:
        yield "note", f"{lights.count} lights: shadows and highlights are found reliably with 6 or more"


def _compared(lights: LightsSpec, other: Path | None) -> Iterator[tuple[str, str]]:
    if other is not None:
        angles = angles_between(lights, read_lights(other))
        yield "against", f"{angles.mean():.2f} degrees mean, {angles.max():.2f} at most, to {other}"


def _fits(lights: LightsSpec, objects: list[LightSet]) -> Iterator[tuple[str, str]]:
    for one in objects:
        found = [normals(_pictures(one), lights, mask=one.mask, method=method).mean_residual() for method in METHODS]
        texts = [f"{method} {residual:.4f}" for method, residual in zip(METHODS, found, strict=True)]
        yield "check", f"{one.name}: residual {', '.join(texts)} of the albedo"
