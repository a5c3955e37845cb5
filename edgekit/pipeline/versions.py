"""Installed packages -> versions; edgekit's own source -> digest. Both go into keys, locks and manifests."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from edgekit._version import __version__

_BASE = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime")
_BY_EXTRA = {
    "litert": ("ai-edge-litert", "flatbuffers"),
    "openvino": ("openvino",),
    "torch": ("torch",),
    "webgpu": ("onnxruntime-ep-webgpu",),
    "executorch": ("executorch", "torch", "torchao", "flatbuffers"),
    "keras": ("keras", "tf2onnx"),
}


@cache
def version(package: str) -> str:
    """The installed version of a distribution, "" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def tools(*extras: str) -> dict[str, str]:
    """Name -> version of edgekit, its base packages and those of ``extras`` (unknown names are skipped)."""
    names = [*_BASE, *(name for extra in sorted(set(extras)) for name in _BY_EXTRA.get(extra, ()))]
    found = {name: version(name) for name in names}
    return {"edgekit": __version__, "python": platform.python_version()} | {
        name: value for name, value in found.items() if value
    }


def code_digest() -> str:
    """The start of ``code_sha256``: a changed compiler never serves results of the old one."""
    return code_sha256()[:16]


@cache
def code_sha256() -> str:
    """SHA-256 over edgekit's own modules."""
    root = Path(__file__).parents[1]
    sha = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.mjs")]):
        sha.update(path.relative_to(root).as_posix().encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
