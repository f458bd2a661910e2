"""What is to be inspected, from folders, manifests and URLs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra fleet)")
pytest.importorskip("fsspec", reason="URLs need fsspec (the extra fleet)")

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from edge_ad.errors import EdgeADError, FrameError, SpecError
from edge_ad.fleet.worklist import WorkList, list_work
from edge_ad.frames.listing import has_image_name
from tests.tiny import good_frame, picture


def test_a_folder_as_inspect_lists_it(tmp_path: Path) -> None:
    for name in ("b/img10.png", "b/img2.png", "a.png", "ground_truth/a.png", ".hidden.png"):
        picture(tmp_path / name, good_frame(0))
    with pytest.warns(UserWarning, match="left out"):
        work = list_work(str(tmp_path))
    assert work.paths == tuple(str(tmp_path / name) for name in ("a.png", "b/img2.png", "b/img10.png"))
    assert work.labels == (None,) * 3


def write_manifests(folder: Path) -> list[Path]:
    rows = [
        {"path": "x/1.png", "label": "good"},
        {"path": str(folder / "2.png"), "label": ""},
        {"path": "file:///3.png"},
    ]
    (folder / "a.csv").write_text("Path; label\n" + "".join(f"{r['path']};{r.get('label', '')}\n" for r in rows))
    (folder / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows), folder / "c.parquet")
    return [folder / "a.csv", folder / "b.jsonl", folder / "c.parquet"]


def test_manifests(tmp_path: Path) -> None:
    expected = (str(tmp_path / "x/1.png"), str(tmp_path / "2.png"), "file:///3.png")
    for path in write_manifests(tmp_path):
        work = list_work(str(path))
        assert work == WorkList(expected, ("good", None, None))
    text = tmp_path / "list"
    text.write_text("# images of tonight\n" + "".join(f"{path}\n\n" for path in expected))
    assert list_work(str(text)).paths == expected
    assert list_work(str(text)).digest() != work.digest(), "labels count"


def test_an_image_twice_is_inspected_once(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\na.png\nb.png\n./a.png\n")
    work = list_work(str(tmp_path / "list.csv"))
    assert work.paths == (str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert "1 rows" in work.notes[0]
    (tmp_path / "list.csv").write_text("path,label\na.png,good\na.png,bad\n")
    with pytest.raises(SpecError, match="two labels"):
        list_work(str(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"file\na.png\n", "no column path"),
        ("a.csv", b"path,label\n,good\n", "no path in row 1"),
        ("a.jsonl", b'{"path": "a.png"}\n{"path"\n', "line 2"),
        ("a.jsonl", b'["a.png"]', "no path in row 1"),
        ("a.jsonl", b"[" * 100_000, "line 1"),
        ("a.csv", b"path\n" + b"a" * 200_000, "field larger"),
        ("a.parquet", b"no parquet", "a.parquet is no manifest"),
        ("a.png", b"\x89PNG", "is no manifest"),
        ("a.txt", b"# nothing\n", "there are no images"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EdgeADError, match=says):
        list_work(str(tmp_path / name))


def test_names_of_any_kind(tmp_path: Path) -> None:
    """Ends of lines that only Unicode knows, commas, quotes, and halves of surrogates are parts of a name."""
    names = ["a\u2028b.png", "c\x85d.png", "e,f.png", 'g"h.png', "i\x0cj.png"]
    (tmp_path / "a.txt").write_text("\r\n".join(names), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"path": name}, ensure_ascii=False) for name in names), encoding="utf-8"
    )
    quoted = [name.replace('"', '""') for name in [*names, "k\nl.png"]]
    (tmp_path / "a.csv").write_text("path\n" + "".join(f'"{name}"\n' for name in quoted), encoding="utf-8")
    (tmp_path / "old.csv").write_text("path,label\rm.png,x\r", encoding="utf-8")
    for file, expected in (
        ("a.txt", names),
        ("a.jsonl", names),
        ("a.csv", [*names, "k\nl.png"]),
        ("old.csv", ["m.png"]),
    ):
        assert list_work(str(tmp_path / file)).paths == tuple(str(tmp_path / name) for name in expected)
    (tmp_path / "half.jsonl").write_text('{"path": "\\ud800.png", "label": "\\ud800"}')
    half = list_work(str(tmp_path / "half.jsonl"))
    assert half.labels == ("\\ud800",)
    assert half.digest()


def test_digests_differ() -> None:
    works = [
        WorkList(("a", "b"), ("x", "y")),
        WorkList(("a", "b"), ("y", "x")),
        WorkList(("a",), ("x\nb\0y",)),
        WorkList(("a",), (None,)),
        WorkList(("a",), ("",)),
    ]
    assert len({work.digest() for work in works}) == len(works)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="cannot read"):
        list_work(str(tmp_path / "none"))
    with pytest.raises(FrameError, match="there are no images"):
        list_work(str(tmp_path))
    with pytest.raises(EdgeADError, match="is no URL that can be read"):
        list_work("nowhere://bucket/folder")


def test_below_a_url() -> None:
    store = fsspec.filesystem("memory")
    for name in ("img10.png", "img2.JPG", "notes.txt", ".thumb.png", "ground_truth/m.png"):
        store.pipe_file(f"/night/{name}", b"x")
    assert list_work("memory://night").paths == ("memory:///night/img2.JPG", "memory:///night/img10.png")
    store.pipe_file("/lists/a.txt", b"img/1.png\nmemory://night/img10.png\n")
    assert list_work("memory://lists/a.txt").paths == ("memory://lists/img/1.png", "memory://night/img10.png")
    with pytest.raises(FrameError, match="there are no images"):
        list_work("memory://none")
    with pytest.raises(SpecError, match="takes stacks"):
        list_work("memory://night", stacks=True)
    store.rm("/night", recursive=True)


def test_one_image(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", good_frame(0))
    assert list_work(str(path)).paths == (str(path),)
    assert list_work("s3://bucket/a.JPG").paths == ("s3://bucket/a.JPG",)


def test_names_of_images() -> None:
    assert has_image_name("s3://b/x.PNG")
    assert not any(map(has_image_name, ("s3://b/x.txt", "s3://b/.x.png", "s3://b/ground_truth/x.png")))
