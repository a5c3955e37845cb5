"""TensorFlow operations that tf2onnx does not know -> ONNX nodes.

    Erfc(x) = 1 - Erf(x);  Erfc((-x) c) = 1 + Erf(x c), the form in which runtimes recognize a GELU

TensorFlow 2.21 writes the exact GELU with Erfc (tensorflow/python/ops/nn_ops.py); tf2onnx 1.17 knows Erf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Handlers = dict[str, tuple[Callable[..., None], list[Any]]]


def handlers() -> Handlers:
    """By TensorFlow operation, as tf2onnx takes them (``custom_op_handlers``)."""
    return {"Erfc": (_erfc, [])}


def _erfc(graph: Any, node: Any, name: str, _: list[Any]) -> None:
    """In ``graph`` (tf2onnx.graph.Graph), in place of ``node``."""
    from tf2onnx import utils

    shapes, dtypes = [graph.get_shape(node.output[0])], [graph.get_dtype(node.output[0])]
    (output,) = node.output
    one = graph.make_const(
        utils.make_name(f"{name}_one"), np.array(1, utils.map_onnx_to_numpy_type(dtypes[0]))
    )
    known = {"shapes": shapes, "dtypes": dtypes}
    scaled = node.inputs[0]
    graph.remove_node(name)
    if scaled.type == "Mul" and scaled.inputs[0].type == "Neg":
        inside = graph.make_node("Mul", [scaled.inputs[0].input[0], scaled.input[1]], **known)
        erf = graph.make_node("Erf", [inside.output[0]], **known)
        graph.make_node("Add", [erf.output[0], one.output[0]], outputs=[output], name=name, **known)
        return
    erf = graph.make_node("Erf", [scaled.output[0]], **known)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=[output], name=name, **known)
