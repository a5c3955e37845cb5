"""Nodes of a kernel -> the node and the input where its bias stands.

Conv, Gemm       input 2, which need not be there
MatMul + Add     the operand of the Add that is not the product
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.ir.graph import is_onnx


def bias_place(nodes: Sequence[ir.Node]) -> tuple[ir.Node, int]:
    """Where the kernel on ``nodes``, the head first, reads its bias."""
    head = nodes[0]
    if len(nodes) > 1 and is_onnx(head, "MatMul") and is_onnx(nodes[1], "Add"):
        return nodes[1], 1 if nodes[1].inputs[0] is head.outputs[0] else 0
    return head, 2


def bias_value(nodes: Sequence[ir.Node]) -> ir.Value | None:
    """The bias itself, or None where the kernel has none."""
    node, index = bias_place(nodes)
    return node.inputs[index] if len(node.inputs) > index else None
