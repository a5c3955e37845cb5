"""keras.Model, .keras, .h5 or SavedModel folder -> float ONNX model, by tf2onnx.

    model(x, training=False) --tf.function--> concrete function --tf2onnx--> opset 18 --> ``request.opset``

Called directly rather than through ``Model.export(format="onnx")``: that needs a model that was called
before, and leaves the names of outputs to TensorFlow. What tf2onnx names by counters of the process is named
anew (``stable_names``), so that the same source gives the same bytes.

Source: tf2onnx/convert.py (from_function); keras/src/export/onnx.py, which does the same with other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.errors import ExportError, InputError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_weights import SUFFIX, apply_weights
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.samples import FREE_AXIS, sample
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.frontends.stable_names import with_stable_names
from edgekit.ir import io
from edgekit.spec import Array, Dim, TensorSpec

TF2ONNX_OPSET = 18  # the newest that tf2onnx 1.17 writes
IR_VERSION = 10  # of opset 21, onnx/docs/Versioning.md; tf2onnx writes 8
_PROBE_SEED = 0
_PROBE_BATCHES = (1, 3)

# TensorFlow operations that reach the file system (tensorflow/core/ops/io_ops.cc).
_FILE_OPERATIONS = frozenset({"ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "Save", "SaveSlices"})


@dataclass(frozen=True)
class _Source:
    """A forward pass in TensorFlow.

    Attributes:
        inputs: in the order in which ``call`` takes tensors.
        call: tensors -> tensors by output name.
        keep: what must live as long as ``call`` (variables are held weakly by graphs).
    """

    inputs: tuple[TensorSpec, ...]
    call: Callable[[tuple[Any, ...]], dict[str, Any]]
    keep: object


def load_model(model: Any, request: SourceRequest) -> Loaded:
    """Export a ``keras.Model``; the model is the caller's own fresh one.

    Raises:
        ExportError: another Keras back end, undeclared inputs, weights that do not fit, operators without an
            ONNX form.
        MissingBackendError: tensorflow or tf2onnx is not installed.
    """
    keras = import_extra("keras", needed_for=request.source)
    import_extra("tensorflow", needed_for=request.source)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"{request.source} was built on the Keras back end {keras.backend.backend()!r}",
            why="tf2onnx converts TensorFlow graphs; other back ends unroll LSTM and GRU",
            remedy="run with KERAS_BACKEND=tensorflow",
        )
    inputs = _inputs(model, request)
    if request.weights is not None:
        if not model.built:
            model(*_tensors(sample(inputs, batch=1, rng=np.random.default_rng(_PROBE_SEED))))
        apply_weights(model, request.base / request.weights)
    names = tuple(getattr(model, "output_names", None) or ())

    def call(tensors: tuple[Any, ...]) -> dict[str, Any]:
        return _named_outputs(model(_packed(model, tensors), training=False), names, request.source)

    return _export(_Source(inputs, call, model), request)


def load_archive(request: SourceRequest) -> Loaded:
    """Export a ``.keras`` or ``.h5`` file.

    Raises:
        ModelFileError: missing, damaged, or unsafe to load (a Lambda layer carries code).
        ExportError: as ``load_model``.
    """
    keras = import_extra("keras", needed_for=request.source)
    import_extra("tensorflow", needed_for=request.source)
    path = request.base / request.source
    if not path.is_file():
        raise ModelFileError(
            f"no model file at {path}", why="there is nothing to read", remedy="correct the path"
        )
    if path.name.endswith(SUFFIX):
        raise ExportError(
            f"{path.name} holds weights without an architecture",
            why="a graph cannot be made from weights alone",
            remedy=f"edgekit export model.py:build --weights {path.name}",
        )
    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False, safe_mode=not request.trust_source)
    except Exception as error:  # Keras raises whatever the file's content leads to
        raise _not_loaded(path, error) from error
    return load_model(model, request)


def load_saved_model(request: SourceRequest) -> Loaded:
    """Export a SavedModel folder: its ``serving_default`` signature, or its only one.

    Raises:
        ModelFileError: damaged, or it reads or writes files when it runs.
        ExportError: no signature to export, or weights given besides.
    """
    tensorflow = import_extra("tensorflow", needed_for=request.source)
    path = request.base / request.source
    if request.weights is not None:
        raise ExportError(
            f"{request.source} has its weights inside, and {request.weights.name} is given besides",
            why="one of the two would be ignored",
            remedy="remove --weights",
        )
    try:
        with quiet():
            loaded = tensorflow.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises whatever the file's content leads to
        raise _not_loaded(path, error) from error
    signature = _signature(dict(loaded.signatures), request.source)
    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    touching = sorted({node.op for node in nodes} & _FILE_OPERATIONS)
    if touching and not request.trust_source:
        raise ModelFileError(
            f"{path.name} reads or writes files when it runs ({', '.join(touching)})",
            why="a model from elsewhere has no business in the file system",
            remedy="export it without them; or add --trust-source if you made it yourself",
        )
    tensors = dict(sorted(signature.structured_input_signature[1].items()))
    known = tuple(_spec(name, tensor.dtype.name, tensor.shape) for name, tensor in tensors.items())
    inputs = agree(known, request.inputs, source=request.source, rename=True)
    inputs = with_dynamic(inputs, request.dynamic, source=request.source)
    outputs = sorted(signature.structured_outputs)

    def call(arguments: tuple[Any, ...]) -> dict[str, Any]:
        result = signature(**dict(zip(tensors, arguments, strict=True)))
        return {name: result[name] for name in outputs}

    return _export(_Source(inputs, call, loaded), request)


def _signature(signatures: Mapping[str, Any], source: str) -> Any:
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if len(signatures) != 1:
        raise ExportError(
            f"{source} has {len(signatures)} signatures ({', '.join(sorted(signatures)) or 'none'})",
            why="the one to export is called serving_default, or is the only one",
            remedy="save it with model.export(folder), or name the signature serving_default",
        )
    return next(iter(signatures.values()))


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


def _tensors(feeds: Mapping[str, Array]) -> tuple[Any, ...]:
    tensorflow = import_extra("tensorflow", needed_for="a Keras source")
    return tuple(tensorflow.constant(array) for array in feeds.values())


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


def _export(source: _Source, request: SourceRequest) -> Loaded:
    reference = _reference(source, request)
    model = _converted(source, request)
    _refuse_foreign_operators(model, request.source)
    _order(model, source.inputs, reference.outputs)
    model = with_stable_names(model)
    ir_passes.ClearMetadataAndDocStringPass()(model)
    model = set_input_shapes(model, source.inputs)
    by_name = {spec.name: spec for spec in reference.outputs}
    for value in model.graph.outputs:
        value.shape = ir.Shape(by_name[value.name or ""].shape)
    return Loaded(_lifted(model, request), reference, "keras")


def _converted(source: _Source, request: SourceRequest) -> ir.Model:
    """The tf2onnx form of ``source``, as tf2onnx leaves it."""
    tensorflow = import_extra("tensorflow", needed_for=request.source)
    tf2onnx = import_extra("tf2onnx", needed_for=request.source)
    signature = [
        tensorflow.TensorSpec(
            [dim if isinstance(dim, int) else None for dim in spec.shape], spec.dtype, name=spec.name
        )
        for spec in source.inputs
    ]
    function = tensorflow.function(
        lambda *tensors: source.call(tensors), input_signature=signature, autograph=False
    )
    try:
        with quiet():
            proto, _ = tf2onnx.convert.from_function(
                function, input_signature=signature, opset=min(request.opset, TF2ONNX_OPSET)
            )
    except Exception as error:  # tf2onnx and TensorFlow raise whatever the graph leads to
        raise ExportError(
            f"{request.source} cannot be exported by tf2onnx: {explain(error)}",
            why="its forward pass must be a TensorFlow graph",
            remedy="replace the layer that the message names",
        ) from error
    return io.from_bytes(proto.SerializeToString(deterministic=True), name=request.source)


def _order(model: ir.Model, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Inputs and outputs in the order of the source: TensorFlow sorts those of a mapping by name."""
    for values, specs in ((model.graph.inputs, inputs), (model.graph.outputs, outputs)):
        by_name = {value.name: value for value in values}
        values[:] = [by_name[spec.name] for spec in specs]


