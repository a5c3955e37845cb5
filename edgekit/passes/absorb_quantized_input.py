"""QDQ form with embedded bytes -> the bytes are the integers: quantizing the input costs nothing at run time.

    x uint8 -> Cast -> Sub(m) -> Mul(a) -> QuantizeLinear(s, z) -> DequantizeLinear(s, z) -> Conv
    becomes   x uint8 -> DequantizeLinear(s, z) -> Conv

A1: s = a, and z is m rounded: (x - m) * a = s * (x - z) + s * (z - m), and QuantizeLinear gives x back.
A2: z = m: exact, bit for bit.
A3: z - m is at most half a step (a mean of 127.5): the rest s * (z - m) is one number for all pixels and goes
    into the bias of the one Conv or Gemm that reads the value, in its own integers. Exact but for the bias's
    rounding, and but for padding: each padded pixel is wrong by z - m. (Rounded as before, every pixel was.)
A4: the model's own Transpose behind the arithmetic (a channels-last model) moves the bytes instead.
A5: otherwise (channels with means or scales of their own) the arithmetic stays, in float.

Source: ONNX QuantizeLinear-21. TFLite's published uint8 models take bytes so (scale 1/128, zero point 128).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as ir_passes

from edgekit.ir.graph import add_initializer, constant, free_name, is_onnx, sole_reader
from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import PREFIX
from edgekit.spec import Array

SAME_SCALE = 1e-6  # relative: two float32 that went through one division
EXACT = 1e-3  # of a step: below it z is m
HALF = 0.5 + EXACT


@dataclass(frozen=True)
class AbsorbQuantizedInput(Pass):
    """Let bytes be integers wherever A1 holds."""

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    def apply(self, model: ir.Model) -> ir.Model:
        """Rewrite each QuantizeLinear behind embedded arithmetic."""
        changed = False
        for node in tuple(model.graph):
            changed |= is_onnx(node, "QuantizeLinear") and _absorb(model.graph, node)
        if changed:
            ir_passes.RemoveUnusedNodesPass()(model)
        return model


def _absorb(graph: ir.Graph, quantize: ir.Node) -> bool:
    found = _origin(quantize.inputs[0])
    scale, zero = constant(quantize.inputs[1]), constant(quantize.inputs[2])
    if found is None or scale is None or zero is None or scale.size != 1 or zero.dtype != np.uint8:
        return False
    raw, mean, factor, turn = found
    if abs(float(scale.reshape(())) - factor) > SAME_SCALE * factor:
        return False
    rest = float(zero.reshape(())) - mean
    if abs(rest) > HALF:
        return False
    if abs(rest) > EXACT and not _into_bias(graph, quantize, rest):  # A3
        return False
    quantize.outputs[0].replace_all_uses_with(raw if turn is None else _turned(graph, raw, turn))
    return True


def _turned(graph: ir.Graph, raw: ir.Value, turn: ir.Node) -> ir.Value:
    """A4: ``turn`` of the bytes."""
    perm = list(turn.attributes["perm"].as_ints())
    node = ir.node("Transpose", [raw], attributes={"perm": perm}, name=f"{PREFIX}{turn.name}")
    result = node.outputs[0]
    result.name = free_name(graph, f"{turn.outputs[0].name}_bytes")
    result.shape, result.type = turn.outputs[0].shape, ir.TensorType(ir.DataType.UINT8)
    graph.insert_after(turn, node)
    return result


def _origin(value: ir.Value | None) -> tuple[ir.Value, float, float, ir.Node | None] | None:
    """The bytes behind embedded arithmetic, mean, factor, and what turns it; None for anything else."""
    mean, factor = 0.0, 1.0
    last = value.producer() if value is not None else None
    own = last is not None and is_onnx(last, "Transpose") and not (last.name or "").startswith(PREFIX)
    turn = last if own else None
    value = turn.inputs[0] if turn is not None else value
    while value is not None:
        node = value.producer()
        if node is None or not (node.name or "").startswith(PREFIX):
            return None
        if is_onnx(node, "Cast"):
            source = node.inputs[0]
            bytes_ = source is not None and source.dtype == ir.DataType.UINT8
            return (source, mean, factor, turn) if source is not None and bytes_ else None
        number = constant(node.inputs[1]) if is_onnx(node, "Sub", "Mul") else None
        if number is None or number.size != 1:  # A5
            return None
        if node.op_type == "Mul":
            factor = float(number.reshape(()))
        else:
            mean = float(number.reshape(()))
        value = node.inputs[0]
    return None


def _into_bias(graph: ir.Graph, quantize: ir.Node, rest: float) -> bool:
    """A3; False where the operator has no bias in integers."""
    dequantize = sole_reader(quantize.outputs[0])
    head = sole_reader(dequantize.outputs[0]) if dequantize is not None else None
    if head is None or not is_onnx(head, "Conv", "Gemm") or len(head.inputs) < 3:
        return False
    weight, bias = (_integers(head.inputs[index]) for index in (1, 2))
    if weight is None or bias is None or head.inputs[2] is None:
        return False
    sums = weight.reshape(len(weight), -1).sum(axis=1)  # (out, in, *kernel)
    moved = bias + np.rint(rest * sums)
    holder = head.inputs[2].producer()
    if holder is None or holder.inputs[0] is None or np.abs(moved).max(initial=0) > np.iinfo(np.int32).max:
        return False
    old = holder.inputs[0]
    held = add_initializer(graph, f"{PREFIX}{old.name}", moved.astype(np.int32))
    holder.replace_input_with(0, held)
    if not old.uses() and old.name and old.name in graph.initializers:
        del graph.initializers[old.name]
    return True


def _integers(value: ir.Value | None) -> Array | None:
    """What a DequantizeLinear of a constant reads, less its zero point, as int64; None for anything else."""
    node = value.producer() if value is not None else None
    if node is None or not is_onnx(node, "DequantizeLinear"):
        return None
    stored = constant(node.inputs[0])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if stored is None or (zero is not None and zero.size != 1 and np.any(zero != zero.reshape(-1)[0])):
        return None
    offset = 0 if zero is None else int(zero.reshape(-1)[0])
    return stored.astype(np.int64) - offset
