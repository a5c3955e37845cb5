"""Text or model -> file, by a temporary name and a rename: nothing is ever half-written."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.ir import io
from edgekit.write_errors import cannot_write

_ELSEWHERE = "choose another place with -o"


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, making its folder.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with drafts.file(path) as draft:
            draft.write_text(text, "utf-8")
    except OSError as error:
        raise cannot_write(path, error, elsewhere=_ELSEWHERE, size_bytes=len(text)) from error


def write_model(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write ``model`` to ``path``, making its folder; gives the files that it wrote (``io.save``).

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error, elsewhere=_ELSEWHERE) from error
    return io.save(model, path)
