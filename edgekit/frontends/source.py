"""SOURCE string -> the front end that reads it -> Loaded.

| source | front end |
|---|---|
| ``file.py:callable``, ``package.module:callable`` | by the type of what the callable returns |
| ``.onnx`` | onnx |
| ``.tflite`` | tflite |
| ``.pt2`` | torch |
| ``.pt``, ``.pth``, ``.th`` | torch_file: TorchScript; what holds only weights is refused |
| ``.keras``, ``.h5``, folder with ``saved_model.pb`` | keras |

A framework is asked whether the object is its own only if it is loaded already: no import is made to decide.
Front ends are imported when a source is theirs: an ONNX file does not pay for Keras.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from edgekit.errors import ExportError, InputError
from edgekit.frontends.call_source import call_source
from edgekit.frontends.collect_rarely import collect_rarely
from edgekit.frontends.request import OPSET, FunctionRunner, Loaded, SourceRequest

__all__ = ["OPSET", "FunctionRunner", "Loaded", "SourceRequest", "load"]

SAVED_MODEL_FILE = "saved_model.pb"
OPSETS = range(13, 24)  # per-channel QuantizeLinear came with 13; torch 2.13 writes up to 23
_FILES: dict[str, str] = {  # module and function of edgekit.frontends
    ".onnx": "onnx:load_onnx",
    ".tflite": "tflite:load_tflite",
    ".pt2": "torch:load_program",
    **dict.fromkeys((".pt", ".pth", ".th"), "torch_file:load_file"),
    **dict.fromkeys((".keras", ".h5", ".hdf5"), "keras:load_archive"),
}
_WEIGHTS = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")
_FORMS = "file.py:callable, package.module:callable, .onnx, .tflite, .pt2, .keras, .h5 or a SavedModel folder"
_MORE = "docs/recipe.md"


def load(request: SourceRequest) -> Loaded:
    """Read a source and export it.

    Raises:
        ExportError: the source is none of the known forms, or cannot be exported.
        ModelFileError: its file is missing, damaged or unsafe to read.
        UnknownNameError: a name in it does not exist.
        MissingBackendError: its framework is not installed.
    """
    if request.opset not in OPSETS:
        raise InputError(
            f"opset {request.opset} cannot be exported",
            why=f"front ends write opsets {OPSETS.start} to {OPSETS.stop - 1}",
            remedy=f"use --opset {OPSET}, or leave it out",
        )
    with collect_rarely():
        return _load(request.base / request.source, request)


def _load(path: Path, request: SourceRequest) -> Loaded:
    if path.is_dir():
        return _load_folder(path, request)
    front_end = _FILES.get(path.suffix.lower())
    if front_end is not None and (path.exists() or ":" not in request.source):
        return _loader(front_end)(request)
    if ":" in request.source and not path.exists():
        return _load_object(call_source(request.source, base=request.base), request)
    raise _unknown_form(path, request.source)


def _loader(front_end: str) -> Callable[..., Loaded]:
    """The function that ``module:function`` of this package names."""
    module, function = front_end.split(":")
    found: Callable[..., Loaded] = getattr(importlib.import_module(f"edgekit.frontends.{module}"), function)
    return found


def _load_folder(path: Path, request: SourceRequest) -> Loaded:
    if not (path / SAVED_MODEL_FILE).is_file():
        raise ExportError(
            f"folder {path} holds no {SAVED_MODEL_FILE}",
            why=f"a source is {_FORMS}",
            remedy="name the file inside it, or export a SavedModel with model.export(folder)",
            more=_MORE,
        )
    return _loader("keras:load_saved_model")(request)


def _load_object(found: object, request: SourceRequest) -> Loaded:
    # Keras first: on its torch back end, a keras.Model is an nn.Module too.
    if _is_a(found, "keras", "Model"):
        return _loader("keras:load_model")(found, request)
    if _is_a(found, "torch.nn", "Module"):
        return _loader("torch:load_module")(found, request)
    raise _no_model(found, request.source)


def _no_model(found: object, source: str) -> ExportError:
    what, remedy = f"an object of type {type(found).__name__}", "return the model itself"
    if isinstance(found, type):
        what, remedy = f"the class {found.__name__}", f"return an instance: `return {found.__name__}()`"
    elif isinstance(found, Mapping):
        remedy = "if these are weights: return the module, and give the weights with --weights FILE"
    elif isinstance(found, (tuple, list)):
        remedy = "return the model alone"
    return ExportError(
        f"{source} returned {what}",
        why="edgekit exports a torch.nn.Module or a keras.Model",
        remedy=remedy,
        more=_MORE,
    )


def is_keras_model(found: object) -> bool:
    """Whether it is one; nothing is imported to find out."""
    return _is_a(found, "keras", "Model")


def _is_a(found: object, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(found, kind)


def _unknown_form(path: Path, source: str) -> ExportError:
    if path.suffix.lower() in _WEIGHTS:
        from edgekit.frontends import torch_file

        return torch_file.only_weights(source)
    if path.suffix == ".py" and path.is_file():
        return ExportError(
            f"{source} names a file without a callable",
            why=f"a source is {_FORMS}",
            remedy=f"write {source}:build, with the name of the function that returns the model",
            more=_MORE,
        )
    if path.suffix == ".toml" and path.is_file():
        return ExportError(
            f"{source} is a recipe, not a model",
            why=f"a source is {_FORMS}",
            remedy=f"edgekit release {source} -o dist/, or name what its [model] source names",
            more=_MORE,
        )
    what = "has an ending that no front end reads" if path.exists() else "does not exist"
    return ExportError(
        f"{source} {what}", why=f"a source is {_FORMS}", remedy="correct the source", more=_MORE
    )
