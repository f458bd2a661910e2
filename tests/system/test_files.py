"""What is written whole or not at all, and what is gone afterwards, with Ctrl-C at the worst moments; that no output
replaces an input, and that nothing is written past the one module that writes.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

import edge_ad
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.system.files import check_outputs, folder_beside, new_folder, write_file
from tests.tiny import good_frame, write_category


def interrupted_after(function: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    """Does what `function` does and then raises KeyboardInterrupt, as often as said."""
    left = [None] * times

    def interrupted(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if left:
            left.pop()
            raise KeyboardInterrupt
        return result

    return interrupted


def test_a_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    write_file(target, [b"af", memoryview(b"ter")])
    assert target.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_there_is(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    write_file(target, [b"after"])
    assert target.read_bytes() == b"after"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_a_file_that_cannot_be_finished(tmp_path: Path, error: type[BaseException]) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise error

    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(error):
        write_file(target, parts())
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_with_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(os, call, interrupted_after(getattr(os, call)))
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", [b"after"])
    assert os.listdir(tmp_path) == (["file"] if call == "replace" else [])


def test_a_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "target") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".target.")
        (folder / "file").write_bytes(b"")
    with pytest.raises(RuntimeError), folder_beside(tmp_path / "target") as folder:
        raise RuntimeError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["mkdir", "unlink", "rmdir", "rmtree"])
def test_a_folder_with_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    owner = shutil if call == "rmtree" else os
    monkeypatch.setattr(owner, call, interrupted_after(getattr(owner, call)))
    with pytest.raises(KeyboardInterrupt), folder_beside(tmp_path / "target") as folder:
        (folder / "file").write_bytes(b"")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "target") as folder:
        folder.rename(tmp_path / "target")
    assert os.listdir(tmp_path) == ["target"]


def test_no_folder_to_put_it_in(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none" / "file", [b""])
    with pytest.raises(FileNotFoundError), folder_beside(tmp_path / "none" / "target"):
        pass


# -------------------------------------------------------------------------------------------- what is there already


def test_a_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    for content in (b"new", b"again"):
        write_file(tmp_path / "link", [content])
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == content


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, [b"in", b"to"])
    reader.join()
    assert found == [b"into"]
    assert pipe.is_fifo()


def test_a_device_stays_a_device() -> None:
    write_file(Path(os.devnull), [b"x"])
    assert Path(os.devnull).is_char_device()


def test_the_standard_output_is_written_behind_what_was_printed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from edge_ad.system.files import write_file\n"
        "print('before'); write_file(Path('/dev/stdout'), [b'table\\n']); print('after')"
    )
    for target in (subprocess.PIPE, (tmp_path / "out").open("wb+")):
        done = subprocess.run([sys.executable, "-c", code], stdout=target, check=True, timeout=60)
        found = done.stdout
        if not isinstance(target, int):
            target.seek(0)
            found = target.read()
            target.close()
        assert found == b"before\ntable\nafter\n"


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for a disk without space."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from edge_ad.errors import EdgeADError; from edge_ad.system.files import write_new, write_output\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for write in (lambda p: write_output(p, [bytes(5000)]), lambda p: write_new(p, bytes(5000))):\n"
        "    try: write(Path(sys.argv[1]))\n"
        "    except EdgeADError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.npz"], capture_output=True, text=True, timeout=60)
    assert done.stdout.count(f"cannot write {tmp_path / 'a.npz'}; got File too large") == 2, done.stderr
    assert os.listdir(tmp_path) == []


# -------------------------------------------------------------------------------------------- inputs of the command


@pytest.mark.parametrize("how", ["itself", "another spelling", "symbolic link", "hard link"])
def test_an_input_is_no_output(tmp_path: Path, how: str) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"precious")
    out = tmp_path / "out"
    if how == "symbolic link":
        out.symlink_to(source)
    elif how == "hard link":
        os.link(source, out)
    else:
        out = source if how == "itself" else tmp_path / "." / ".." / tmp_path.name / "in"
    with pytest.raises(SpecError, match=r"--csv would replace the bundle that this command reads; .*in"):
        check_outputs([("--csv", out)], [("the bundle", source)])


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    one, link = tmp_path / "one", tmp_path / "link"
    link.symlink_to("one")
    with pytest.raises(SpecError, match="--normal-embed and --out are one file"):
        check_outputs([("--out", one), ("--normal-embed", link)], [])


def test_a_device_may_be_given_twice() -> None:
    null = Path(os.devnull)
    check_outputs([("--out", null), ("--csv", null)], [("an image", null)])


def test_an_input_that_is_not_there_is_not_lost(tmp_path: Path) -> None:
    check_outputs([("--out", tmp_path / "resnet18")], [("--backbone", tmp_path / "resnet18")])


@pytest.fixture
def images(tmp_path: Path, golden: Path) -> Path:
    """A folder with two images, beside b.bundle, a copy of the golden bundle."""
    shutil.copy(golden, tmp_path / "b.bundle")
    (tmp_path / "images").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), good_frame(i))
    return tmp_path / "images"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "b.bundle", "images", "--csv", "b.bundle"], "--csv would replace the bundle"),
        (["inspect", "b.bundle", "images", "--csv", "images/1.png"], "--csv would replace an image"),
        (["inspect", "b.bundle", "images", "--overlay", "images"], "--overlay would replace an image"),
        (["inspect", "b.bundle", "images", "--csv", "pic/1.png", "--overlay", "pic"], "--overlay and --csv are one"),
        (["calibrate", "b.bundle", "--data", "images", "--out", "images/1.png", "--force"], "--out would replace an"),
        (["eval", "b.bundle", "--data", "part", "--out", "part"], "--out would replace a bundle"),
        (["export", "images", "--out", "images/0.png"], "--out would replace a training image"),
        (
            ["export", "images", "--method", "centroid", "--out", "x", "--normal-embed", "x"],
            "--normal-embed and --out are one file",
        ),
    ],
)
def test_no_command_replaces_what_it_reads(
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    if arguments[0] == "export":
        pytest.importorskip("onnx", reason="the export needs onnx")
    monkeypatch.chdir(images.parent)
    write_category(Path("part"), goods=1, tests=1)
    Path("pic").mkdir()
    if arguments[0] == "eval":
        os.link("b.bundle", "part/summary.csv")
    before = contents(images.parent)
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
    assert contents(images.parent) == before


def test_a_table_goes_into_a_pipe_and_through_a_link(images: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert main(["inspect", str(tmp_path / "b.bundle"), str(images), "--csv", str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 3
    assert main(["inspect", str(tmp_path / "b.bundle"), str(images), "--csv", os.devnull]) == 0
    assert Path(os.devnull).is_char_device()


def test_a_bundle_goes_into_a_pipe(golden: Path, tmp_path: Path) -> None:
    """And nothing that is printed is mixed with it."""
    command = [sys.executable, "-m", "edge_ad.cli", "calibrate", golden, "--threshold-rule", "sigma"]
    done = subprocess.run([*command, "--out", "/dev/stdout"], capture_output=True, check=True, timeout=60)
    (tmp_path / "got.bundle").write_bytes(done.stdout)
    with Bundle.open(tmp_path / "got.bundle") as bundle:
        assert bundle.manifest.calibration.rule == "sigma"
    assert b"threshold" in done.stderr


def test_an_export_goes_into_a_pipe(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    command = [sys.executable, "-m", "export", "part", "--data", tiny, "--backbone", tiny / "backbone.onnx"]
    command += ["--layers", "fine", "coarse", "--input-size", "64", "--to", "onnx", "--quick", "--out", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (tmp_path / "got.bundle").write_bytes(done.stdout)
    with Bundle.open(tmp_path / "got.bundle") as bundle:
        assert bundle.manifest.name == "part"
    assert f"folder        {tiny / 'part'}" in done.stderr.decode()


# -------------------------------------------------------------------------------------------- no way around it


def _writes(path: Path) -> Iterator[str]:
    """Calls in a file that write by themselves: open for writing, write_bytes, imwrite, replace and the like."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        whole = ast.unparse(node.func)
        mode = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
        writing = any(isinstance(m, str) and re.fullmatch(r"[rwxabt+]{1,3}", m) and set(m) & set("wxa+") for m in mode)
        to_path = name in ("write_text", "write_bytes", "imwrite", "savez", "savez_compressed", "tofile", "savetxt")
        if (name == "open" and writing) or to_path or whole in ("os.replace", "os.rename", "np.save", "shutil.copy"):
            yield f"{path.name}:{node.lineno}: {ast.unparse(node)[:70]}"


