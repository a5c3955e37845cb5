"""Weights file x keras.Model -> the model with those weights.

W1 ``.weights.h5`` of Keras 3: names and shapes are held against what the model itself would save, because
   Keras loads layer by layer and says nothing of layers that only the file has
W2 ``.h5`` of Keras 1 and 2 (also under the name ``.weights.h5``), and whole models in HDF5: Keras loads
   layers in their order, and refuses other numbers of layers and weights and other shapes itself

Source: Keras 3, keras/src/saving/saving_lib.py (load_weights_only) and keras/src/legacy/saving/
legacy_h5_format.py (load_weights_from_hdf5_group).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgekit import drafts
from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet

SUFFIX = ".weights.h5"
SUFFIXES = (".h5", ".hdf5")
_NOT_WEIGHTS = ("optimizer", "metrics")  # what a compiled model saves besides
_OLD_GROUP, _GROUP = (
    "_layer_checkpoint_dependencies/",
    "layers/",
)  # of Keras 2.12 and since 2.13; Keras reads both
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
    if path.suffix not in SUFFIXES:
        raise ModelFileError(
            f"weights {path.name} have an ending that a Keras model does not load",
            why=f"known: {SUFFIX} and .h5; .pt, .pth and .safetensors belong to PyTorch",
            remedy="save them with model.save_weights('model.weights.h5')",
        )
    theirs, in_order = _content(path)
    with drafts.temporary() as folder:
        readable = folder / ("theirs.h5" if in_order else f"theirs{SUFFIX}")  # the name says the format
        if not in_order:
            own = folder / f"own{SUFFIX}"
            with quiet():
                model.save_weights(own)
            _compare(theirs, _content(own)[0], path)
        if path.name.endswith(SUFFIX) == readable.name.endswith(SUFFIX):
            readable = path
        else:
            _link(path, readable)
        try:
            with quiet():
                model.load_weights(readable)
        except Exception as error:  # Keras raises what its layers raise
            raise ExportError(
                f"weights {path.name} do not fit the model: {explain(error)}",
                why="a partly loaded model would run, and be wrong",
                remedy="use the weights of this architecture",
            ) from error


def _link(path: Path, name: Path) -> None:
    """``path`` under another name, as a link where the system has them."""
    try:
        name.symlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, name)


def _content(path: Path) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Shape by name of the model's own variables, and whether it is a file of case W2."""
    h5py = import_extra("h5py", needed_for=path.name)
    found: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.partition("/")[0] not in _NOT_WEIGHTS:
            found[name.replace(_OLD_GROUP, _GROUP)] = tuple(item.shape)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            return found, "layer_names" in file.attrs or "model_weights" in file
    except OSError as error:
        raise ModelFileError(
            f"weights {path.name} cannot be read ({path.stat().st_size} bytes): {explain(error)}",
            why="the file is empty, cut off or not HDF5",
            remedy="copy it again, or save it again with model.save_weights",
        ) from error


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
