"""Photometric stereo: accuracy on real sets, times against NumPy, and what rounding normals to u8 costs.

python -m bench.photometric --sets SHARED/data/photometric_stereo      accuracy and residuals of every set
python -m bench.photometric --times                                    12 pictures of 640 x 480
python -m bench.photometric --round part.bundle captures/              scores with normals rounded to u8
python -m bench.photometric --sheet docs/photometric.jpg               the contact sheet of the documentation
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_ad import Runtime, native
from edge_ad.frames.capture import open_frame
from edge_ad.frames.listing import list_frames
from edge_ad.frames.photometric import METHODS, make_lights, normals
from edge_ad.frames.photometric.lights import angles_between, directions_of
from edge_ad.frames.photometric.normal_map import to_frame, to_normals
from edge_ad.frames.photometric.sets import find_sets, is_set, read_set
from edge_ad.frames.photometric.sphere import find_lights
from edge_ad.frames.picture import to_u8
from edge_ad.native.reference_normals import NEAR, ROUNDS, SHADOW
from edge_ad.serving.clock import Stopwatch
from edge_ad.system.tables import aligned
from export.normals import true_normals

SIZE, PICTURES, RUNS = (480, 640), 12, 15


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", type=Path)
    parser.add_argument("--rendered", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--round", nargs=2, metavar=("BUNDLE", "CAPTURES"))
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    if options.sets is not None:
        accuracy(options.sets)
    if options.rendered:
        rendered()
    if options.times:
        times()
    if options.round is not None:
        rounding(options.round[0], Path(options.round[1]))
    if options.sheet is not None:
        assert cv2.imwrite(str(options.sheet), sheet(), (cv2.IMWRITE_JPEG_QUALITY, 88))
    return 0


def degrees(found: Any, true: Any) -> Any:
    return np.degrees(np.arccos(np.clip((found * true).sum(axis=-1), -1, 1)))


def accuracy(root: Path) -> None:
    """Angular error where the truth is known, else the residual; of a chrome sphere, its lights against lights.txt."""
    rows = [("set", "pictures", "method", "mean degrees", "median", "residual")]
    folders = [f for top in sorted(root.iterdir()) if top.is_dir() for f in ([top] if is_set(top) else find_sets(top))]
    sphere = None
    for folder in sorted(folders, key=lambda folder: folder.name != "chrome"):  # the sphere first
        one = read_set(folder)
        pictures = [str(path) for path in one.pictures]
        if folder.name == "chrome" and one.mask is not None and one.lights is not None:
            sphere = find_lights(pictures, one.mask).lights
            apart = angles_between(sphere, one.lights)
            print(f"chrome sphere against lights.txt: {apart.mean():.2f} degrees mean, {apart.max():.2f} at most")
            continue
        assert one.lights is not None
        known = {"": one.lights} | ({" by the sphere": sphere} if sphere and one.truth is None else {})
        for source, lights in known.items():
            for method in METHODS:
                found = normals(pictures, lights, mask=one.mask, method=method)
                error = ("", "")
                if one.truth is not None:
                    apart = degrees(found.normals, true_normals(one.truth))[found.valid]
                    error = (f"{apart.mean():.2f}", f"{np.median(apart):.2f}")
                rows.append((folder.name, f"{len(pictures)}", method + source, *error, f"{found.mean_residual():.4f}"))
    print(aligned(rows, [False, True, False, True, True, True]))


def rendered() -> None:
    """Mean angular error on bumpy spheres with microfacet highlights (GGX), 6% cast shadows and some stray light."""
    rows = [("lights", "roughness", "surface", "least squares", "robust", "")]
    for count in (3, 4, 5, 6, 8, 12, 16, 24, 48, 96):
        for rough, gloss, metal in (
            (0.3, 0, False),
            *((r, 1, False) for r in (0.15, 0.5)),
            (0.3, 3, False),
            (0.4, 1, True),
        ):
            lights, true, pictures = sphere_under(count, rough, gloss, metal=metal)
            found = [normals(pictures, lights, method=method) for method in ("least_squares", "robust")]
            errors = [float(degrees(one.normals, true)[one.valid].mean()) for one in found]
            kind = "metal" if metal else f"plastic, gloss {gloss}"
            mark = "" if errors[1] < errors[0] else "worse"
            rows.append((f"{count}", f"{rough}", kind, *(f"{error:.2f}" for error in errors), mark))
    print(aligned(rows, [True, True, False, True, True, False]))


def sphere_under(count: int, rough: float, gloss: float, *, metal: bool, side: int = 72) -> tuple[Any, Any, list[Any]]:
    """(count, 3) lights, true normals in rows of 16 pixels, and u16 pictures of those."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[1 : -1 : side * 1j, -1 : 1 : side * 1j]
    bumps = np.stack([np.sin(9 * x) * 0.25, np.cos(11 * y) * 0.25, np.sqrt(np.maximum(1 - x * x - y * y, 0))], axis=2)
    inside = x * x + y * y < 0.97
    true = (bumps + np.stack([x, y, np.full_like(x, 1e-3)], axis=2))[inside]
    true = (true / np.linalg.norm(true, axis=1, keepdims=True))[: inside.sum() // 16 * 16]
    few = count <= 8
    turn = np.arange(count) * 2 * np.pi / count + 0.3 if few else rng.uniform(0, 2 * np.pi, count)
    rise = np.radians(np.full(count, 45.0) if few else rng.uniform(35, 85, count))
    lights = np.stack([np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)], axis=1)
    albedo = 0.6 + 0.3 * np.sin(5 * x[inside][: len(true)])
    values = np.stack([_shaded(true, albedo, light, rough, gloss, metal=metal) for light in lights])
    values = np.where(rng.uniform(size=values.shape) < 0.06, values * 0.05, values) + 0.02 * values.mean(axis=0)
    values = values / np.percentile(values, 99.5) + rng.normal(0, 0.002, values.shape)
    pictures = (np.clip(values, 0, 1) * 65535).astype(np.uint16).reshape(count, 16, -1)
    return lights, true.reshape(16, -1, 3), list(pictures)