def test_every_file_is_written_by_one_module() -> None:
    root = Path(edge_ad.__file__).parents[1]
    allowed = {
        "edge_ad/system/files.py",
        "edge_ad/system/entry.py",  # opens the null device for a stream that is closed
        "edge_ad/evaluation/run.py",  # savez into memory
        "edge_ad/frames/photometric/normal_map.py",  # save into memory
        "export/synth/stacks.py",  # save into memory
        "edge_ad/spec/table.py",  # FORMAT.md, for who changes the format: a page of the checkout
    }
    paths = [path for folder in ("edge_ad", "export") for path in sorted((root / folder).rglob("*.py"))]
    found = [call for path in paths if path.relative_to(root).as_posix() not in allowed for call in _writes(path)]
    assert found == []
    assert list(_writes(root / "edge_ad/system/files.py")), "the search finds what it looks for"


def test_the_python_that_runs_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.csv").symlink_to(sys.executable)
    with pytest.raises(SpecError, match="--csv would replace the Python program"):
        check_outputs([("--csv", tmp_path / "out.csv")], [])


def test_a_new_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "above" / "target"
    with new_folder(target) as staging:
        (staging / "file").write_bytes(b"1")
        assert not target.exists()
    assert (target / "file").read_bytes() == b"1"
    assert os.listdir(target.parent) == ["target"]


def test_a_new_folder_leaves_nothing_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with new_folder(tmp_path / "above" / "target") as staging:
            (staging / "file").write_bytes(b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert os.listdir(tmp_path) == []


def test_a_new_folder_replaces_an_empty_one_alone(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"1")
    with new_folder(tmp_path / "empty") as staging:
        (staging / "file").write_bytes(b"2")
    assert (tmp_path / "empty" / "file").read_bytes() == b"2"
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "full"):
        pass
    assert os.listdir(tmp_path / "full") == ["mine"]
