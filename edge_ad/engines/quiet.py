"""Engines that send nothing and write nothing of their own: what surrounds each import of one.

As they come, two packages report their use, from the import on:

* OpenVINO (and NNCF): sends events to Google Analytics, and keeps a client id and a counter in ``~/intel``. Without a
  home its import even fails. This is the work of a package of its own, ``openvino_telemetry``; where that is not
  installed, OpenVINO and NNCF use stubs of theirs that do nothing. They find it missing while they are imported here.
* ONNX Runtime (Linux, since 1.31): sends events to Microsoft, and keeps a device id and a database of events in
  ``~/.cache/Microsoft``. Its variable ``ORT_DISABLE_TELEMETRY``, read at the import, switches this off; on Windows
  `disable_telemetry_events` does.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_VARIABLE = "ORT_DISABLE_TELEMETRY"
_TELEMETRY = "openvino_telemetry"
_lock = threading.RLock()  # two threads may open their first engine at once, and each puts back what it found


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Import openvino, nncf or onnxruntime inside of this, and they neither send nor store what they are used for.

    ``sys.modules`` and the environment are afterwards as they were. ``ORT_DISABLE_TELEMETRY=0`` in the environment is
    left to say that ONNX Runtime may report. What the program imported before stays as it was imported; ONNX Runtime
    stops sending even then. Safe to call from several threads.
    """
    with _lock:
        found = {name: sys.modules[name] for name in (_TELEMETRY,) if name in sys.modules}
        said = os.environ.get(_VARIABLE)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python spells "not installed"
        if said is None:
            os.environ[_VARIABLE] = "1"
        try:
            yield
        finally:
            del sys.modules[_TELEMETRY]
            sys.modules.update(found)
            if said is None:
                del os.environ[_VARIABLE]
        engine = sys.modules.get("onnxruntime")
        if said != "0" and engine is not None:
            engine.disable_telemetry_events()
