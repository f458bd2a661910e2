"""Every file that edge-ad writes goes through here.

    check_outputs    refuses, before any work, an output that would replace an input of the same command
    check_target     refuses one that cannot be written
    check_new        refuses a bundle that is there already, too
    write_output     writes an output: into a pipe or a device, through a link, otherwise completely or not at all
    write_file       the same, for callers that raise their own error
    open_log         opens a log that a child process writes
    write_new        a file in a folder that is ours alone, or was emptied for it
    open_appended    a file that grows: lines are added, and one that was half written is cut off first
    hold_space       a file that holds space on the disk until it is given up
    move_file        into another folder, beside what is there
    folder_beside    a folder that is there for a while
    new_folder       a folder that appears when it is complete, or not at all

Safe to call from several threads; on one path the last to finish wins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from edge_ad.errors import BundleError, EdgeADError, SpecError

Parts = Iterable[memoryview | bytes]
_PART = 2**20  # bytes that are written at a time where there is nothing to write


# ---------------------------------------------------------------------------------------------------- refusing


def check_outputs(outputs: Iterable[tuple[str, Path]], inputs: Iterable[tuple[str, Path]]) -> None:
    """Refuses outputs that are inputs of the same command, and two outputs that are one file.

    Files are compared by identity, not by name: a symbolic link, a hard link and another spelling of a path are the
    same file. Writing into a pipe or a device replaces nothing, so they are never refused.

    Args:
        outputs: (option, path) of each file that will be written, such as ("--csv", Path("out.csv")).
        inputs: (what it is, path) of each file that is read, such as ("the bundle", Path("cable.bundle")).

    Raises:
        SpecError: names the option and the file.
    """
    read: dict[object, tuple[str, Path]] = {}
    # /proc/self/exe leads to the Python that runs here, which every other program of the user may need too.
    for what, path in (*inputs, ("the Python program", Path(sys.executable or "python"))):
        if _status(path) is not None:  # what is not there cannot be replaced
            read.setdefault(_identity(path), (what, path))
    written: dict[object, tuple[str, Path]] = {}
    for option, path in outputs:
        if is_special(path):
            continue
        key = _identity(path)
        if key in read:
            what, source = read[key]
            raise SpecError(
                f"{option} would replace {what} that this command reads",
                expected="another file",
                got=f"{path}, which is {source}" if path != source else path,
                remedy=f"Give another {option}.",
            )
        if key in written:
            other, first = written[key]
            raise SpecError(
                f"{option} and {other} are one file" if option != other else f"two files of {option} are one",
                expected="a file for each",
                got=f"{path} and {first}" if path != first else path,
                remedy=f"Give another {option}.",
            )
        written[key] = (option, path)


def check_target(option: str, path: Path) -> None:
    """Refuses a target that cannot be written, as far as this is known before the work.

    Raises:
        SpecError: it is a folder, or a file in a folder that is not there or may not be written.
    """
    if is_special(path):
        return
    try:
        real = Path(os.path.realpath(path))
        if real.is_dir():
            raise SpecError(f"{option} is a folder", expected="the path of a file", got=path)
        folder = real.parent
        writable = folder.is_dir() and os.access(folder, os.W_OK)
    except (OSError, ValueError) as error:  # a name that is too long, a NUL, a working directory that is gone
        got = error.strerror if isinstance(error, OSError) else error
        raise SpecError(f"{option} {path} cannot be written", got=got, remedy=f"Give another {option}.") from error
    if not writable:
        remedy = f"Give another {option}."
        raise SpecError(f"{path.name} cannot be written there", expected="a writable folder", got=folder, remedy=remedy)


def check_new(option: str, path: Path, force: bool, remedy: str = "") -> None:
    """Refuses the target of a new bundle: as `check_target`, and a file that is there already.

    Ask again after the work, which may take long: another command may have written the file meanwhile.

    Args:
        force: a file may be there.
        remedy: what to do about a file that is there.

    Raises:
        SpecError: it cannot be written.
        BundleError: it is there already.
    """
    check_target(option, path)
    if path.exists() and not (force or is_special(path) or is_stdout(path)):
        remedy = remedy or f"Give another {option}, or --force to replace it."
        raise BundleError(f"{path} exists already", expected="a new file", remedy=remedy)


def is_special(path: Path) -> bool:
    """Whether there is a pipe, a device or a socket at `path`: something to write into, and nothing to replace."""
    return (status := _status(path)) is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def is_stdout(path: Path) -> bool:
    """Whether `path` leads to where this process's standard output goes: what is printed would be mixed with it."""
    return _stream_of(path) == 1


def scratch_for(target: Path) -> Path:
    """The path beside which drafts of `target` are made: the file that it leads to, or one in the temporary folder
    where the target is a pipe or a device."""
    if is_special(target):
        return Path(tempfile.gettempdir(), "edge-ad")
    return Path(os.path.realpath(target))


def _identity(path: Path) -> object:
    status = _status(path)
    if status is not None and status.st_ino:  # some Windows file systems number nothing
        return status.st_dev, status.st_ino
    return os.path.normcase(os.path.realpath(path))


def _status(path: Path | int) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # ValueError: NUL in the path
        return None


# ---------------------------------------------------------------------------------------------------- writing