def _refuse_foreign_operators(model: ir.Model, source: str) -> None:
    """TensorFlow operations that tf2onnx could not convert stay in its output under their own names."""
    import onnx

    opset = model.opset_imports[""]
    foreign = sorted(
        {
            f"{node.op_type} (in {node.name})"
            for graph in model.graphs()
            for node in graph
            if not onnx.defs.has(node.op_type, opset, node.domain)
        }
    )
    if foreign:
        raise ExportError(
            f"{source} has {len(foreign)} operators without an ONNX form: {', '.join(foreign[:5])}",
            why="tf2onnx does not know them",
            remedy="replace the layers by ones made of standard operators",
        )


def _lifted(model: ir.Model, request: SourceRequest) -> ir.Model:
    """``model`` in ``request.opset``, without declarations of operator sets that it does not use."""
    used = {node.domain for graph in model.graphs() for node in graph} | {""}
    for domain in list(model.opset_imports):
        if domain not in used:
            del model.opset_imports[domain]
    model.ir_version = max(model.ir_version or 0, IR_VERSION)
    if model.opset_imports[""] < request.opset:
        from onnxscript import version_converter

        with quiet():
            version_converter.convert_version(model, request.opset, fallback=False)
    return model


def _reference(source: _Source, request: SourceRequest) -> FunctionRunner:
    def run(arrays: tuple[Array, ...]) -> dict[str, Array]:
        feeds = {spec.name: array for spec, array in zip(source.inputs, arrays, strict=True)}
        return {name: np.array(value) for name, value in source.call(_tensors(feeds)).items()}

    return FunctionRunner(source.inputs, _outputs(source, run, request), run)


