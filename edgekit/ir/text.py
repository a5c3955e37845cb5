"""Model -> canonical text: one line per input, weight, node and output; the form of the golden tests.

    graph digits opset=21
    in   image: float32[batch,1,28,28]
    w    conv.w: float32[8,1,3,3] sha=0f3a12bc
    node conv: Conv(image, conv.w) {pads=[1, 1, 1, 1]} -> y: float32[batch,8,28,28]
    out  y

Weights are written as shape and the first eight digits of their hash; small integer tensors (shapes, axes)
are written out. Nodes come in the graph's order, weights sorted by name.

Source: after the printer of onnx (onnx.printer.to_text) and MLIR's elided constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from edgekit.ir.digest import digest_of_tensor
from edgekit.ir.io import dims, dtype_name

INLINE_ELEMENTS = 8  # shapes and axes have at most as many; larger tensors are named by their hash


def text(model: ir.Model) -> str:
    """The whole model; ends with a newline."""
    opsets = " ".join(
        f"{domain or 'opset'}={version}" for domain, version in sorted(model.opset_imports.items())
    )
    lines = [f"graph {model.graph.name or '?'} {opsets}", *_graph_lines(model.graph)]
    for key, function in sorted(model.functions.items()):
        lines.append(f"function {'::'.join(part for part in key if part)}")
        lines.extend(_node_line(node) for node in function)
    return "\n".join(lines) + "\n"


def node_text(node: ir.Node) -> str:
    """One node as it stands in ``text``, without its leading word."""
    inputs = ", ".join("-" if value is None else value.name or "?" for value in node.inputs)
    outputs = ", ".join(value_text(value) for value in node.outputs)
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    attributes = _attributes_text(node.attributes.values())
    return f"{node.name or '?'}: {operator}({inputs}){attributes} -> {outputs}"


def value_text(value: ir.Value) -> str:
    """``name: float32[batch,3]``; a question mark for what is not known."""
    return f"{value.name or '?'}: {_type_text(value)}"


def _graph_lines(graph: ir.Graph) -> Iterator[str]:
    for value in graph.inputs:
        yield f"in   {value_text(value)}"
    for name, value in sorted(graph.initializers.items()):
        yield f"w    {name}: {_type_text(value)} {_tensor_text(value.const_value)}"
    for node in graph:
        yield _node_line(node)
    for value in graph.outputs:
        yield f"out  {value.name}"


def _node_line(node: ir.Node) -> str:
    return f"node {node_text(node)}"


def _type_text(value: ir.Value) -> str:
    dtype = dtype_name(value.dtype) if value.dtype else "?"
    if value.shape is None:
        return f"{dtype}[?]"
    return f"{dtype}[{','.join('?' if d is None else str(d) for d in dims(value.shape))}]"


def _tensor_text(tensor: ir.TensorProtocol | None) -> str:
    if tensor is None:
        return "missing"
    array = tensor.numpy()
    if array.size <= INLINE_ELEMENTS and np.issubdtype(array.dtype, np.integer):
        return f"= {array.tolist()}"
    return f"sha={digest_of_tensor(tensor)[:8]}"


def _attributes_text(attributes: Iterable[ir.Attr]) -> str:
    parts = [f"{attr.name}={_attribute_text(attr)}" for attr in sorted(attributes, key=lambda a: a.name)]
    return f" {{{', '.join(parts)}}}" if parts else ""


def _attribute_text(attribute: ir.Attr) -> str:
    kind = attribute.type
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    if kind == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"{dtype_name(tensor.dtype)}{tensor.numpy().shape} {_tensor_text(tensor)}"
    if kind == ir.AttributeType.GRAPH:
        return f"<graph of {len(attribute.as_graph())} nodes>"
    if kind == ir.AttributeType.FLOAT:
        return f"{attribute.as_float():.9g}"
    if kind == ir.AttributeType.STRING:
        return repr(attribute.as_string())
    if kind == ir.AttributeType.INTS:
        return str(list(attribute.as_ints()))
    return str(attribute.value)
