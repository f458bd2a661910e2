"""Imports engines so that they send nothing and write no files of their own.

Two packages report their use by default, from the import on:

* OpenVINO (and NNCF): sends events to Google Analytics, and keeps a client id and a counter in ``~/intel``. Without a
  home its import even fails. A separate package, ``openvino_telemetry``, does this. If that is not installed, OpenVINO
  and NNCF use stubs that do nothing. We hide the package while they are imported here.
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
_lock = threading.RLock()  # two threads may open their first engine at once, and each restores what it found


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Import openvino, nncf or onnxruntime inside this context; then they neither send nor store how they are used.

    Afterwards ``sys.modules`` and the environment are as before. Set ``ORT_DISABLE_TELEMETRY=0`` in the environment to
    let ONNX Runtime report. A package that the program has already imported is not imported again; ONNX Runtime stops
    sending even then. Safe to call from several threads.
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