def _outputs(
    source: _Source, run: Callable[[tuple[Array, ...]], dict[str, Array]], request: SourceRequest
) -> tuple[TensorSpec, ...]:
    """Names, types and shapes of the outputs, from two runs in which every dynamic axis differs."""
    small, large = (_probe(source, run, batch, request) for batch in _PROBE_BATCHES)
    batch = next(
        (spec.shape[0] for spec in source.inputs if spec.shape and isinstance(spec.shape[0], str)), None
    )
    specs = []
    for name, first in small.items():
        second = large[name]
        if first.ndim != second.ndim:
            raise ExportError(
                f"output {name!r} of {request.source} changes its rank with the batch size",
                why="an output has one rank",
                remedy="change the model",
            )
        shape = tuple(
            _dim(name, axis, sizes, batch)
            for axis, sizes in enumerate(zip(first.shape, second.shape, strict=True))
        )
        specs.append(TensorSpec(name, first.dtype.name, shape))
    return tuple(specs)


def _dim(name: str, axis: int, sizes: tuple[int, int], batch: Dim) -> Dim:
    if sizes[0] == sizes[1]:
        return sizes[0]
    return batch if sizes == _PROBE_BATCHES and axis == 0 else f"{name}_{axis}"


def _probe(
    source: _Source,
    run: Callable[[tuple[Array, ...]], dict[str, Array]],
    batch: int,
    request: SourceRequest,
) -> dict[str, Array]:
    names = {dim for spec in source.inputs for dim in spec.shape[1:] if isinstance(dim, str)}
    sizes = dict.fromkeys(names, FREE_AXIS if batch == _PROBE_BATCHES[0] else FREE_AXIS * 2)
    feeds = sample(source.inputs, batch=batch, rng=np.random.default_rng(_PROBE_SEED), sizes=sizes)
    try:
        return run(tuple(feeds.values()))
    except InputError:
        raise
    except Exception as error:  # layers may raise anything
        shapes = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in feeds.items())
        raise ExportError(
            f"{request.source} does not run on its declared inputs ({shapes}): {explain(error)}",
            why="a model is run before it is exported",
            remedy="correct names, element types or shapes of the inputs, or the model",
        ) from error


def _not_loaded(path: Path, error: Exception) -> ModelFileError:
    text = explain(error)
    if "safe_mode" in str(error) or "unsafe" in str(error).lower():
        return ModelFileError(
            f"{path.name} would run code on loading: {text}",
            why="it holds Python code (a Lambda layer); edgekit loads with safe_mode=True",
            remedy="replace the Lambda by a layer; or add --trust-source if you made the file yourself",
        )
    return ModelFileError(
        f"{path.name} cannot be loaded: {text}",
        why="it is cut off, of another format, or needs classes that only your code has",
        remedy="load it in a file.py:callable that imports them, and name that as the source",
    )
