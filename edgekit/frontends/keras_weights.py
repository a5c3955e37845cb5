""".weights.h5 x keras.Model -> the model with those weights.

Keras loads layer by layer and says nothing of layers that only the file has; so the file is first held
against what the model itself would save.

Source: Keras 3, keras/src/saving/saving_lib.py (load_weights_only).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet

SUFFIX = ".weights.h5"
_SHOWN = 5  # names in a message; the count says how many there are


def apply_weights(model: Any, path: Path) -> None:
    """Load ``path`` into ``model`` (which the caller owns).

    Raises:
        ModelFileError: the file is missing, of another format or damaged.
        ExportError: names or shapes of the weights do not fit the model.
    """
    if not path.is_file():
        raise ModelFileError(
            f"no weights file at {path}",
            why="relative paths start at the recipe's folder, or the current one for flags",
            remedy="correct --weights (or `weights` in the recipe)",
        )
    if not path.name.endswith(SUFFIX):
        raise ModelFileError(
            f"weights {path.name} have an ending that a Keras model does not load",
            why=f"known: {SUFFIX}; .pt, .pth and .safetensors belong to PyTorch",
            remedy="save them with model.save_weights('model.weights.h5')",
        )
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / f"own{SUFFIX}"
        with quiet():
            model.save_weights(own)
        _compare(_variables(path), _variables(own), path)
    try:
        with quiet():
            model.load_weights(path)
    except Exception as error:  # Keras raises what its layers raise
        raise ExportError(
            f"weights {path.name} do not fit the model: {explain(error)}",
            why="a partly loaded model would run, and be wrong",
            remedy="use the weights of this architecture",
        ) from error


def _variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape by name of all variables in the file, those of an optimizer left out."""
    h5py = import_extra("h5py", needed_for=path.name)
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            found[name] = tuple(item.shape)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise ModelFileError(
            f"weights {path.name} cannot be read ({path.stat().st_size} bytes): {explain(error)}",
            why="the file is empty, cut off or not HDF5",
            remedy="copy it again, or save it again with model.save_weights",
        ) from error
    return found


def _compare(theirs: dict[str, tuple[int, ...]], own: dict[str, tuple[int, ...]], path: Path) -> None:
    missing = [name for name in own if name not in theirs]
    unexpected = [name for name in theirs if name not in own]
    shapes = [
        f"{name} is {theirs[name]} in the file and {own[name]} in the model"
        for name in own
        if name in theirs and theirs[name] != own[name]
    ]
    complaints = [
        *([f"missing in the file: {_few(missing)}"] if missing else []),
        *([f"not in the model: {_few(unexpected)}"] if unexpected else []),
        *([f"other shape: {_few(shapes)}"] if shapes else []),
    ]
    if complaints:
        raise ExportError(
            f"weights {path.name} do not fit the model; {'; '.join(complaints)}",
            why="a partly loaded model would run, and be wrong",
            remedy="use the weights of this architecture, or correct the callable's hyper-parameters",
        )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
