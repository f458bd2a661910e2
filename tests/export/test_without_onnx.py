"""The export where the package onnx is missing, as on an edge PC."""

from __future__ import annotations

import subprocess
import sys

_MISSING = "import sys; sys.modules['onnx'] = None; from export.__main__ import main; sys.exit(main(['parts']))"


def test_the_command_that_installs_it_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", _MISSING], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the export needs the package onnx")
    assert "pip install 'edge-ad[demo]'" in done.stderr
