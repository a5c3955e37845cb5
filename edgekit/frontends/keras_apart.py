"""keras.Model -> float ONNX in which every layer has its own constants, by the layer's name.

    Conv2D "stem", kernel (3, 3, 3, 16)  ->  Conv with initializer "stem/kernel" (16, 3, 3, 3)

The front end proper (``keras_export``) goes through TensorFlow and tf2onnx, which fold layers into each
other: right for compiling, but nobody could say any more whose weight is whose. For pruning a live model the
graph of layers is walked, and each is written by its row (``keras_apart_rows``).

A1: functional and sequential models, nested ones too. What has no row is refused with its name: a Lambda, a
    layer of one's own, recurrent layers.
A2: a layer with weights is called once: two calls would be two layers in the graph, and one in the model.
A3: images stay channels-first between layers that want them so; a Transpose stands only where the order of
    elements matters (inputs, outputs, Flatten, Dense of an image).
A4: whoever calls this holds the graph against the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_apart_rows import write
from edgekit.frontends.keras_writer import Held, Origin, Writer, refused
from edgekit.frontends.request import OPSET
from edgekit.spec import TensorSpec

IR_VERSION = 10  # of opset 21, onnx/docs/Versioning.md


@dataclass(frozen=True, eq=False)
class Apart:
    """A model in ONNX, and whose each constant is.

    Attributes:
        model: with the names of the Keras model's inputs and outputs.
        known: initializer -> its origin; None = made up here, follows without being written back.
        layers: every layer with weights that was written -> its name in messages.
    """

    model: ir.Model
    known: Mapping[str, Origin | None]
    layers: Mapping[int, str]


def apart(model: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[str, ...]) -> Apart:
    """A1 to A3.

    Args:
        model: a built keras.Model.
        inputs: in its order.
        outputs: names, in its order.

    Raises:
        InputError: a layer has no row, is called twice, or the model is a class of its own.
        MissingBackendError: Keras is not installed.
    """
    _refuse_own_class(model)
    values = [
        ir.Value(
            name=spec.name,
            shape=ir.Shape(spec.shape),
            type=ir.TensorType(ir.DataType.from_numpy(np.dtype(spec.dtype))),
        )
        for spec in inputs
    ]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": OPSET}, name=str(model.name))
    writer = Writer(graph)
    held = [Held(value, tuple(each.shape)) for value, each in zip(values, model.inputs, strict=True)]
    for name, found in zip(outputs, _run(model, held, writer), strict=True):
        last = writer.as_last(found)
        out = writer.node("Identity", [last.value], name=f"{name}/output")
        out.name, out.type = name, ir.TensorType(ir.DataType.FLOAT)
        out.shape = ir.Shape([values[0].shape[0] if values[0].shape else None, *last.shape[1:]])
        graph.outputs.append(out)
    return Apart(ir.Model(graph, ir_version=IR_VERSION), writer.known, writer.layers)


def _run(model: Any, inputs: list[Held], writer: Writer) -> list[Held]:
    """The outputs of a model, nested or not."""
    keras = import_extra("keras", needed_for="pruning a Keras model")
    if type(model) is keras.Sequential:
        found = inputs[0]
        for layer in model.layers:
            found = _one(_call(layer, writer)(found))
        return [found]
    _refuse_own_class(model)
    found = model._run_through_graph(inputs, operation_fn=lambda layer: _call(layer, writer))
    return list(keras.tree.flatten(found))


def _refuse_own_class(model: Any) -> None:
    """A model is its graph of layers: keras.Sequential, or what keras.Model(inputs, outputs) gives."""
    kind = type(model)
    if kind.__name__ not in {"Functional", "Sequential"} or not kind.__module__.startswith("keras."):
        raise refused(
            model, "it is a class with a forward pass of its own, which nobody can read layer by layer"
        )
    if not model.built:
        raise refused(model, "it was never built: nobody knows its inputs")


def _call(layer: Any, writer: Writer) -> Callable[..., Any]:
    """What stands for the layer while the graph is walked."""
    keras = import_extra("keras", needed_for="pruning a Keras model")

    def call(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(each, Held) for each in keras.tree.flatten(kwargs)):
            raise refused(layer, "it is given tensors by keyword")
        if isinstance(layer, keras.Model):
            writer.prefix = (*writer.prefix, str(layer.name))
            found = _run(layer, list(keras.tree.flatten(args)), writer)
            writer.prefix = writer.prefix[:-1]
            return found[0] if len(found) == 1 else found
        if getattr(layer, "weights", None):
            if id(layer) in writer.layers:  # A2
                raise refused(
                    layer, "it is called more than once, and its weights would have to be two things"
                )
            writer.layers[id(layer)] = writer.name_of(layer)
        return write(layer, args, writer)

    return call


def _one(found: Any) -> Held:
    assert isinstance(found, Held)  # noqa: S101  layers of a Sequential give one tensor
    return found