def write_output(path: Path, parts: Parts) -> None:
    """Writes an output as `write_file` does, and makes the folders above it.

    Raises:
        EdgeADError: it cannot be written; names the file.
    """
    try:
        if not is_special(path):
            Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
        write_file(path, parts)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error


def write_file(path: Path, parts: Parts) -> None:
    """Writes into a pipe or a device that is there; else writes a whole file, or leaves what was there.

    A symbolic link stays, and the file that it leads to is written. The folder must be there. Whatever is raised, an
    interrupt too, nothing half written is left; what went into a pipe is gone.

    Raises:
        OSError: it cannot be written; its `filename` is set.
    """
    try:
        stream = _stream_of(path)
        if stream is not None:
            _write_into_stream(stream, parts)
        elif is_special(path):
            with open(path, "wb", opener=_open_there) as file:
                file.writelines(parts)
        else:
            _replace(Path(os.path.realpath(path)), parts)
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_new(path: Path, data: bytes) -> None:
    """Writes a file that must not be there yet, without waiting for the disk: for folders that are ours alone.

    Raises:
        EdgeADError: it cannot be written, or is there; names the file.
    """
    try:
        file = open(path, "xb")  # noqa: SIM115 - what is removed below must be ours
        try:
            with file:
                file.write(data)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error


def open_log(path: Path) -> BinaryIO:
    """A file that a child process prints into while it runs: emptied, and there from the beginning.

    Raises:
        OSError: it cannot be opened.
    """
    return open(path, "wb")


def open_appended(path: Path) -> BinaryIO:
    """A file that lines are added to, positioned at its end; made if it is not there, and readable.

    Raises:
        EdgeADError: it cannot be opened; names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "r+b" if path.exists() else "x+b")  # noqa: SIM115 - it is the caller's
        file.seek(0, os.SEEK_END)
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    return file


def hold_space(path: Path, size: int) -> bool:
    """Makes a file of `size` bytes that really take space; False where there is not so much. One that is there stays.

    Whoever deletes it has the space.
    """
    try:
        if path.exists() and path.stat().st_size == size:
            return True
        _replace(path, (b"\x55" * min(_PART, size - at) for at in range(0, size, _PART)))
    except OSError:
        return False
    return True


def move_file(source: Path, target: Path) -> Path:
    """Renames a file to `target`, or to `target` with ~2, ~3, ... before its suffix: what is there stays.

    The folder of the target is made. Both must be on one file system.

    Returns:
        Where it is now.

    Raises:
        OSError: it cannot be moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    number, found = 2, target
    while os.path.lexists(found):
        found = target.with_name(f"{target.stem}~{number}{target.suffix}")
        number += 1
    os.rename(source, found)
    return found


def replace_file(source: Path, target: Path) -> None:
    """Renames a whole file over `target`, which is the old one or the new one at every moment. One file system.

    Raises:
        OSError: it cannot be renamed.
    """
    os.replace(source, target)


def _cannot_write(path: Path, error: OSError | ValueError) -> EdgeADError:
    got = error.strerror or error if isinstance(error, OSError) else error
    return EdgeADError(f"cannot write {path}", got=got, remedy="Check the folder and its space.")


def _stream_of(path: Path) -> int | None:
    """1 or 2 where `path` is the standard output or error of this process, which then is written and not opened anew:
    a file would be written from its beginning, a socket cannot be opened."""
    status = _status(path)
    if status is None:
        return None
    for descriptor in (1, 2):
        own = _status(descriptor)
        if own is not None and own.st_ino and (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino):
            return descriptor
    return None


def _write_into_stream(descriptor: int, parts: Parts) -> None:
    stream = sys.stdout if descriptor == 1 else sys.stderr
    if stream is not None:
        stream.flush()  # what was printed before comes before
    with open(os.dup(descriptor), "wb") as file:
        file.writelines(parts)


def _open_there(path: str, flags: int) -> int:
    # Neither made nor emptied: it is there, and is no file. O_NOCTTY: a terminal must not become ours.
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | getattr(os, "O_NOCTTY", 0))


def _replace(target: Path, parts: Parts) -> None:
    """Writes beside `target`, flushes to the disk and renames; what was there stays until then."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    temporary = _beside(target)
    try:
        with open(temporary, "xb") as file:  # mode as the umask gives, which mkstemp would narrow to 0600
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The file is complete and in its place; this makes the rename outlive a power cut. Some network file systems
    # refuse it, Windows has none, a directory may be writable but not readable: nothing to report.
    with contextlib.suppress(OSError):
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---------------------------------------------------------------------------------------------------- drafts


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new, hidden folder in the folder of `target`; it is gone afterwards, interrupted or not.

    Unlike `tempfile.TemporaryDirectory`, also where Ctrl-C arrives while it is made or removed.

    Raises:
        OSError: it cannot be made.
    """
    folder = _beside(target)
    try:
        folder.mkdir()
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place at the end; after an error or Ctrl-C nothing is left.

    The folders above are made, and go again after an error. The target may be an empty folder.

    Raises:
        OSError: it cannot be made, or files have come to `target` meanwhile.
    """
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(target) as staging:
            yield staging
            if os.name == "nt" and target.is_dir():
                target.rmdir()  # elsewhere an empty folder is replaced
            staging.rename(target)
        made = []
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _beside(target: Path) -> Path:
    # 50 characters of the name: at most 200 bytes, so that the temporary name fits wherever the name does.
    return target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.tmp")
