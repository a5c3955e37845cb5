"""keras.Model, .keras, .h5 or SavedModel folder -> float ONNX model.

    source --keras_archive, keras_saved_model--> forward pass --keras_export--> Loaded

Here: which inputs it has, in which structure the model takes them, and what its outputs are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import ExportError
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_archive import read_archive
from edgekit.frontends.keras_export import PROBE_SEED, Forward, export, reference, tensors_of
from edgekit.frontends.keras_recurrent import refuse_stateful
from edgekit.frontends.keras_saved_model import read_saved_model
from edgekit.frontends.keras_weights import apply_weights
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.samples import sample
from edgekit.frontends.shapes import agree, with_dynamic
from edgekit.spec import Runner, TensorSpec


def load_model(model: Any, request: SourceRequest) -> Loaded:
    """Export a ``keras.Model``; the model is the caller's own fresh one.

    Raises:
        ExportError: another Keras back end, undeclared inputs, weights that do not fit, operators without an
            ONNX form.
        MissingBackendError: tensorflow or tf2onnx is not installed.
    """
    return export(_forward(model, request), request)


def load_reference(model: Any, request: SourceRequest) -> Runner:
    """The model's own forward pass, with the names that its export would have.

    Raises:
        ExportError: another Keras back end, undeclared inputs, or it does not run on them.
        MissingBackendError: tensorflow is not installed.
    """
    return reference(_forward(model, request), request)


def _forward(model: Any, request: SourceRequest) -> Forward:
    keras = import_extra("keras", needed_for=request.source)
    import_extra("tensorflow", needed_for=request.source)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"{request.source} was built on the Keras back end {keras.backend.backend()!r}",
            why="tf2onnx converts TensorFlow graphs; other back ends unroll LSTM and GRU",
            remedy="run with KERAS_BACKEND=tensorflow",
        )
    refuse_stateful(model, request.source)
    inputs = _inputs(model, request)
    if request.weights is not None:
        if not model.built:
            model(*tensors_of(sample(inputs, batch=1, rng=np.random.default_rng(PROBE_SEED))))
        apply_weights(model, request.base / request.weights)
    names = tuple(getattr(model, "output_names", None) or ())

    def call(tensors: tuple[Any, ...]) -> dict[str, Any]:
        return _named_outputs(model(_packed(model, tensors), training=False), names, request.source)

    return Forward(inputs, call, model)


def load_archive(request: SourceRequest) -> Loaded:
    """Export a ``.keras`` or ``.h5`` file of Keras 2 or 3.

    Raises:
        ModelFileError: missing, damaged, or unsafe to load (a Lambda layer carries code).
        ExportError: it holds weights alone; or as ``load_model``.
    """
    import_extra("keras", needed_for=request.source)
    import_extra("tensorflow", needed_for=request.source)
    model = read_archive(request.base / request.source, trust_source=request.trust_source)
    return load_model(model, request)


def load_saved_model(request: SourceRequest) -> Loaded:
    """Export a SavedModel folder: its ``serving_default`` signature, or its only one.

    Raises:
        ModelFileError: damaged, or it reads or writes files when it runs.
        ExportError: no signature to export, or weights given besides.
    """
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights",
        )
    path = request.base / request.source
    signature = read_saved_model(path, source=request.source, trust_source=request.trust_source)
    known = tuple(_spec(name, tensor.dtype.name, tensor.shape) for name, tensor in signature.inputs.items())
    inputs = agree(known, request.inputs, source=request.source, rename=True)
    inputs = with_dynamic(inputs, request.dynamic, source=request.source)

    def call(arguments: tuple[Any, ...]) -> dict[str, Any]:
        result = signature.function(**dict(zip(signature.inputs, arguments, strict=True)))
        return {name: result[name] for name in signature.outputs}

    return export(Forward(inputs, call, signature.keep), request)


def _inputs(model: Any, request: SourceRequest) -> tuple[TensorSpec, ...]:
    known = tuple(_spec(t.name, t.dtype, t.shape) for t in getattr(model, "inputs", None) or ())
    if not known and not request.inputs:
        raise ExportError(
            f"{request.source} needs its inputs declared",
            why="the model was never called, and does not know the shapes of its inputs",
            remedy="--input image:float32:batchx224x224x3, or `inputs` under [model] in the recipe",
        )
    inputs = agree(known, request.inputs, source=request.source, rename=True) if known else request.inputs
    return with_dynamic(inputs, request.dynamic, source=request.source)


def _spec(name: str, dtype: str, shape: Any) -> TensorSpec:
    if shape is None or getattr(shape, "rank", 0) is None:
        raise ExportError(
            f"input {name!r} has no known rank",
            why="every artifact needs inputs of a known rank",
            remedy="declare the shape in the model",
        )
    return TensorSpec(name, str(dtype), tuple(None if dim is None else int(dim) for dim in shape))


def _packed(model: Any, tensors: tuple[Any, ...]) -> Any:
    """``tensors`` in the structure that ``model`` was built with."""
    if len(tensors) == 1:
        return tensors[0]
    keras = import_extra("keras", needed_for="a Keras source")
    structure = getattr(model, "input", None) if getattr(model, "inputs", None) else None
    return list(tensors) if structure is None else keras.tree.pack_sequence_as(structure, list(tensors))


def _named_outputs(result: Any, names: tuple[str, ...], source: str) -> dict[str, Any]:
    """Outputs by name: keys of a mapping, else the model's own names, else ``output``, ``output_0`` ..."""
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items()}
    flat = list(result) if isinstance(result, (list, tuple)) else [result]
    if any(isinstance(value, (list, tuple, Mapping)) for value in flat):
        raise ExportError(
            f"{source} gives nested outputs",
            why="outputs are tensors, or one mapping or list of tensors",
            remedy="return a dict whose keys name the outputs",
        )
    if len(set(names)) != len(flat):
        names = ("output",) if len(flat) == 1 else tuple(f"output_{i}" for i in range(len(flat)))
    return dict(zip(names, flat, strict=True))
