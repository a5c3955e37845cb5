"""Model -> SHA-256 of what it computes and what its values are called.

    digest = sha256(opsets, inputs, outputs, initializers by name, nodes in order, functions)

Doc strings, metadata, producer, IR version, the order of initializers and of attributes, and shapes of
values between nodes do not count: two files that differ only there are the same model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import onnx_ir as ir

from edgekit.ir.external_data import buffer_of
from edgekit.ir.io import dims

_KEPT = "edgekit.digest"


def digest(model: ir.Model) -> str:
    """Hex digest of the content; stable between processes, platforms and versions of onnx_ir."""
    return digest_of_json(_document(model, digest_of_tensor))


def equal(first: ir.Model, second: ir.Model) -> bool:
    """Whether the digests are equal; nothing is hashed where both hold the very same tensors."""
    return _document(first, id) == _document(second, id) or digest(first) == digest(second)


TensorName = Callable[[ir.TensorProtocol], object]
"""What stands for a tensor's content."""


def _document(model: ir.Model, of_tensor: TensorName) -> dict[str, Any]:
    return {
        "opsets": dict(sorted(model.opset_imports.items())),
        "graph": _graph(model.graph, of_tensor),
        "functions": [
            {"id": list(key), "nodes": _nodes(function, of_tensor), "inputs": _names(function.inputs)}
            for key, function in sorted(model.functions.items())
        ],
    }


def digest_of_json(document: Any) -> str:
    """Hex SHA-256 of a JSON-ready value, independent of the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_tensor(tensor: ir.TensorProtocol) -> str:
    """Hex SHA-256 of element type, shape and bytes of a tensor.

    It is kept in the tensor's ``meta``, which no file holds: tensors are never written into, and clones of a
    model share them.
    """
    known: str | None = tensor.meta.get(_KEPT)
    if known is None:
        known = tensor.meta[_KEPT] = _digest_of_tensor(tensor)
    return known


def _digest_of_tensor(tensor: ir.TensorProtocol) -> str:
    sha = hashlib.sha256(f"{tensor.dtype.name}{[int(dim) for dim in tensor.numpy().shape]}".encode())
    if tensor.dtype == ir.DataType.STRING:
        sha.update(json.dumps([repr(item) for item in tensor.numpy().ravel().tolist()]).encode())
    else:
        sha.update(buffer_of(tensor))
    return sha.hexdigest()


def _graph(graph: ir.Graph, of_tensor: TensorName) -> dict[str, Any]:
    return {
        "inputs": [_typed(value) for value in graph.inputs],
        "outputs": [_typed(value) for value in graph.outputs],
        "initializers": {
            name: of_tensor(value.const_value)
            for name, value in sorted(graph.initializers.items())
            if value.const_value is not None
        },
        "nodes": _nodes(graph, of_tensor),
    }


def _nodes(nodes: Iterable[ir.Node], of_tensor: TensorName) -> list[Any]:
    return [
        [
            node.name,
            node.domain,
            node.op_type,
            node.overload,
            _names(node.inputs),
            _names(node.outputs),
            {name: _attribute(attribute, of_tensor) for name, attribute in sorted(node.attributes.items())},
        ]
        for node in nodes
    ]


def _names(values: Iterable[ir.Value | None]) -> list[str]:
    return ["" if value is None else value.name or "" for value in values]


def _typed(value: ir.Value) -> list[Any]:
    shape = None if value.shape is None else list(dims(value.shape))
    return [value.name, value.dtype.name if value.dtype else None, shape]


def _attribute(attribute: ir.Attr, of_tensor: TensorName) -> Any:
    kind = attribute.type
    if attribute.is_ref():
        return [kind.name, "ref", attribute.ref_attr_name]
    if kind == ir.AttributeType.TENSOR:
        return [kind.name, of_tensor(attribute.as_tensor())]
    if kind == ir.AttributeType.TENSORS:
        return [kind.name, [of_tensor(tensor) for tensor in attribute.as_tensors()]]
    if kind == ir.AttributeType.GRAPH:
        return [kind.name, _graph(attribute.as_graph(), of_tensor)]
    if kind == ir.AttributeType.GRAPHS:
        return [kind.name, [_graph(graph, of_tensor) for graph in attribute.as_graphs()]]
    if kind == ir.AttributeType.FLOAT:
        return [kind.name, float(attribute.as_float()).hex()]
    if kind == ir.AttributeType.FLOATS:
        return [kind.name, [float(item).hex() for item in attribute.as_floats()]]
    if kind == ir.AttributeType.INTS:
        return [kind.name, list(attribute.as_ints())]
    if kind == ir.AttributeType.INT:
        return [kind.name, attribute.as_int()]
    return [kind.name, repr(attribute.value)]
