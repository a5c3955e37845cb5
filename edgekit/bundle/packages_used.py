"""A package that took part in a release: what the BOM says about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UsedPackage:
    """One installed Python package, or Python itself.

    Attributes:
        license: SPDX expression, or "" where the package does not state one that can be read.
        content_sha256: SHA-256 over its installed files (``pipeline.installed``); "" where it is not known.
        is_python: whether it is the interpreter.
    """

    name: str
    version: str
    license: str = ""
    content_sha256: str = ""
    is_python: bool = False
