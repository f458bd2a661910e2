"""Files at URLs (s3://, gs://, az://, https://, file:// and what else fsspec knows). Nothing else imports fsspec."""

from __future__ import annotations

import re
from typing import Any

from edge_ad.errors import EdgeADError
from edge_ad.system.inputs import MAX_INPUT_BYTES

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters or more: C:// is a drive


def is_url(text: str) -> bool:
    """Whether a text is a URL, and no path of this PC."""
    return _URL.match(text) is not None


def read_url(url: str) -> bytes:
    """The bytes of a file, by one request.

    Raises:
        EdgeADError: it cannot be read, or fsspec or its package for such URLs is not installed.
    """
    file_system, path = _opened(url)
    try:
        data: bytes = file_system.cat_file(path)
    except Exception as error:  # of as many kinds as there are stores
        raise _unusable("read", url, error) from error
    if len(data) > MAX_INPUT_BYTES:
        raise EdgeADError(f"cannot read {url}", got=f"more than {MAX_INPUT_BYTES:,} bytes")
    return data


def write_url(url: str, data: bytes) -> None:
    """Writes a file whole. Object stores make it appear when it is complete (a PUT).

    Raises:
        EdgeADError: it cannot be written.
    """
    file_system, path = _opened(url)
    try:
        file_system.makedirs(path.rpartition("/")[0], exist_ok=True)  # object stores have no folders and do nothing
        file_system.pipe_file(path, data)
    except Exception as error:
        raise _unusable("write", url, error) from error


def exists_url(url: str) -> bool:
    """Whether there is a file or a folder.

    Raises:
        EdgeADError: the store does not answer.
    """
    file_system, path = _opened(url)
    try:
        return bool(file_system.exists(path))
    except Exception as error:
        raise _unusable("read", url, error) from error


def list_url(url: str) -> list[str]:
    """The URLs of all files below a folder, in no order; none if there is no such folder.

    Raises:
        EdgeADError: it cannot be listed.
    """
    file_system, path = _opened(url)
    try:
        # a store may have kept a listing from before
        file_system.invalidate_cache()
        return [str(file_system.unstrip_protocol(found)) for found in file_system.find(path)]
    except FileNotFoundError:
        return []
    except Exception as error:
        raise _unusable("list", url, error) from error


def _opened(url: str) -> tuple[Any, str]:
    try:
        import fsspec.core
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise EdgeADError(f"{url} needs fsspec", got="none installed", remedy="pip install 'edge-ad[fleet]'") from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # the text names the package: "Install s3fs to access S3"
        remedy = "pip install that package on every machine that reads there."
        raise EdgeADError(f"{url} needs a further package", got=error, remedy=remedy) from error
    except ValueError as error:  # no such protocol
        raise EdgeADError(
            f"{url} is no URL that can be read", got=error, remedy="Check the part before ://."
        ) from error
    return file_system, str(path)


def _unusable(verb: str, url: str, error: Exception) -> EdgeADError:
    got = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        got = "nothing there"
    return EdgeADError(f"cannot {verb} {url}", got=got, remedy="Check the address and its rights.")
