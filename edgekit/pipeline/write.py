"""Text or model -> file, by a temporary name and a rename: nothing is ever half-written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx_ir as ir

from edgekit.errors import OutputError
from edgekit.ir import io


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, making its folder.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a file stands where its folder should be
            temporary.unlink()
        raise OutputError(
            f"{path} cannot be written", why=str(error), remedy="choose another place with -o"
        ) from error


def write_model(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path``, making its folder.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"folder {path.parent} cannot be made", why=str(error), remedy="choose another place with -o"
        ) from error
    io.save(model, path)
