"""ONNX bytes x generator -> an ONNX file that still parses and whose fields contradict each other.

N1 sizes of shapes · N2 attributes · N3 names of a node's inputs (a cycle, nobody's, none) · N4 operator and
domain · N5 nodes lost and repeated · N6 element type, data and place of an initializer · N7 hostile names ·
N8 versions · N9 inputs and outputs of the graph · N10 deep nesting
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx

SIZES = (0, 1, -1, 2, 7, 2**31, 2**40, 2**62)
OPERATORS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Reshape",
    "LSTM",
    "Resize",
    "Loop",
    "QuantizeLinear",
    "Split",
    "TopK",
    "Nope",
    "",
)
# Names that a report must show safely and that must not become paths.
HOSTILE = (
    "",
    "<script>alert(1)</script>",
    "../../escaped",
    "/escaped",
    "a\u202egnp.exe",  # right-to-left override
    "line\nfeed\x1b[31m",
    "'; DROP TABLE x; --",
    "x" * 5000,
    "%s%n{0}{x!r}",
    "a/b\\c:d",
)
PLACES = (
    "../outside.bin",
    "/etc/passwd",
    "outside.bin",
    "nobody.bin",
    "",
    "C:\\x",
    "a/../../b",
    ".",
    "outside.bin/x",
)
DEPTH = 24  # of nested branches: protobuf's own limit is 100 messages, and a branch takes four


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three contradictions."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(int(rng.integers(1, 4))):
        _once(model, rng)
    return bytes(model.SerializeToString())


def _pick(values: Any, rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))] if len(values) else None


def _once(model: Any, rng: np.random.Generator) -> None:
    graph = model.graph
    node = _pick(graph.node, rng)
    tensor = _pick(graph.initializer, rng)
    kind = int(rng.integers(10))
    if kind == 0:
        _sizes(graph, rng)
    elif kind == 1 and node is not None and node.attribute:
        _attribute(_pick(node.attribute, rng), rng)
    elif kind == 2 and node is not None and node.input:
        others = [name for each in graph.node for name in each.output]
        node.input[int(rng.integers(len(node.input)))] = _pick(["", "nobody", *others], rng)
    elif kind == 3 and node is not None:
        node.op_type = _pick(OPERATORS, rng)
        if rng.random() < 0.3:
            node.domain = _pick(("com.microsoft", "nobody.example", "ai.onnx.ml"), rng)
    elif kind == 4 and node is not None:
        if rng.random() < 0.5:
            graph.node.remove(node)
        else:
            graph.node.append(copy.deepcopy(node))
    elif kind == 5 and tensor is not None:
        _initializer(tensor, rng)
    elif kind == 6:
        _name(model, rng)
    elif kind == 7:
        _version(model, rng)
    elif kind == 8:
        _interface(graph, rng)
    elif rng.random() < 0.1:
        _nest(graph)


def _sizes(graph: Any, rng: np.random.Generator) -> None:
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    value = _pick(values, rng)
    if isinstance(value, onnx.TensorProto):
        if value.dims:
            value.dims[int(rng.integers(len(value.dims)))] = _pick(SIZES, rng)
        else:
            value.dims.append(_pick(SIZES, rng))
        return
    dim = _pick(value.type.tensor_type.shape.dim, rng)
    if dim is None or rng.random() < 0.2:
        value.type.tensor_type.elem_type = int(rng.integers(0, 30))
    elif rng.random() < 0.3:
        dim.dim_param = _pick(HOSTILE, rng)
    else:
        dim.dim_value = _pick(SIZES, rng)


def _attribute(attribute: Any, rng: np.random.Generator) -> None:
    if attribute.ints:
        attribute.ints[int(rng.integers(len(attribute.ints)))] = _pick(SIZES, rng)
        if rng.random() < 0.3:
            attribute.ints.append(1)
    elif attribute.HasField("i"):
        attribute.i = _pick(SIZES, rng)
    elif attribute.HasField("f"):
        attribute.f = _pick((0.0, float("nan"), float("inf"), -1e38), rng)
    elif rng.random() < 0.5:
        attribute.type = int(rng.integers(0, 15))
    else:
        attribute.name = _pick(("axis", "axes", "value", "body", "to", "nobody"), rng)


def _initializer(tensor: Any, rng: np.random.Generator) -> None:
    match int(rng.integers(5)):
        case 0:
            tensor.data_type = int(rng.integers(0, 30))
        case 1:
            tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
        case 2:
            tensor.ClearField("raw_data")
            tensor.float_data.append(1.0)
        case 3:
            tensor.raw_data = rng.bytes(len(tensor.raw_data))
        case _:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            for key, value in (
                ("location", _pick(PLACES, rng)),
                ("offset", str(_pick(SIZES, rng))),
                ("length", str(_pick(SIZES, rng))),
            ):
                tensor.external_data.add(key=key, value=value)


def _name(model: Any, rng: np.random.Generator) -> None:
    graph, hostile = model.graph, _pick(HOSTILE, rng)
    match int(rng.integers(4)):
        case 0:
            graph.name = hostile
        case 1:
            model.metadata_props.add(key=_pick(HOSTILE, rng), value=hostile)
        case 2:
            _rename(
                graph, _pick([value.name for value in (*graph.input, *graph.output)] or [""], rng), hostile
            )
        case _:
            node = _pick(graph.node, rng)
            if node is not None:
                node.name = hostile


def _rename(graph: Any, old: str, new: str) -> None:
    """Everywhere, so that the graph stays whole."""
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _version(model: Any, rng: np.random.Generator) -> None:
    match int(rng.integers(3)):
        case 0:
            model.ir_version = _pick((0, 1, 3, 99, 2**62), rng)
        case 1 if model.opset_import:
            model.opset_import[0].version = _pick((0, -1, 1, 7, 99, 2**62), rng)
        case _:
            del model.opset_import[:]


def _interface(graph: Any, rng: np.random.Generator) -> None:
    values = graph.input if rng.random() < 0.5 else graph.output
    match int(rng.integers(3)):
        case 0:
            del values[:]
        case 1 if values:
            values.append(copy.deepcopy(values[0]))
        case _ if values:
            values[0].name = "nobody"


def _nest(graph: Any) -> None:
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["deep"], value_float=1.0)],
        "leaf",
        [],
        [onnx.helper.make_tensor_value_info("deep", onnx.TensorProto.FLOAT, [])],
    )
    for level in range(DEPTH):
        branches = {"then_branch": inner, "else_branch": inner} if level < 8 else {"then_branch": inner}
        node = onnx.helper.make_node("If", ["c"], [f"d{level}"], **branches)
        inner = onnx.helper.make_graph([node], f"l{level}", [], [])
    graph.node.append(copy.deepcopy(inner.node[0]))
