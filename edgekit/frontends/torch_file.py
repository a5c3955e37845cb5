"""A ``.pt``, ``.pth`` or ``.th`` file as SOURCE -> what it really is -> Loaded.

| content | what is done |
|---|---|
| TorchScript (zip with ``code/`` and ``constants.pkl``) | ``torch_script`` |
| ExportedProgram under another ending (zip with ``archive_format``) | as ``.pt2`` |
| tensors | refused: weights without an architecture |
| a pickled module | refused, because loading it runs code; exported with trust_source |
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.torch import load_module, load_program, refuse_weights
from edgekit.frontends.torch_script import load_script
from edgekit.frontends.torch_weights import read_checkpoint


def load_file(request: SourceRequest) -> Loaded:
    """Export what is in the file.

    Raises:
        ExportError: it holds weights alone, or cannot be exported.
        ModelFileError: it is missing, damaged, or would run code on loading.
    """
    path = request.base / request.source
    members = _members(path)
    if "constants.pkl" in members and any(name.startswith("code/") for name in members):
        return load_script(request)
    if "archive_format" in members:
        return load_program(request)
    if not path.is_file():
        raise only_weights(request.source)
    return _load_pickle(path, request)


def only_weights(source: str) -> ExportError:
    """The error for a file that holds no graph."""
    return ExportError(
        f"{source} holds weights without an architecture",
        why="a graph cannot be made from weights alone",
        remedy=f"edgekit export model.py:build --weights {source}",
        more="docs/recipe.md",
    )


def _load_pickle(path: Path, request: SourceRequest) -> Loaded:
    try:
        content = read_checkpoint(path, trust_source=request.trust_source)
    except ModelFileError as error:
        if not _names_a_module(path):
            raise
        raise ModelFileError(
            f"{request.source} is a whole module, pickled by torch.save(model, ...)",
            why="loading it runs code that its author chose, and needs the classes that it was saved with",
            remedy=f"save model.state_dict() instead and export model.py:build --weights {path.name}; or add "
            "--trust-source if you made the file yourself",
        ) from error
    if _is_module(content):
        refuse_weights(request)
        return load_module(content, request)
    raise only_weights(request.source)


def _is_module(content: Any) -> bool:
    kind = getattr(sys.modules.get("torch.nn"), "Module", None)
    return isinstance(kind, type) and isinstance(content, kind)


def _names_a_module(path: Path) -> bool:
    """Whether the pickle inside names classes: then it is no mapping of tensors that is merely damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return b"_modules" in archive.read(pickled)
    except (zipfile.BadZipFile, StopIteration, OSError):
        return False


def _members(path: Path) -> frozenset[str]:
    """Names inside a zip, without the folder that torch puts around them; none for other files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.partition("/")[2] for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return frozenset()
