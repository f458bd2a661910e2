"""Makes bundles by hand: FORMAT.md written down a second time, with every field open to an attacker.

`make` shares no code with `edge_ad.bundle.file`, so that its output is an oracle for the writer and, with
`Tweaks`, a hostile input for the reader.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from edge_ad.heads.patchcore import PatchcoreSpec
from edge_ad.spec import (
    BackboneSpec,
    CalibrationSourceSpec,
    CalibrationSpec,
    FrameSpec,
    GraphSpec,
    IndexSpec,
    Manifest,
    ProbesSpec,
    RoiSpec,
)
from edge_ad.spec.codec import encode

VERSION = 2  # of the format


def example_manifest(name: str = "cable") -> Manifest:
    """A small manifest without members in which every optional part is there."""
    return Manifest(
        name=name,
        created="2026-01-02T03:04:05Z",
        producer={"edge_ad": "0.1.0"},
        frame=FrameSpec(size=(480, 640)),
        roi=RoiSpec(source="box 10,20,200,300", box=(10, 20, 200, 300), halo_px=16, fill=(90, 100, 110)),
        backbone=BackboneSpec(
            name="resnet18",
            layers=("layer2", "layer3"),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            weights="torchvision IMAGENET1K_V1",
            weights_sha256="0" * 64,
            input_size=(224, 224),
            crop=(0, 0, 128, 160),
            grid=(16, 20),
            dim=384,
        ),
        head=PatchcoreSpec(method="patchcore", reweight_neighbors=9),
        index=IndexSpec(
            size=100,
            patches=1000,
            seed=0,
            graph=GraphSpec(entry=3, m=16, ef_construction=200, ef=32, recall=0.98),
        ),
        calibration=CalibrationSpec(
            rule="percentile",
            value=99.5,
            threshold=2.5,
            pixel_threshold=2.25,
            interval=(2.25, 2.75),
            split="4-fold",
            good_scores=(1.0, 1.5, 2.0),
            good_peaks=(1.0, 1.25, 2.0),
            source=CalibrationSourceSpec(
                bundle="0123456789abcdef",
                exported="fedcba9876543210",
                data="cable (MVTec AD)",
                goods=3,
                defects=0,
                images_sha256="0" * 64,
                engine="openvino 2026.4",
                precision="f32",
                edge_ad="0.1.0",
                created="2026-02-03T04:05:06Z",
            ),
        ),
        probes=ProbesSpec(count=2, size=(64, 64), rows=4, tolerance=0.001),
    )


def member_entry(data: bytes, dtype: str | None = None, shape: list[int] | None = None) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "dtype": dtype, "shape": shape}


def document(members: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Parsed ``manifest.json``."""
    fields = {**encode(example_manifest()), "members": members}
    del fields["align"], fields["frame"]["stack"]  # of versions 3 and 4, and written only where they are set
    return {"format": "edge-ad-bundle", "format_version": VERSION, **fields}


def to_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Tweaks:
    """What differs from a good bundle. Headers are given by member name as {field: value}."""

    local: dict[str, dict[str, Any]] = field(default_factory=dict)
    central: dict[str, dict[str, Any]] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    comment: bytes | None = None
    version: int = VERSION  # in the comment
    order: list[str] | None = None  # of the members in the file; a name may come twice
    before_directory: bytes = b""


LOCAL = {"magic": "4s", "needed": "H", "flags": "H", "method": "H", "time": "H", "date": "H", "crc": "I"}
LOCAL |= {"packed": "I", "size": "I", "name_size": "H", "extra_size": "H"}
CENTRAL = {
    "magic": "4s",
    "made_by": "H",
    "needed": "H",
    "flags": "H",
    "method": "H",
    "time": "H",
    "date": "H",
}
CENTRAL |= {"crc": "I", "packed": "I", "size": "I", "name_size": "H", "extra_size": "H", "comment_size": "H"}
CENTRAL |= {"disk": "H", "internal": "H", "external": "I", "offset": "I"}
END = {"magic": "4s", "disk": "H", "first_disk": "H", "here": "H", "count": "H", "size": "I", "offset": "I"}
END |= {"comment_size": "H"}


def _pack(form: dict[str, str], values: dict[str, Any], changes: dict[str, Any]) -> bytes:
    values = {**values, **changes}
    return struct.pack("<" + "".join(form.values()), *(values.get(name, 0) for name in form))


def make(manifest: bytes, members: dict[str, bytes], tweaks: Tweaks | None = None) -> bytes:
    """A bundle around `manifest`, sealed with its hash whatever it says."""
    tweaks = tweaks or Tweaks()
    contents = {"manifest.json": manifest, **members}
    order = tweaks.order or ["manifest.json", *sorted(members)]
    file, directory = b"", b""
    for name in order:
        data, offset = contents[name], len(file)
        common = {"needed": 20, "date": 0x21, "crc": zlib.crc32(data), "packed": len(data), "size": len(data)}
        common["name_size"] = len(name.encode())
        extra_size = 6
        while (offset + 30 + common["name_size"] + extra_size) % 64:
            extra_size += 1
        extra = struct.pack("<HHH", 0xD935, extra_size - 4, 64) + bytes(extra_size - 6)
        local = {**common, "magic": b"PK\3\4", "extra_size": extra_size}
        file += _pack(LOCAL, local, tweaks.local.get(name, {})) + name.encode() + extra + data
        entry = {
            **common,
            "magic": b"PK\1\2",
            "made_by": 3 << 8 | 20,
            "external": 0o100644 << 16,
            "offset": offset,
        }
        directory += _pack(CENTRAL, entry, tweaks.central.get(name, {})) + name.encode()
    file += tweaks.before_directory
    comment = f"edge-ad {tweaks.version} sha256:{hashlib.sha256(manifest).hexdigest()}".encode()
    comment = comment if tweaks.comment is None else tweaks.comment
    end = {"magic": b"PK\5\6", "here": len(order), "count": len(order), "size": len(directory)}
    end |= {"offset": len(file), "comment_size": len(comment)}
    return file + directory + _pack(END, end, tweaks.end) + comment
