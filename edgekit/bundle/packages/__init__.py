"""Bundle -> what an app's build takes in: one module per kind, found by name.

    kind --KINDS--> module --choose--> artifacts of the bundle --files--> folder <name>-<version>-<kind>/

A module of a kind is a ``base.Package``: it says which artifacts it can hold and gives files by path. It
writes nothing, opens no runtime (``base.Tools`` hands down what it needs of one), and gives the same bytes
for the same bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from edgekit.bundle.packages.base import Package
from edgekit.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind lives and its one line in listings."""

    module: str
    help: str


KINDS: Mapping[str, Kind] = {
    "android": Kind("edgekit.bundle.packages.android", "AAR with model and Java class, Kotlin for LiteRT"),
    "ios": Kind("edgekit.bundle.packages.ios", "Swift package with the model and a wrapper for LiteRT"),
    "c": Kind("edgekit.bundle.packages.c", "header with the model as an array for TFLite Micro, arena size"),
    "python": Kind("edgekit.bundle.packages.python", "wheel with the artifact and a runner of 50 lines"),
    "ort-mobile": Kind("edgekit.bundle.packages.ort_mobile", ".ort files, operators of a minimal build"),
    "web": Kind("edgekit.bundle.packages.web", "ES module for ONNX Runtime (wasm) and LiteRT.js, demo page"),
}


def load(kind: str) -> Package:
    """The module of ``kind``.

    Raises:
        UnknownNameError: there is no such kind; the closest ones are named.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of package", kind, KINDS, listing="edgekit package --help")
    return cast("Package", import_module(KINDS[kind].module))
