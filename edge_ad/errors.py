"""Every error that edge-ad raises on purpose.

    EdgeADError
    |-- BundleError               the bundle file cannot be used
    |   |-- BundleNotFoundError   there is no such file
    |   |-- BundleCorruptError    broken, truncated, altered or hostile
    |   `-- BundleVersionError    written by a newer format
    |-- SpecError                 an option or a field of the manifest is out of its range
    |-- FrameError                a frame cannot be inspected (dtype, shape, size, unreadable file)
    |-- SourceError               a camera, stream, video or hot folder cannot be used, or is gone
    |-- EngineError               the engine failed, or gave NaN or Inf
    |   `-- EngineUnavailableError  not installed, or it cannot run this bundle
    |-- BudgetError               no operating point of the bundle is fast enough on this PC
    |-- ForkError                 a Runtime is used in a forked child of the process that opened it
    |-- ParityError               a result differs from the one it must equal (golden probes, engines, torch)
    |-- NativeError               the compiled core refused its input or this CPU
    |   `-- NativeMissingError    the compiled core is not built, or cannot be loaded; an ImportError too
    |-- LearningError             a lesson would cost what the bundle finds today, or cannot be told of truly
    |-- DatasetError              (export) the images cannot be used
    `-- BackboneError             (export) the backbone or its weights cannot be used

A message says what is wrong, what was expected, what was got, and what to do about it. Every error can be pickled and
copied with its message and its attributes.

`ImageWarning` is not an error: the work continues.
"""

from __future__ import annotations

__all__ = [
    "BackboneError",
    "BudgetError",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleVersionError",
    "DatasetError",
    "EdgeADError",
    "EngineError",
    "EngineUnavailableError",
    "ForkError",
    "FrameError",
    "ImageWarning",
    "LearningError",
    "NativeError",
    "NativeMissingError",
    "ParityError",
    "SourceError",
    "SpecError",
]


class EdgeADError(Exception):
    """Base of the tree: ``except EdgeADError`` catches whatever edge-ad refuses.

    Args:
        what: what is wrong, one clause.
        expected: what would have been accepted.
        got: what came instead.
        remedy: what the reader can do about it.
    """

    def __init__(self, what: str, *, expected: object = None, got: object = None, remedy: str | None = None) -> None:
        self.what, self.expected, self.got, self.remedy = what, expected, got, remedy
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if got is not None:
            parts.append(f"got {got}")
        message = "; ".join(parts)
        super().__init__(f"{message}. {remedy}" if remedy else message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles without a call of `__init__`, as a subclass may have other arguments. Objects are kept as text."""
        return _restore, (type(self), self.args, {name: _plain(value) for name, value in self.__dict__.items()})


def _restore(kind: type[EdgeADError], args: tuple[object, ...], attributes: dict[str, object]) -> EdgeADError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _plain(value: object) -> object:
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if type(value) in (tuple, list, set, frozenset):
        return type(value)(_plain(item) for item in value)  # type: ignore[attr-defined, call-arg]
    if type(value) is dict:
        return {_plain(name): _plain(item) for name, item in value.items()}
    return str(value)


class BundleError(EdgeADError):
    """The bundle file cannot be used."""


class BundleNotFoundError(BundleError):
    """There is no bundle at the path."""


class BundleCorruptError(BundleError):
    """The bundle is truncated, altered, malformed or hostile."""


class BundleVersionError(BundleError):
    """The bundle was written in a format this version does not read."""


class SpecError(EdgeADError):
    """An option, or a field of a manifest, has a value that is not allowed."""


class FrameError(EdgeADError):
    """A frame cannot be inspected."""


class SourceError(EdgeADError):
    """A camera, stream, video or hot folder cannot be opened, or gives no frames any more."""


class EngineError(EdgeADError):
    """An engine failed, or gave NaN or Inf."""


class EngineUnavailableError(EngineError):
    """The engine is not installed here, or cannot run this bundle."""


class BudgetError(EdgeADError):
    """No operating point keeps the latency budget on this PC.

    Args:
        table: the time of each operating point, as text. It is printed below the message.
    """

    def __init__(self, what: str, *, expected: object, table: str, remedy: str) -> None:
        super().__init__(what, expected=expected, got="the times below", remedy=remedy)
        self.table = table
        self.args = (f"{self.args[0]}\n{table}",)


class ForkError(EdgeADError):
    """A Runtime, or frames that it captures ahead, are used in a forked child of the process that opened it."""


class ParityError(EdgeADError):
    """A result differs from the one it must equal."""


class NativeError(EdgeADError):
    """The compiled core refused its input, or this CPU lacks what was asked for."""


class NativeMissingError(NativeError, ImportError):
    """The compiled core is not built in this folder, or cannot be loaded. `import edge_ad` raises it."""


class LearningError(EdgeADError):
    """A lesson is refused: a known defect would pass, too much detection power would be lost, there is no room for more
    rows, or the store of the lessons does not say what the bundle says. Nothing has changed.

    Args:
        pictures: what the refusal is about: pictures that were drawn of it.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
        pictures: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, expected=expected, got=got, remedy=remedy)
        self.pictures = pictures


class DatasetError(EdgeADError):
    """The images of a category cannot be used for an export."""


class BackboneError(EdgeADError):
    """The backbone, its layers or its weights cannot be used."""


class ImageWarning(UserWarning):
    """A part of an image file or of a folder is not used: a file is left out, or pages after the first.

    The text names no single image. So Python shows the warning once, and not for each file.

    Args:
        text: what a reader should know.
        path: the image; None for a folder.
    """

    def __init__(self, text: str, path: str | None = None) -> None:
        super().__init__(text)
        self.path = path
