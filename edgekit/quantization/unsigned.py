"""Signed 8-bit activations -> unsigned ones with zero point + 128: the same numbers, another kernel.

    real = scale * (s8 - z) = scale * ((s8 + 128) - (z + 128)) = scale * (u8 - (z + 128))

ONNX Runtime's and OpenVINO's CPU kernels multiply u8 activations with s8 weights (VNNI's vpdpbusd); signed
asymmetric activations run slower on the one, and fail to compile on the other under its bf16 hint (OpenVINO
2026.4.1, "No suitable implementations"). A source that comes quantized by TFLite's rules has them everywhere.

U1 a QuantizeLinear with an int8 zero point of which only DequantizeLinear nodes read: shifted, all of them
U2 an integer input or output of the model, or integers that an operator reads as they are: left alone
U3 weights (constants): left alone; s8 is what the kernels want
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import add_initializer, constant, is_onnx

SHIFT = 128


def with_unsigned_activations(model: ir.Model) -> ir.Model:
    """A new model; ``model`` is untouched."""
    model = model.clone()
    for node in tuple(model.graph):
        if is_onnx(node, "QuantizeLinear"):
            _shift(node, model.graph)
    return model


def _shift(quantizer: ir.Node, graph: ir.Graph) -> None:
    integers = quantizer.outputs[0]
    zero = constant(quantizer.inputs[2]) if len(quantizer.inputs) > 2 else None
    readers = [use.node for use in integers.uses()]
    if zero is None or zero.dtype != np.int8 or integers.is_graph_output():
        return
    if not all(is_onnx(reader, "DequantizeLinear") for reader in readers):
        return  # U2
    if any(_other_zero_point(reader, zero) for reader in readers):
        return  # the pair says two things; the rule table has the word on it
    shifted = (zero.astype(np.int16) + SHIFT).astype(np.uint8)
    value = add_initializer(graph, f"{integers.name}_unsigned_zero_point", shifted)
    for node in (quantizer, *readers):
        node.replace_input_with(2, value)
    quantizer.attributes.pop("output_dtype", None)
    integers.type = ir.TensorType(ir.DataType.UINT8)


def _other_zero_point(reader: ir.Node, zero: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    known = constant(reader.inputs[2]) if len(reader.inputs) > 2 else None
    return known is None or not np.array_equal(known, zero)