def _shaded(true: Any, albedo: Any, light: Any, rough: float, gloss: float, *, metal: bool) -> Any:
    half = (light + np.array((0, 0, 1))) / np.linalg.norm(light + np.array((0, 0, 1)))
    cosine, to_half, up = np.maximum(true @ light, 0), true @ half, np.maximum(true[:, 2], 0.05)
    spread, k = rough**4, (rough + 1) ** 2 / 8
    peak = spread / np.pi / (to_half**2 * (spread - 1) + 1) ** 2
    hidden = cosine / (cosine * (1 - k) + k) * up / (up * (1 - k) + k)
    fresnel = 0.7 if metal else 0.04 + 0.96 * (1 - half[2]) ** 5
    return (0.15 if metal else 1.0) * albedo * cosine / np.pi + gloss * peak * hidden * fresnel / 4 / up * (cosine > 0)


def numpy_normals(pictures: list[Any], lights: Any, *, robust: bool) -> tuple[Any, Any, Any]:
    """A careful NumPy version of the same: matrix products for all pixels at once, float32, no loop over pixels."""
    top = np.float32(np.iinfo(pictures[0].dtype).max)
    stack = np.stack([picture if picture.ndim == 2 else picture.mean(axis=2, dtype=np.float32) for picture in pictures])
    b = stack.reshape(len(pictures), -1).astype(np.float32) / top
    towards = lights.astype(np.float32)
    median = np.partition(b, len(b) // 2, axis=0)[len(b) // 2]
    lit = b > np.maximum(SHADOW * median, np.float32(0.01))
    if not robust:
        g = np.linalg.pinv(lights).astype(np.float32) @ b
    else:
        weights = (lit & (b < 1)).astype(np.float32)
        x, y, z = towards.T
        products = np.stack([x * x, x * y, x * z, y * y, y * z, z * z])
        g = _solved(products @ weights, towards.T @ (weights * b))
        for _ in range(ROUNDS):
            near = NEAR * np.sqrt(np.einsum("ip,ip->p", g, g))
            new = weights * (near / np.maximum(np.abs(b - towards @ g), near))
            g = _solved(products @ new, towards.T @ (new * b))
    albedo = np.sqrt(np.einsum("ip,ip->p", g, g))
    residual = (np.abs(b - towards @ g) * lit).sum(axis=0) / (np.maximum(lit.sum(axis=0), 1) * albedo)
    return (g / albedo).T.reshape(*pictures[0].shape[:2], 3), albedo, residual


def _solved(a: Any, r: Any) -> Any:
    xx, xy, xz, yy, yz, zz = a
    m = (yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy)
    n = (xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy)
    det = xx * m[0] + xy * m[1] + xz * m[2]
    found = (
        m[0] * r[0] + m[1] * r[1] + m[2] * r[2],
        m[1] * r[0] + n[0] * r[1] + n[1] * r[2],
        m[2] * r[0] + n[1] * r[1] + n[2] * r[2],
    )
    return np.stack(found) / det


def times() -> None:
    """Best and median milliseconds of one stack after the other, with two threads."""
    print(f"{PICTURES} pictures of {SIZE[1]} x {SIZE[0]}, 2 threads, {native.isa()}; ms, best and median of {RUNS}")
    pool, lights = native.Pool(2), ring(PICTURES)
    rows = [("pixels", "method", "core", "", "NumPy", "", "times faster")]
    for channels, dtype in ((1, np.uint8), (3, np.uint8), (1, np.uint16), (3, np.uint16)):
        pictures = photographs(*plate(SIZE), lights, dtype=dtype)
        pictures = [np.repeat(p[..., None], 3, axis=2) if channels == 3 else p for p in pictures]
        for method in ("least_squares", "robust"):
            robust = method == "robust"
            ours = timed(lambda p=pictures, m=method: normals(p, lights, method=m, pool=pool))  # type: ignore[misc]
            theirs = timed(lambda p=pictures, r=robust: numpy_normals(p, lights, robust=r), 5)  # type: ignore[misc]
            apart = degrees(
                normals(pictures, lights, method=method).normals, numpy_normals(pictures, lights, robust=robust)[0]
            )
            assert np.median(apart) < 0.1, "the answers differ"
            name = f"{'grey' if channels == 1 else 'colour'} {np.dtype(dtype)}"
            faster = f"{theirs[0] / ours[0]:.1f}"
            rows.append((name, method, *(f"{ms:.1f}" for ms in (*ours, *theirs)), faster))
    print(aligned(rows, [False, False, *[True] * 5]))


def timed(work: Callable[[], object], runs: int = RUNS) -> tuple[float, float]:
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - began))
    return min(found), float(np.median(found))


