"""Forward pass in TensorFlow -> float ONNX model, by tf2onnx, beside itself as the reference.

    call --tf.function--> concrete function --tf2onnx--> opset 18 --> ``request.opset``

Called directly rather than through ``Model.export(format="onnx")``: that needs a model that was called
before, and leaves the names of outputs to TensorFlow. What tf2onnx names by counters of the process is named
anew (``stable_names``), so that the same source gives the same bytes.

Source: tf2onnx/convert.py (from_function); keras/src/export/onnx.py, which does the same with other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.errors import ExportError, InputError
from edgekit.frontends import keras_tf_operators
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_recurrent import single_operators
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.samples import FREE_AXIS, sample
from edgekit.frontends.shapes import set_input_shapes
from edgekit.frontends.stable_names import with_stable_names
from edgekit.ir import io
from edgekit.spec import Array, Dim, TensorSpec

TF2ONNX_OPSET = 18  # the newest that tf2onnx 1.17 writes
IR_VERSION = 10  # of opset 21, onnx/docs/Versioning.md; tf2onnx writes 8
PROBE_SEED = 0
_PROBE_BATCHES = (1, 3)


@dataclass(frozen=True)
class Forward:
    """A forward pass in TensorFlow.

    Attributes:
        inputs: in the order in which ``call`` takes tensors.
        call: tensors -> tensors by output name.
        keep: what must live as long as ``call`` (variables are held weakly by graphs).
    """

    inputs: tuple[TensorSpec, ...]
    call: Callable[[tuple[Any, ...]], dict[str, Any]]
    keep: object


def tensors_of(feeds: Mapping[str, Array]) -> tuple[Any, ...]:
    """The arrays as tensors, in their order."""
    tensorflow = import_extra("tensorflow", needed_for="a Keras source")
    return tuple(tensorflow.constant(array) for array in feeds.values())


def export(source: Forward, request: SourceRequest) -> Loaded:
    """Trace, convert, name anew, lift.

    Raises:
        ExportError: it does not run on its inputs, or has operators without an ONNX form.
        MissingBackendError: tensorflow or tf2onnx is not installed.
    """
    runner = reference(source, request)
    model = _converted(source, request)
    _refuse_foreign_operators(model, request.source)
    _order(model, source.inputs, runner.outputs)
    model = with_stable_names(model)
    ir_passes.ClearMetadataAndDocStringPass()(model)
    model = set_input_shapes(model, source.inputs)
    by_name = {spec.name: spec for spec in runner.outputs}
    for value in model.graph.outputs:
        value.shape = ir.Shape(by_name[value.name or ""].shape)
    return Loaded(_lifted(model, request), runner, "keras")


def _converted(source: Forward, request: SourceRequest) -> ir.Model:
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
        with quiet(), single_operators() as recurrent:
            proto, _ = tf2onnx.convert.from_function(
                function,
                input_signature=signature,
                opset=min(request.opset, TF2ONNX_OPSET),
                custom_op_handlers={**recurrent, **keras_tf_operators.handlers()},
            )
    except Exception as error:  # tf2onnx and TensorFlow raise whatever the graph leads to
        raise ExportError(
            f"{request.source} cannot be exported by tf2onnx: {explain(error)}",
            why="its forward pass must be a TensorFlow graph",
            remedy="replace the layer that the message names",
        ) from error
    model = io.from_bytes(proto.SerializeToString(deterministic=True), name=request.source)
    _bind_captured(model, function, {spec.name for spec in source.inputs})
    return model


def _bind_captured(model: ir.Model, function: Any, inputs: set[str]) -> None:
    """Give tensors that the function captured their values.

    What a layer holds as an eager tensor and not as a variable (the mean of a Normalization) is an input of
    the TensorFlow graph; tf2onnx 1.17 lists it as an input of the model.
    """
    strangers = [value for value in model.graph.inputs if value.name not in inputs]
    if not strangers:
        return
    captured = {inner.name: outer for outer, inner in function.get_concrete_function().graph.captures}
    for value in strangers:
        if value.name in captured:
            model.graph.inputs.remove(value)
            value.const_value = ir.tensor(captured[value.name].numpy(), name=value.name)
            model.graph.register_initializer(value)


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


def reference(source: Forward, request: SourceRequest) -> FunctionRunner:
    """The forward pass as a Runner; ExportError where it does not run on its inputs."""

    def run(arrays: tuple[Array, ...]) -> dict[str, Array]:
        feeds = {spec.name: array for spec, array in zip(source.inputs, arrays, strict=True)}
        return {name: np.array(value) for name, value in source.call(tensors_of(feeds)).items()}

    return FunctionRunner(source.inputs, _outputs(source, run, request), run)


def _outputs(
    source: Forward, run: Callable[[tuple[Array, ...]], dict[str, Array]], request: SourceRequest
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
    source: Forward,
    run: Callable[[tuple[Array, ...]], dict[str, Array]],
    batch: int,
    request: SourceRequest,
) -> dict[str, Array]:
    names = {dim for spec in source.inputs for dim in spec.shape[1:] if isinstance(dim, str)}
    sizes = dict.fromkeys(names, FREE_AXIS if batch == _PROBE_BATCHES[0] else FREE_AXIS * 2)
    feeds = sample(source.inputs, batch=batch, rng=np.random.default_rng(PROBE_SEED), sizes=sizes)
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
