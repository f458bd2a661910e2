"""Files of photometric stereo: lights.json, published sets, TGA pictures, normal maps."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import DatasetError, FrameError, SpecError
from edge_ad.frames.photometric.lights import (
    as_lights,
    directions_of,
    fields_of,
    intensities_of,
    lights_to_json,
    make_lights,
    read_lights,
)
from edge_ad.frames.photometric.normal_map import to_frame, to_normals, write_normals
from edge_ad.frames.photometric.pictures import read_tga
from edge_ad.frames.photometric.sets import find_sets, read_set
from edge_ad.frames.picture import to_u8
from tests.frames.photometric.made import part, photograph, ring, write_stack


def test_lights_json_keeps_everything(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).uniform(0.5, 1, (5, 4, 3))
    lights = make_lights(ring(5), np.random.default_rng(0).uniform(0.5, 1, (5, 3)), fields)
    path = tmp_path / "lights.json"
    path.write_bytes(lights_to_json(lights))
    assert read_lights(path) == lights
    found = fields_of(lights, (8, 6))
    assert found is not None
    assert found.shape == (5, 8, 6)
    assert fields_of(make_lights(ring(5)), (8, 6)) is None
    again = as_lights(lights, [1, 2, 3, 4, 5])
    assert again.fields == lights.fields
    np.testing.assert_allclose(intensities_of(again)[:, 0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "1 2\n3 4\n5 6\n",
        "x y z",
        '{"format": "edge-ad-lights", "version": 9}',
        "nan 0 1\n0 1 1\n1 0 1\n",
        '{"format": "edge-ad-lights", "version": 1, "directions": [0, 0, 1], "intensities": [1, 1, 1]}',
        '{"format": "edge-ad-lights", "format": "edge-ad-lights", "version": 1}',
        "1e308 1e308 1e308\n0 1 1\n1 0 1\n",
        "1 0 -1\n0 1 -1\n-1 -1 -1\n",
        "1 0 1\n0 1 1\n" * 65,
    ],
)
def test_files_that_hold_no_lights(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lights.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"lights\.json holds no lights"):
        read_lights(path)
    with pytest.raises(FrameError, match="cannot read"):
        read_lights(tmp_path / "none.json")


def test_lights_json_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "lights.json"
    text = lights_to_json(make_lights(ring(5))).decode()
    path.write_text(text, encoding="utf-8-sig")  # as Notepad of Windows writes it
    assert read_lights(path).count == 5
    for change, why in (
        (("{", '{"directions": [], '), "the same key twice"),
        (('"version": 1', '"version": true'), "another format"),
        (('"version": 1', '"version": 1.0'), "another format"),
        (("1.0", "NaN"), "not a number of JSON"),
        (("1.0", "1e308"), "out of range"),
        (("1.0", "1e-300"), "out of range"),
    ):
        path.write_text(text.replace(*change, 1))
        with pytest.raises(SpecError, match=why):
            read_lights(path)
    path.write_bytes(b" " * (2**24 + 1))
    with pytest.raises(FrameError, match="more than"):
        read_lights(path)


def test_lights_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "lights.txt"
    path.write_text("3\n0 0 1\n1, 0, 1\n0 2 2\n")
    np.testing.assert_allclose(directions_of(read_lights(path))[2], (0, 0.5**0.5, 0.5**0.5))


def tga(image: np.ndarray, *, packed: bool, top: bool, extra: bytes = b"") -> bytes:
    depth = 1 if image.ndim == 2 else image.shape[2]
    kind = (3 if depth == 1 else 2) + 8 * packed
    head = struct.pack("<BBBHHBHHHHBB", len(extra), 0, kind, 0, 0, 0, 0, 0, *image.shape[1::-1], 8 * depth, 0x20 * top)
    pixels = (image if top else image[::-1]).reshape(-1, depth)
    if not packed:
        return head + extra + pixels.tobytes()
    data, i = b"", 0
    while i < len(pixels):
        run = 1
        while run < 128 and i + run < len(pixels) and (pixels[i + run] == pixels[i]).all():
            run += 1
        data += bytes([0x80 | (run - 1)]) + pixels[i].tobytes() if run > 1 else b"\0" + pixels[i].tobytes()
        i += run
    return head + extra + data


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tga(tmp_path: Path, channels: int, packed: bool) -> None:
    image = np.random.default_rng(0).integers(0, 2, (5, 7, channels)).astype(np.uint8)
    wanted = image[..., 0] if channels == 1 else image[..., :3]
    image = wanted if channels == 1 else image
    path = tmp_path / "a.tga"
    for top in (False, True):
        data = tga(image, packed=packed, top=top, extra=b"id")
        path.write_bytes(data)
        np.testing.assert_array_equal(read_tga(str(path)), wanted)
        for cut in (0, 10, 18, len(data) - 3):
            path.write_bytes(data[:cut])
            with pytest.raises(FrameError):
                read_tga(str(path))


def test_sets_with_numbers(tmp_path: Path) -> None:
    lights = ring(11)
    pictures = photograph(*part(), lights)
    folder = tmp_path / "part"
    write_stack(folder, pictures, [f"part.{i}.png" for i in range(11)])
    cv2.imwrite(str(folder / "part.mask.png"), np.full((48, 64), 255, np.uint8))
    (tmp_path / "lights.txt").write_text("\n".join(" ".join(map(str, light)) for light in lights))
    one = read_set(folder)
    assert [path.name for path in one.pictures] == [f"part.{i}.png" for i in range(11)]
    assert one.lights is not None
    assert one.mask is not None
    assert one.mask.all()
    np.testing.assert_allclose(directions_of(one.lights), lights)
    assert find_sets(tmp_path) == [folder]
    again = folder / "part.03.png"
    again.write_bytes((folder / "part.3.png").read_bytes())
    with pytest.raises(DatasetError, match=r"two pictures in .* have one number"):
        read_set(folder)
    again.unlink()
    (folder / "part.3.png").unlink()
    with pytest.raises(DatasetError, match="incomplete"):
        read_set(folder)


def test_sets_of_diligent(tmp_path: Path) -> None:
    folder = tmp_path / "catPNG"
    lights = ring(4)
    write_stack(folder, photograph(*part(), lights), ["b.png", "a.png", "d.png", "c.png"])
    (folder / "filenames.txt").write_text("b.png\na.png\nd.png\nc.png\n")
    (folder / "light_directions.txt").write_text("\n".join(" ".join(map(str, light)) for light in lights))
    assert [path.name for path in read_set(folder).pictures] == ["b.png", "a.png", "d.png", "c.png"]
    assert read_set(folder).mask is None
    (folder / "light_intensities.txt").write_text("1 1 1\n" * 3)
    with pytest.raises(SpecError, match="intensities"):
        read_set(folder)
    (folder / "light_intensities.txt").unlink()
    (folder / "filenames.txt").write_text("b.png\na.png\nd.png\n../c.png\n")
    with pytest.raises(DatasetError, match="incomplete"):
        read_set(folder)
    (folder / "filenames.txt").unlink()
    with pytest.raises(DatasetError, match="no stack of pictures"):
        find_sets(tmp_path)


def test_normal_maps(tmp_path: Path) -> None:
    true = part()[0].astype(np.float32)
    true[:4] = 0
    frame = to_frame(true)
    assert frame.dtype == np.float32
    np.testing.assert_allclose(to_normals(frame), true, atol=1e-6)
    assert (frame[:4] == 127.5).all()
    write_normals(tmp_path / "new", "part", true)
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "N_part.npy"), true)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "N_part.png")), to_u8(frame, 255))