def rounding(path: str, captures: Path) -> None:
    """What rounding the normal map to u8 would do to normals and scores."""
    runtime = Runtime(path)
    point, spec = runtime._points[0], runtime.manifest.frame
    rows = [("capture", "score", "rounded", "difference", "normals move by")]
    for capture in list_frames(captures, stacks=True):
        frame, _ = open_frame(capture, spec)
        rough = to_u8(frame, 255).astype(np.float32)
        scores = []
        for given in (frame, rough):
            tensors = [sight.crop(given, from_file=True) for sight in point.sights]
            seen = [s.look(t, s.roi, Stopwatch()) for s, t in zip(point.sights, tensors, strict=True)]
            scores.append(point._joined([one.score for one in seen]))
        apart = degrees(to_normals(frame), to_normals(rough) / np.linalg.norm(to_normals(rough), axis=2, keepdims=True))
        off = f"{abs(scores[1] / scores[0] - 1):.2%}"
        rows.append((capture.name, f"{scores[0]:.4f}", f"{scores[1]:.4f}", off, f"{np.median(apart):.3f} degrees"))
    print(aligned(rows, [False, *[True] * 4]))


def ring(count: int) -> Any:
    angles, up = np.arange(count) * 2 * np.pi / count + 0.2, np.radians(np.where(np.arange(count) % 2, 40, 60))
    return np.stack([np.cos(up) * np.cos(angles), np.cos(up) * np.sin(angles), np.sin(up)], axis=1)


