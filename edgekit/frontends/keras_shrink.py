"""keras.Model x smaller arrays for its weights -> a smaller keras.Model of the same layers, to be trained on.

    Conv2D(filters=16), kernel (3, 3, 3, 16) -> (3, 3, 3, 8): a new layer from its config with filters=8

C1: its layers are made anew from their configuration (names, regularizers, constraints, trainable), with the
    numbers that the arrays decide (``_SIZES``), and called as the old ones were; then the arrays are set.
C2: a layer that has no bias, and gets one, is built with ``use_bias``.
C3: a Reshape that only adds axes (``keras_apart_rows``, R3) takes what is left.
C4: the model that is given is left alone. The new one is not compiled: its optimizer's state would be of
    other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgekit.errors import InputError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.keras_apart_rows import is_change_of_axes
from edgekit.frontends.quiet import quiet
from edgekit.spec import Array

# Class -> (key of its configuration, weight, axis)
_SIZES: Mapping[str, tuple[tuple[str, str, int], ...]] = {
    **dict.fromkeys(("Conv1D", "Conv2D"), (("filters", "kernel", -1),)),
    "Conv2DTranspose": (("filters", "kernel", -2),),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (("depth_multiplier", "kernel", -1),)),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"),
        (("filters", "pointwise_kernel", -1), ("depth_multiplier", "depthwise_kernel", -1)),
    ),
    "Dense": (("units", "kernel", -1),),
    "Embedding": (("input_dim", "embeddings", 0), ("output_dim", "embeddings", 1)),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization", "PReLU"), ()),
}

Weights = Mapping[int, Mapping[str, Array]]  # id of a layer -> weight's name -> array


def shrunk(model: Any, arrays: Weights, *, groups: Mapping[int, int]) -> Any:
    """A new model with other weights (C1 to C4).

    Args:
        model: functional or sequential.
        arrays: all weights of all layers that have some.
        groups: of convolutions, by the layer's id.

    Raises:
        InputError: a layer does not take its arrays.
    """
    made: dict[int, Any] = {}

    def clone(layer: Any) -> Any:
        made[id(layer)] = type(layer).from_config(
            _config(layer, arrays.get(id(layer), {}), groups.get(id(layer), 0))
        )
        return made[id(layer)]

    try:
        with quiet():
            result = _cloned(model, [tuple(each.shape) for each in model.inputs], clone)
    except Exception as error:  # layers raise whatever does not fit them
        raise _does_not_follow(f"the smaller model cannot be built: {explain(error)}") from error
    for number, own in arrays.items():
        _set(made[number], own)
    return result


def _cloned(model: Any, shapes: list[tuple[int | None, ...]], clone: Callable[[Any], Any]) -> Any:
    """``model`` of new layers, on inputs of ``shapes``: those of a nested model follow what it is given."""
    keras = import_extra("keras", needed_for="pruning a Keras model")
    inputs = [
        keras.Input(batch_shape=shape, dtype=each.dtype, name=each.name)
        for shape, each in zip(shapes, model.inputs, strict=True)
    ]
    if type(model) is keras.Sequential:
        layers, shape = [], shapes[0]
        for layer in model.layers:
            new = _cloned(layer, [shape], clone) if isinstance(layer, keras.Model) else clone(layer)
            shape = tuple(new.compute_output_shape(shape))
            layers.append(new)
        return keras.Sequential([inputs[0], *layers], name=model.name)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            given = keras.tree.flatten(args)
            layer = _cloned(layer, [tuple(each.shape) for each in given], clone)
        return layer(*args, **kwargs)

    outputs = model._run_through_graph(
        inputs,
        operation_fn=lambda layer: layer if isinstance(layer, keras.Model) else clone(layer),
        call_fn=call,
    )
    return type(model)(keras.tree.pack_sequence_as(model.input, inputs), outputs, name=model.name)


def _config(layer: Any, own: Mapping[str, Array], groups: int) -> dict[str, Any]:
    """C1 to C3."""
    config = dict(layer.get_config())
    kind = type(layer).__name__
    for key, weight, axis in _SIZES.get(kind, ()):
        config[key] = int(own[weight].shape[axis])
    if groups and "groups" in config:
        config["groups"] = groups
    if "bias" in own:
        config["use_bias"] = True
    if kind == "Reshape" and is_change_of_axes(layer, 2):
        config["target_shape"] = (*config["target_shape"][:-1], -1)
    return config


def _set(layer: Any, own: Mapping[str, Array]) -> None:
    for name, array in own.items():
        variable = getattr(layer, name)
        if tuple(variable.shape) != array.shape:
            raise _does_not_follow(
                f"{name} of {type(layer).__name__} {layer.name!r} is {tuple(variable.shape)} in the smaller "
                f"model, and should be {array.shape}"
            )
        variable.assign(np.asarray(array, np.float32))


def _does_not_follow(what: str) -> InputError:
    return InputError(
        what,
        why="a size in the model's configuration does not follow its channels",
        remedy="export the model and prune the file: `edgekit prune model.onnx ...`",
        more="docs/pruning.md",
    )
