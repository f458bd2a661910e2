"""edge-ad: an edge runtime for visual anomaly detection.

from edge_ad import Runtime
verdict = Runtime("cable.bundle").inspect(frame)
"""

try:
    from edge_ad._version import __version__
    from edge_ad.errors import (
        BackboneError,
        BudgetError,
        BundleCorruptError,
        BundleError,
        BundleNotFoundError,
        BundleVersionError,
        DatasetError,
        EdgeADError,
        EngineError,
        EngineUnavailableError,
        ForkError,
        FrameError,
        ImageWarning,
        LearningError,
        NativeError,
        NativeMissingError,
        ParityError,
        SourceError,
        SpecError,
    )
    from edge_ad.frames.place import Place
    from edge_ad.runtime import Runtime
    from edge_ad.serving.meter import Stats
    from edge_ad.system.versions import build_info
    from edge_ad.verdict.verdict import Region, Verdict
except (ImportError, KeyboardInterrupt) as error:  # a command has no `main` yet that could answer with its code
    from edge_ad.system.entry import end_command as _end_command

    _end_command(error)
    raise

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
    "Place",
    "Region",
    "Runtime",
    "SourceError",
    "SpecError",
    "Stats",
    "Verdict",
    "__version__",
    "build_info",
]
