"""The manifest in a bundle: hostile text, names, entries and versions are refused by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleVersionError, SpecError
from tests import bundle_maker as maker
from tests.bundle.handmade import handmade, opens, refused, sealed, write


def with_text(old: str, new: str) -> bytes:
    text = maker.to_json(maker.document({})).decode()
    assert text.count(old) == 1
    return sealed(text.replace(old, new).encode("utf-8", "surrogatepass"))


HOSTILE_TEXT = {
    "nan": ('"value":99.5', '"value":NaN'),
    "infinity": ('"value":99.5', '"value":-Infinity'),
    "overflowing float": ('"value":99.5', '"value":1e999'),
    "huge int": ('"seed":0', f'"seed":{"9" * 100_000}'),
    "int beyond 64 bits": ('"seed":0', '"seed":18446744073709551616'),
    "duplicate key": ('"seed":0', '"seed":0,"seed":0'),
    "half a surrogate": ('"name":"cable"', '"name":"\\ud800"'),
    "wrong type": ('"name":"cable"', '"name":5'),
    "true as int": ('"seed":0', '"seed":true'),
    "out of range": ('"threshold":2.5', '"threshold":-2.5'),
    "format": ('"edge-ad-bundle"', '"another"'),
    "version 0": ('"format_version":2', '"format_version":0'),
    "version text": ('"format_version":2', '"format_version":"2"'),
    "version true": ('"format_version":2', '"format_version":true'),
    "no version": ('"format_version":2,', ""),
    "missing field": ('"name":"cable",', ""),
}


@pytest.mark.parametrize(("old", "new"), HOSTILE_TEXT.values(), ids=HOSTILE_TEXT.keys())
def test_hostile_manifest_text(tmp_path: Path, old: str, new: str) -> None:
    assert opens(tmp_path, with_text(old, old)).id  # so that it is the change that is refused
    refused(tmp_path, with_text(old, new))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'"edge-ad-bundle"',
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + maker.to_json(maker.document({})),
        maker.to_json(maker.document({})) + b"{}",
        maker.to_json(maker.document({})).decode().encode("utf-16"),
        b"[" * 9_000,
        b'{"a":' * 9_000,
        b"[" * 2**20,
        b'{"format":"edge-ad-bundle","format_version":2,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"[" + b"{}," * 2**20 + b"{}]",
    ],
    ids=range(15),
)
def test_hostile_manifests(tmp_path: Path, manifest: bytes) -> None:
    refused(tmp_path, sealed(manifest))


def test_a_manifest_above_its_cap(tmp_path: Path) -> None:
    text = maker.to_json(maker.document({}))
    assert opens(tmp_path, sealed(text + b" " * (2**24 - len(text)))).id
    refused(tmp_path, sealed(text + b" " * (2**24 - len(text) + 1)), "too large")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            ".hidden",
            "a\\b",
            "c:a",
            "A",
            "ä",
        ),
        *("a b", "a\n", "a\0b", "manifest.json", "a" * 201),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    entry = {name: maker.member_entry(b"x")}
    refused(tmp_path, maker.make(maker.to_json(maker.document(entry)), {name: b"x"}), "name")
    with pytest.raises(SpecError, match="name"):
        write(tmp_path / "a.bundle", **{name: b"x"})
    assert not (tmp_path / "a.bundle").exists()


def test_too_many_members(tmp_path: Path) -> None:
    members = {f"m{number:04}": b"" for number in range(1001)}
    entries = {name: maker.member_entry(b"") for name in members}
    refused(tmp_path, maker.make(maker.to_json(maker.document(entries)), members), "too many members")
    with pytest.raises(SpecError, match="too many members"):
        write(tmp_path / "a.bundle", **members)
    del members["m1000"]
    write(tmp_path / "a.bundle", **members)
    assert len(Bundle.open(tmp_path / "a.bundle").manifest.members) == 1000


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"size": 2**62, "sha256": "0" * 64}, "wrong size"),
        ({"size": 2**32, "sha256": "0" * 64}, "wrong size"),
        ({"size": -64, "sha256": "0" * 64}, "out of range"),
        ({"size": 8, "sha256": "0" * 64}, "damaged"),
        ({"size": 8, "sha256": "x"}, "digest"),
        ({**maker.member_entry(bytes(8), "float32", [3])}, "shape"),
        ({**maker.member_entry(bytes(8), "float32", [-1, -2])}, "shape"),
        ({**maker.member_entry(bytes(8), "float64", [1])}, "dtype"),
        ({**maker.member_entry(bytes(8), "object", [1])}, "dtype"),
        ({**maker.member_entry(bytes(8), "float32", None)}, "dtype and shape"),
        ({**maker.member_entry(bytes(8), "uint8", [1] * 8 + [8])}, "shape"),
        ({**maker.member_entry(b"", "uint8", [0, 2**31, 2**31, 2**31])}, "shape"),
    ],
)
def test_hostile_member_entries(tmp_path: Path, entry: dict[str, Any], match: str) -> None:
    manifest = maker.to_json(maker.document({"coreset": entry}))
    refused(tmp_path, maker.make(manifest, {"coreset": bytes(8)}), match)


def test_an_unknown_field_is_passed_over(tmp_path: Path) -> None:
    assert opens(tmp_path, handmade(later={"a": [1, 2]})).manifest.name == "cable"


def test_a_newer_bundle_is_named_as_such(tmp_path: Path) -> None:
    newer = maker.to_json({"format": "edge-ad-bundle", "format_version": 7, "members": "of another shape"})
    comment = b"edge-ad 7 sha256:" + b"0" * 64
    for content in (sealed(newer), handmade(maker.Tweaks(comment=comment)), b"another layout" + comment):
        with pytest.raises(BundleVersionError, match="bundle format 7") as caught:
            opens(tmp_path, content)
        assert "Upgrade edge-ad" in str(caught.value)


@pytest.mark.parametrize("version", range(1, maker.VERSION + 1))
def test_every_version_is_read(tmp_path: Path, version: int) -> None:
    assert opens(tmp_path, handmade(maker.Tweaks(version=version), format_version=version)).manifest.name == "cable"


@pytest.mark.parametrize(("comment", "inside"), [(1, 2), (2, 1)])
def test_one_version_in_the_comment_and_another_in_the_manifest(tmp_path: Path, comment: int, inside: int) -> None:
    refused(tmp_path, handmade(maker.Tweaks(version=comment), format_version=inside), "that of the archive comment")
