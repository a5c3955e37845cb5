"""Gemm, MatMul -> FULLY_CONNECTED, BATCH_MATMUL (tflite/kernels/fully_connected.cc, batch_matmul.cc).

M1 constant matrix on the right: FULLY_CONNECTED with w: (out, in); alpha and beta go into the constants; a
   channels-last flattened input permutes the columns of w instead of the data
M2 otherwise: BATCH_MATMUL, then MUL by alpha and ADD of beta * C
M3 a vector on either side: a matrix with one row or column, and RESHAPE of the result
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.backends.litert.layouts import flat_order
from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.ops import hybrid
from edgekit.backends.litert.ops.conv import bias_of
from edgekit.backends.litert.step import Step, reshape
from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, QuantParams


def lower_gemm(step: Step) -> None:
    """Gemm: alpha * A @ B + beta * C."""
    a, b = step.operand(0), step.operand(1)
    alpha, beta = float(step.attribute("alpha", 1.0)), float(step.attribute("beta", 1.0))
    if b.const is not None and a.const is None and not step.attribute("transA", 0):
        transposed = bool(step.attribute("transB", 0))
        weight = b.const if transposed else b.const.T
        if alpha != 1.0:
            weight = weight.astype(np.float32) * np.float32(alpha)
        if _is_vector_bias(step, weight.shape[0]):
            _fully_connected(step, b, weight, _scaled_bias(step, beta, weight.shape[0]))
            return
    _batch_matmul(step, alpha=alpha, beta=beta)


def lower_matmul(step: Step) -> None:
    """MatMul; input 2 is a fused bias."""
    a, b = step.operand(0), step.operand(1)
    if b.const is not None and b.const.ndim == 2 and a.rank >= 2 and a.const is None:
        _fully_connected(step, b, b.const.T, bias_of(step, b.const.shape[1]))
        return
    _batch_matmul(step, alpha=1.0, beta=1.0)


def _is_vector_bias(step: Step, channels: int) -> bool:
    if not step.has(2):
        return True
    bias = step.operand(2)
    return bias.const is not None and (
        bias.const.size == 1 or bias.const.shape[-1] == bias.const.size == channels
    )


def _scaled_bias(step: Step, beta: float, channels: int) -> int:
    if not step.has(2) or step.unit.is_integer:
        return bias_of(step, channels)
    bias = step.operand(2)
    assert bias.const is not None  # noqa: S101  (_is_vector_bias)
    data = np.broadcast_to(bias.const.reshape(-1).astype(np.float32) * np.float32(beta), (channels,))
    return step.constant(bias.key, data)


def _fully_connected(step: Step, b: Operand, weight: Array, bias: int) -> None:
    """M1. weight: (out, in)."""
    quant = b.quant
    if quant is not None and quant.axis is not None:
        quant = QuantParams(quant.dtype, quant.scale, quant.zero_point, 0)
    layout = step.ports.inputs[0]
    flat = layout.flat if layout is not None else ()
    tensor = step.x(0)
    options: dict[str, Any] = {"keepNumDims": len(step.shape(tensor)) > 2}
    if flat and hybrid.is_blocked(step):  # its blocks would no longer be neighbours
        kernel = step.constant(f"{b.key}/float", hybrid.real(step, weight)[:, flat_order(flat)])
    else:
        ordered = weight[:, flat_order(flat)] if flat else weight
        kernel = hybrid.weight_tensor(step, b.key, ordered, quant)
        options |= hybrid.options(step)
    # fully_connected.cc does not clamp the sums of int4 blocks (ai-edge-litert 2.3.0; XNNPACK does)
    step.result("FULLY_CONNECTED", [tensor, kernel, bias], options=options, fuses=not hybrid.is_blocked(step))


def _batch_matmul(step: Step, *, alpha: float, beta: float) -> None:
    """M2, M3."""
    a, b = step.operand(0), step.operand(1)
    left, right = _matrix(step, 0, row=True), _matrix(step, 1, row=False)
    adjoint = {"adjX": bool(step.attribute("transA", 0)), "adjY": bool(step.attribute("transB", 0))}
    stored: Shape = step.out.shape
    product: Shape = stored
    if b.rank == 1:
        product = (*product, 1)
    if a.rank == 1:
        product = (*product[:-1], 1, product[-1])
    if alpha == 1.0 and not step.has(2):
        step.result("BATCH_MATMUL", [left, right], options=adjoint, shape=product)
        return
    tensor = step.emit("BATCH_MATMUL", [left, right], product, options=adjoint)
    if product != stored:
        tensor = reshape(step.builder, tensor, stored)
    if alpha != 1.0:
        factor = step.constant("alpha", np.asarray([alpha], np.float32))
        if not step.has(2):
            step.result("MUL", [tensor, factor])
            return
        tensor = step.emit("MUL", [tensor, factor], stored)
    addend = step.broadcast(2)
    if beta != 1.0:
        factor = step.constant("beta", np.asarray([beta], np.float32))
        addend = step.emit("MUL", [addend, factor], step.shape(addend))
    step.result("ADD", [tensor, addend])


def _matrix(step: Step, index: int, *, row: bool) -> int:
    """Operand ``index`` as a matrix: M3."""
    operand = step.operand(index)
    if operand.const is not None:
        data = operand.const
        if data.ndim == 1:
            data = data[None, :] if row else data[:, None]
        return step.constant(operand.key, data, quant=operand.quant)
    tensor = step.x(index)
    if operand.rank > 1:
        return tensor
    size = operand.shape[0]
    return reshape(step.builder, tensor, (1, size) if row else (size, 1))


LOWERINGS = {"Gemm": lower_gemm, "MatMul": lower_matmul}