def plate(size: tuple[int, int]) -> tuple[Any, Any]:
    """(H, W, 3) normals and (H, W) albedo: a rough, domed plate with print, a dent and a scratch."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    height = 0.25 * np.sqrt(np.maximum(1.3 - (x - 0.67) ** 2 - (y - 0.5) ** 2, 0.1))
    height += 0.0012 * cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2) * 4
    height -= 0.02 * np.exp(-((x - 0.45) ** 2 + (y - 0.6) ** 2) / 0.002)
    along = (x - 0.7) * 0.8 + (y - 0.35) * 0.6
    across = (y - 0.35) * 0.8 - (x - 0.7) * 0.6
    height -= 0.004 * np.exp(-((across / 0.006) ** 2)) * (np.abs(along) < 0.2)
    dy, dx = np.gradient(height * size[0])
    found = np.stack([-dx, dy, np.ones(size)], axis=2)
    paint = np.full(size, 153, np.uint8)
    cv2.putText(paint, "M8", (size[1] // 8, size[0] // 3), cv2.FONT_HERSHEY_DUPLEX, size[0] / 240, 64, size[0] // 80)
    return found / np.linalg.norm(found, axis=2, keepdims=True), paint / 255


def photographs(true: Any, albedo: Any, lights: Any, dtype: Any = np.uint8) -> list[Any]:
    """A picture under each light, with highlights, some cast shadow and noise."""
    rng, top = np.random.default_rng(0), np.iinfo(dtype).max
    pictures = []
    for number, light in enumerate(lights):
        half = light + np.array((0, 0, 1))
        shine = 0.5 * np.maximum(true @ (half / np.linalg.norm(half)), 0) ** 80
        values = albedo * np.maximum(true @ light, 0) + shine
        shadow = np.roll(np.eye(1, albedo.shape[1], albedo.shape[1] // 2)[0] > 0, 40 * number)
        values[:, cv2.dilate(shadow[None].astype(np.uint8), np.ones((1, 31), np.uint8))[0] > 0] *= 0.03
        pictures.append(np.clip((values + rng.normal(0, 0.004, values.shape)) * top, 0, top).astype(dtype))
    return pictures


def sheet() -> Any:
    """Two of 12 pictures; normals by both methods; the error of the robust ones and the albedo."""
    true, albedo = plate((240, 320))
    lights = ring(PICTURES)
    pictures = photographs(true, albedo, lights)
    assert directions_of(make_lights(lights)).shape == lights.shape
    plain, robust = (normals(pictures, lights, method=method) for method in ("least_squares", "robust"))
    error = np.clip(degrees(robust.normals, true) * 25.5, 0, 255).astype(np.uint8)
    grey = [pictures[0], pictures[5], error, np.clip(robust.albedo * 255, 0, 255).astype(np.uint8)]
    first, second, wrong, paint = (cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) for picture in grey)
    maps = [to_u8(to_frame(found.normals), 255) for found in (plain, robust)]
    means = [degrees(found.normals, true).mean() for found in (plain, robust)]
    print(f"the plate: least squares {means[0]:.2f}, robust {means[1]:.2f} degrees")
    return np.vstack([np.hstack([first, maps[0], wrong]), np.hstack([second, maps[1], paint])])


if __name__ == "__main__":
    sys.exit(main())
