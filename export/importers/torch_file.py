"""Reads the tensors of a file of `torch.save` without torch, and without running its pickle.

The file is a ZIP: ``NAME/data.pkl`` holds the objects, in which a tensor names a storage, ``NAME/data/KEY``. Members
are stored as they are; a compressed one is refused, as a few bytes of it could become gigabytes.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from export.importers.pickles import KNOWN, Stub, read_pickle

_PICKLE = "data.pkl"
_MAX_PICKLE = 2**28  # bytes
_MAX_SIDES = 8  # of a tensor
_MAX_SHARED = 2  # times the file's size that all tensors may have: a thousand of them may share one storage
_UNREADABLE = (OSError, zipfile.BadZipFile, KeyError, ValueError, OverflowError, EOFError, RuntimeError)  # of a ZIP
_TYPES = {  # of storages -> dtype of their bytes
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.BoolStorage": "u1",
}


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor of the file, whose numbers are not read yet.

    Attributes:
        storage: where they are.
        offset: number of its first one there.
        shape, steps: of the tensor, in numbers.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, steps: Any, *_: Any) -> TensorRef:
    """Stands for `torch._utils._rebuild_tensor_v2`."""
    sides = isinstance(shape, tuple) and isinstance(steps, tuple) and len(shape) == len(steps) <= _MAX_SIDES
    if not (isinstance(storage, _Storage) and sides and all(type(n) is int for n in (offset, *shape, *steps))):
        raise ValueError("a tensor of something else")
    last = offset + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    count = int(np.prod([max(0, length) for length in shape], dtype=np.float64))
    if min((offset, *shape, *steps)) < 0 or (count and last >= storage.count) or count > storage.count:
        raise ValueError("a tensor beyond its storage")
    return TensorRef(storage, offset, shape, steps)


def _parameter(tensor: Any, *_: Any) -> Any:
    """Stands for `torch._utils._rebuild_parameter`: its tensor."""
    return tensor


def _storage_of(found: Any) -> _Storage:
    if not (isinstance(found, tuple) and len(found) >= 5 and found[0] == "storage" and isinstance(found[1], Stub)):
        raise ValueError("a persistent id that is no storage")
    _, kind, key, _, count = found[:5]
    if not (isinstance(key, str) and key.isalnum() and type(count) is int and count >= 0):
        raise ValueError("a storage without key or length")
    return _Storage(kind.name, key, count)


_KNOWN = {
    **KNOWN,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def is_torch(path: Path) -> bool:
    """Whether a file is a ZIP of `torch.save`."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith(f"/{_PICKLE}") for name in file.namelist())
    except _UNREADABLE:
        return False


class TorchFile:
    """An open file of `torch.save`: its objects, and the numbers of its tensors.

    Attributes:
        path: the file.
        is_script: whether it is TorchScript, which brings code.
        content: its objects. Those of foreign classes are `export.importers.pickles.Stub`, tensors are `TensorRef`.

    Raises:
        SpecError: it cannot be read, or is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._given = 0  # bytes of tensors
        try:
            with zipfile.ZipFile(path) as file:
                names = [name for name in file.namelist() if name.endswith(f"/{_PICKLE}")]
                if len(names) != 1:
                    raise self._broken(f"one {_PICKLE}", f"{len(names)}")
                self._prefix = names[0].removesuffix(_PICKLE)
                self.is_script = any(name.startswith(f"{self._prefix}code/") for name in file.namelist())
                data = self._member(file, names[0], _MAX_PICKLE)
                order = f"{self._prefix}byteorder"
                if order in file.namelist() and self._member(file, order, 16).strip() != b"little":
                    raise self._broken("little-endian numbers", "others")
        except _UNREADABLE as error:
            raise self._broken("a whole file of torch.save", f"{error!s:.200}") from error
        self.content = read_pickle(data, of=f"{path}", known=_KNOWN, persistent=_storage_of, stubs=True)

    def array(self, tensor: TensorRef) -> NDArray[Any]:
        """The numbers of a tensor, owned by the caller; bfloat16 as float32.

        Raises:
            SpecError: they are missing, of another type, not whole, or more than the file can have in all.
        """
        storage = tensor.storage
        dtype = _TYPES.get(storage.kind)
        if dtype is None:
            raise self._broken(f"a storage of {', '.join(_TYPES)}", storage.kind)
        wanted = storage.count * np.dtype(dtype).itemsize
        most = _MAX_SHARED * self.path.stat().st_size
        self._given += wanted
        if self._given > most:
            raise self._broken(f"tensors of {most:,} bytes at most in all", f"{self._given:,}")
        try:
            with zipfile.ZipFile(self.path) as file:
                data = self._member(file, f"{self._prefix}data/{storage.key}", wanted)
        except _UNREADABLE as error:
            raise self._broken("a whole file of torch.save", f"{error!s:.200}") from error
        if len(data) != wanted:
            raise self._broken(f"{wanted} bytes of storage {storage.key}", len(data))
        flat = np.frombuffer(data, dtype)
        steps = tuple(step * flat.itemsize for step in tensor.steps)
        # within the storage: `_tensor` has looked
        view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
        if storage.kind == "torch.BFloat16Storage":
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view.copy()

    def sha256(self) -> str:
        """Of the file, hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
        return digest.hexdigest()

    def _member(self, file: zipfile.ZipFile, name: str, most: int) -> bytes:
        info = file.getinfo(name)
        is_whole = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not is_whole or info.file_size > most:
            raise self._broken(f"{name} stored, in {most:,} bytes at most", f"{info.file_size:,}")
        return file.read(info)

    def _broken(self, expected: object, got: object) -> SpecError:
        return SpecError(f"{self.path} cannot be read", expected=expected, got=got, remedy="Nothing of it was run.")
