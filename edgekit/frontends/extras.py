"""Package name -> imported module, or the one error that names the install line.

Frameworks are optional. They are imported here, when a source first needs one, with their telemetry and
banners off; a user's own file that imports a missing framework ends in the same error.
"""

from __future__ import annotations

import importlib
from typing import Any

from edgekit import settings
from edgekit.errors import MissingBackendError, missing_extra
from edgekit.frontends.triton_first import load_triton_first

EXTRA_OF: dict[str, str] = {
    "torch": "torch",
    "safetensors": "torch",
    "keras": "keras",
    "tensorflow": "keras",
    "tf2onnx": "keras",
    "h5py": "keras",
}


def import_extra(package: str, *, needed_for: str) -> Any:
    """Import ``package``, whose first name is a key of ``EXTRA_OF``.

    Raises:
        MissingBackendError: it is not installed; the message has the install line.
    """
    settings.silence_native_libraries()
    if EXTRA_OF.get(package.partition(".")[0]) == "keras":
        load_triton_first()
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        missing = missing_framework(error, needed_for=needed_for)
        if missing is None:
            raise
        raise missing from error


def missing_framework(error: ModuleNotFoundError, *, needed_for: str) -> MissingBackendError | None:
    """The missing-extra error that ``error`` means, or None if it is about another module."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    return missing_extra(package, extra, needed_for=needed_for) if extra else None
