"""keras.Model x smaller arrays for its weights -> a smaller keras.Model of the same layers, to be trained on.

    Conv2D(filters=16), kernel (3, 3, 3, 16) -> (3, 3, 3, 8): a new layer from its config with filters=8

C1: the model is cloned from its configuration (names, regularizers, constraints, trainable), with the numbers
    of its layers that the arrays decide (``_SIZES``) changed; then the arrays are set.
C2: a layer that has no bias, and gets one, is built with ``use_bias``.
C3: a Reshape that only adds axes (``keras_apart_rows``, R3) takes what is left.
C4: the model that is given is left alone. The new one is not compiled: its optimizer's state would be of
    other weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.errors import InputError
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
    keras = import_extra("keras", needed_for="pruning a Keras model")
    made: dict[int, Any] = {}

    def clone(layer: Any) -> Any:
        new = type(layer).from_config(_config(layer, arrays.get(id(layer), {}), groups.get(id(layer), 0)))
        made[id(layer)] = new
        return new

    with quiet():
        result = keras.models.clone_model(model, clone_function=clone, recursive=True)
        if not result.built:
            result.build(model.input_shape)
    for number, own in arrays.items():
        _set(made[number], own)
    return result


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
            raise InputError(
                f"{name} of {type(layer).__name__} {layer.name!r} is {tuple(variable.shape)} in the smaller "
                f"model, and should be {array.shape}",
                why="a size in the model's configuration does not follow its channels",
                remedy="export the model and prune the file: `edgekit prune model.onnx ...`",
                more="docs/pruning.md",
            )
        variable.assign(np.asarray(array, np.float32))
