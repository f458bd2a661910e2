"""The few functions of aravis (libaravis-0.8) that a camera needs, by ctypes.

Debian has PyGObject's bindings of aravis for its own Python alone: a virtual environment, or another Python, cannot
import them. The C functions are the same everywhere, and are stable within 0.8.
https://aravisproject.github.io/aravis/aravis-stable/ (0.8.26).
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SourceError

SUCCESS = 0  # ARV_BUFFER_STATUS_SUCCESS
_NAMES = ("libaravis-0.8.so.0", "libaravis-0.8.0.dylib")


class _GError(Structure):
    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


_Error = POINTER(POINTER(_GError))
# name -> what it returns, what it takes; with _Error last, an error is raised
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_enable_interface": (None, (c_char_p,)),
    "arv_camera_new": (c_void_p, (c_char_p, _Error)),
    "arv_camera_get_device": (c_void_p, (c_void_p,)),
    "arv_camera_get_payload": (c_uint, (c_void_p, _Error)),
    "arv_camera_create_stream": (c_void_p, (c_void_p, c_void_p, c_void_p, _Error)),
    "arv_camera_start_acquisition": (None, (c_void_p, _Error)),
    "arv_camera_stop_acquisition": (None, (c_void_p, _Error)),
    "arv_camera_set_acquisition_mode": (None, (c_void_p, c_int, _Error)),
    "arv_camera_set_frame_rate": (None, (c_void_p, c_double, _Error)),
    "arv_camera_set_string": (None, (c_void_p, c_char_p, c_char_p, _Error)),
    "arv_camera_get_integer": (c_uint64, (c_void_p, c_char_p, _Error)),
    "arv_camera_set_trigger": (None, (c_void_p, c_char_p, _Error)),
    "arv_camera_clear_triggers": (None, (c_void_p, _Error)),
    "arv_camera_software_trigger": (None, (c_void_p, _Error)),
    "arv_device_set_features_from_string": (c_int, (c_void_p, c_char_p, _Error)),
    "arv_stream_push_buffer": (None, (c_void_p, c_void_p)),
    "arv_stream_timeout_pop_buffer": (c_void_p, (c_void_p, c_uint64)),
    "arv_buffer_new_allocate": (c_void_p, (c_size_t,)),
    "arv_buffer_get_status": (c_int, (c_void_p,)),
    "arv_buffer_get_frame_id": (c_uint64, (c_void_p,)),
    "arv_buffer_get_data": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "arv_buffer_get_image_width": (c_int, (c_void_p,)),
    "arv_buffer_get_image_height": (c_int, (c_void_p,)),
    "arv_buffer_get_image_pixel_format": (c_uint32, (c_void_p,)),
    "g_object_unref": (None, (c_void_p,)),
    "g_error_free": (None, (c_void_p,)),
}


@functools.cache
def _library() -> ctypes.CDLL:
    tried: list[str] = []
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            tried.append(str(error))
    raise SourceError(
        "GenICam cameras need aravis",
        expected="the library libaravis-0.8",
        got="; ".join(tried),
        remedy="Install it: apt-get install libaravis-0.8-0 on Debian and Ubuntu.",
    )


@functools.cache
def _function(name: str) -> Any:
    # those of GLib come along with aravis, which is linked to it
    function = getattr(_library(), name)
    function.restype, function.argtypes = _FUNCTIONS[name]
    return function


def check() -> None:
    """Raises `SourceError` where aravis is not installed."""
    _library()


def call(name: str, *arguments: Any) -> Any:
    """Calls a function.

    Raises:
        SourceError: aravis is not installed, or reports an error.
    """
    function = _function(name)
    if not _FUNCTIONS[name][1] or _FUNCTIONS[name][1][-1] is not _Error:
        return function(*arguments)
    error = POINTER(_GError)()
    result = function(*arguments, byref(error))
    if error:
        said = error.contents.message.decode(errors="replace")
        _function("g_error_free")(error)
        raise SourceError(f"the camera refuses {name.removeprefix('arv_')}", got=said)
    return result


def data(buffer: int) -> NDArray[np.uint8]:
    """The bytes of a buffer, where they are: valid until it is pushed again."""
    size = c_size_t()
    address = call("arv_buffer_get_data", buffer, byref(size))
    return np.ctypeslib.as_array((ctypes.c_uint8 * size.value).from_address(address))


def text(value: str) -> bytes:
    """A text for aravis."""
    return os.fsencode(value)
