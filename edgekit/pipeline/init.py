"""`init`: nothing -> a recipe to fill in, or a complete working example.

The example holds an ONNX model, its data and a recipe, so that somebody who only did ``pip install edgekit``
runs the main job without PyTorch, without scikit-learn and without a network.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edgekit import drafts
from edgekit.errors import OutputError, UnknownNameError
from edgekit.write_errors import cannot_write

_EXAMPLES = "_examples"
_TEMPLATE = "template"


def examples() -> tuple[str, ...]:
    """Names of the examples in this installation."""
    root = resources.files("edgekit") / _EXAMPLES
    return tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name != _TEMPLATE))


def init(folder: Path, *, example: str = "") -> tuple[Path, ...]:
    """Write an example (or, without one, a commented recipe) into ``folder``.

    Returns:
        The files written.

    Raises:
        UnknownNameError: no such example.
        OutputError: a file of that name is there already, or the folder cannot be written.
    """
    if example and example not in examples():
        raise UnknownNameError("example", example, examples(), listing="edgekit init --help")
    root = resources.files("edgekit") / _EXAMPLES / (example or _TEMPLATE)
    wanted = {entry.name: entry.read_bytes() for entry in root.iterdir() if entry.is_file()}
    present = sorted(name for name in wanted if (folder / name).exists())
    others = [name for name in present if not _is_ours(folder / name, wanted[name])]
    if others or len(present) == len(wanted):  # some of ours alone: an init that was ended in its middle
        raise OutputError(
            f"{folder / [*others, *present][0]} is there already",
            why="init never replaces a file",
            remedy="name an empty folder: `edgekit init my-model`",
        )
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sorted(wanted.items()):
            if name in present:
                continue
            with drafts.file(folder / name) as draft:
                draft.write_bytes(content)
            written.append(folder / name)
    except OSError as error:
        raise cannot_write(folder, error, elsewhere="choose another folder") from error
    return tuple(written)


def _is_ours(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:  # a folder, or nothing that may be read
        return False
