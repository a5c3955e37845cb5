"""Activations of Keras, by name or as layers -> ONNX nodes.

activated(layer, held): what ``layer.activation`` does behind the layer
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.frontends.keras_writer import Held, Row, Writer, refused

_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "mish": ("Mish", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),  # keras.activations.leaky_relu's own slope
}


def activated(layer: Any, held: Held, writer: Writer) -> Held:
    """``layer.activation`` behind the layer; a layer may stand there, too."""
    function = getattr(layer, "activation", None)
    if function is None:
        return held
    name = str(getattr(function, "__name__", ""))
    if not name and type(function).__name__ in ROWS:
        return ROWS[type(function).__name__](function, [held], writer)
    return by_name(layer, name, held, writer)


def by_name(layer: Any, name: str, held: Held, writer: Writer) -> Held:
    """The activation ``name`` of Keras."""
    own = f"{writer.name_of(layer)}/{name}"
    if name == "linear":
        return held
    if name == "softmax":
        axis = 1 if held.first else held.rank - 1
        return replace(held, value=writer.node("Softmax", [held.value], name=own, axis=axis))
    if name in {"silu", "swish"}:
        gate = writer.node("Sigmoid", [held.value], name=f"{own}/gate")
        return replace(held, value=writer.node("Mul", [held.value, gate], name=own))
    if name == "relu6":
        return _clipped(layer, held, writer, 6.0)
    if name not in _NAMED:
        raise refused(layer, f"its activation {name or layer.activation!r} is not one of Keras's own")
    operator, attributes = _NAMED[name]
    return replace(held, value=writer.node(operator, [held.value], name=own, **attributes))


def _clipped(layer: Any, held: Held, writer: Writer, largest: float) -> Held:
    own = writer.name_of(layer)
    ends: list[ir.Value | None] = [
        writer.numbers(f"{own}/{name}", np.array(end, np.float32))
        for name, end in (("low", 0), ("high", largest))
    ]
    return replace(held, value=writer.node("Clip", [held.value, *ends], name=f"{own}/clip"))


def _activation(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    return activated(layer, inputs[0], writer)


def _relu(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    slope, largest = float(layer.negative_slope or 0), layer.max_value
    if layer.threshold:
        raise refused(layer, "its threshold is not zero")
    if largest is not None:
        if slope:
            raise refused(layer, "it has a slope and an end")
        return _clipped(layer, inputs[0], writer, float(largest))
    return _sloped(layer, inputs[0], writer, slope) if slope else by_name(layer, "relu", inputs[0], writer)


def _leaky(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    return _sloped(layer, inputs[0], writer, float(layer.negative_slope))


def _sloped(layer: Any, held: Held, writer: Writer, slope: float) -> Held:
    value = writer.node("LeakyRelu", [held.value], name=f"{writer.name_of(layer)}/leaky", alpha=slope)
    return replace(held, value=value)


def _prelu(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    """alpha: (*axes, channels) -> (channels, *axes); only slopes that all places share can follow."""
    held = writer.as_first(inputs[0])
    alpha = writer.weight(
        layer, "alpha", lambda a: np.moveaxis(a, -1, 0), lambda a, _: np.asarray(np.moveaxis(a, 0, -1))
    )
    return replace(held, value=writer.node("PRelu", [held.value, alpha], name=writer.name_of(layer)))


def _softmax(layer: Any, inputs: list[Held], writer: Writer) -> Held:
    if layer.axis not in {-1, inputs[0].rank - 1}:
        raise refused(layer, "its axis is not the last one")
    return by_name(layer, "softmax", inputs[0], writer)


def _named(name: str) -> Row:
    return lambda layer, inputs, writer: by_name(layer, name, inputs[0], writer)


ROWS: dict[str, Row] = {
    "PReLU": _prelu,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky,
    "ELU": lambda layer, inputs, writer: replace(
        inputs[0],
        value=writer.node("Elu", [inputs[0].value], name=writer.name_of(layer), alpha=float(layer.alpha)),
    ),
    "Softmax": _softmax,
    # ``keras.ops.relu(x)``: an operation without weights
    "Relu": _named("relu"),
    "Relu6": _named("relu6"),
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
    "Silu": _named("silu"),
}
