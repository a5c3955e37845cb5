"""edgekit: one trained model in, proved artifacts for every runtime out.

The public functions, one per verb of the command line, are imported on first use, so that
``import edgekit`` and ``edgekit --help`` cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._version import __version__
from edgekit.late_imports import import_late

if TYPE_CHECKING:
    from edgekit.api import (
        bench,
        bench_history,
        bench_sustained,
        calibrate,
        compile,
        debug,
        diff,
        export,
        inspect,
        open,
        package,
        prune,
        quantize,
        release,
        sweep,
        validate,
        verify,
    )

import_late()  # before anything imports onnx_ir

__all__ = [
    "__version__",
    "bench",
    "bench_history",
    "bench_sustained",
    "calibrate",
    "compile",
    "debug",
    "diff",
    "export",
    "inspect",
    "open",
    "package",
    "prune",
    "quantize",
    "release",
    "sweep",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from edgekit import api

        return getattr(api, name)
    message = f"module 'edgekit' has no attribute {name!r}"
    raise AttributeError(message)
