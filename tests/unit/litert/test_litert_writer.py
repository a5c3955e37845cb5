"""Bytes of the file: identifier, alignment, shared buffers, signature, versions; and ``tidy``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.kernels import KERNELS
from edgekit.backends.litert.lower import LOWERINGS, merged
from edgekit.backends.litert.tensors import Graph, GraphBuilder, Operator, Tensor
from edgekit.backends.litert.tidy import tidy
from edgekit.backends.litert.versions import RULES, operator_version
from edgekit.spec import QuantParams
from tests.unit.litert.litert_models import Model, compiled

INT8 = QuantParams("int8", (0.5,), (3,))


def _parsed(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(data, 0)


def _graph() -> Graph:
    m = Model()
    x = m.input("x", ("batch", 3))
    weight = m.rng.standard_normal((4, 3)).astype(np.float32)
    y = m.add("Gemm", x, m.constant(weight), m.floats(1, 2, 3, 4), transB=1)
    z = m.add("Gemm", m.add("Relu", y), m.constant(np.zeros((5, 4), np.float32)), transB=1, out="scores")
    return compiled(m.build(z)).lowered.graph


def test_identifier_and_schema_version() -> None:
    data = flatbuffer.pack(_graph())
    assert data[4:8] == b"TFL3"
    assert _parsed(data).Version() == 3


def test_equal_graphs_give_equal_bytes() -> None:
    assert flatbuffer.pack(_graph()) == flatbuffer.pack(_graph())


def test_buffers_are_aligned_to_16_bytes() -> None:
    data = flatbuffer.pack(_graph())
    model = _parsed(data)
    seen = 0
    for index in range(model.BuffersLength()):
        content = model.Buffers(index).DataAsNumpy()
        if isinstance(content, np.ndarray):
            offset = (
                content.__array_interface__["data"][0]
                - np.frombuffer(data, np.uint8).__array_interface__["data"][0]
            )
            assert offset % 16 == 0
            seen += 1
    assert seen >= 4


def test_the_first_buffer_is_empty_and_equal_bytes_are_written_once() -> None:
    zeros = np.zeros(6, np.float32)
    tensors = (
        Tensor("x", "float32", (6,)),
        Tensor("a", "float32", (6,), data=zeros),
        Tensor("b", "float32", (2, 3), data=zeros.reshape(2, 3)),
        Tensor("y", "float32", (6,)),
    )
    graph = Graph(tensors, (Operator("ADD", (0, 1), (3,)),), (0,), (3,), ("x",), ("y",))
    model = _parsed(flatbuffer.pack(graph))
    subgraph = model.Subgraphs(0)
    assert model.BuffersLength() == 2
    assert model.Buffers(0).DataLength() == 0
    assert subgraph.Tensors(1).Buffer() == subgraph.Tensors(2).Buffer() == 1
    assert subgraph.Tensors(0).Buffer() == 0


def test_signature_carries_the_reference_names() -> None:
    signature = _parsed(flatbuffer.pack(_graph())).SignatureDefs(0)
    assert signature.SignatureKey() == b"serving_default"
    assert signature.Inputs(0).Name() == b"x"
    assert signature.Outputs(0).Name() == b"scores"


def test_a_dynamic_batch_is_in_the_shape_signature() -> None:
    tensor = _parsed(flatbuffer.pack(_graph())).Subgraphs(0).Tensors(0)
    assert tensor.ShapeAsNumpy().tolist() == [1, 3]
    assert tensor.ShapeSignatureAsNumpy().tolist() == [-1, 3]


def test_an_unknown_option_is_a_bug() -> None:
    tensors = (Tensor("x", "float32", (2,)), Tensor("y", "float32", (2,)))
    graph = Graph(tensors, (Operator("SOFTMAX", (0,), (1,), {"gamma": 1.0}),), (0,), (1,), ("x",), ("y",))
    with pytest.raises(AttributeError, match="gamma"):
        flatbuffer.pack(graph)


@dataclass(frozen=True)
class Version:
    id: str
    code: str
    inputs: tuple[Tensor, ...]
    expected: int
    options: tuple[tuple[str, Any], ...] = ()
    out: Tensor | None = None


def f32(*shape: int) -> Tensor:
    return Tensor("f", "float32", shape)


def i8(*shape: int, scale: float = 0.5) -> Tensor:
    return Tensor("q", "int8", shape, QuantParams("int8", (scale,), (0,)))


VERSIONS = (
    Version("conv-float", "CONV_2D", (f32(1, 8, 8, 4), f32(2, 3, 3, 4)), 1),
    Version("conv-int8", "CONV_2D", (i8(1, 8, 8, 4), i8(2, 3, 3, 4)), 3),
    Version("conv-groups", "CONV_2D", (f32(1, 8, 8, 4), f32(2, 3, 3, 2)), 6),
    Version("depthwise", "DEPTHWISE_CONV_2D", (f32(1, 8, 8, 4), f32(1, 3, 3, 4)), 1),
    Version("depthwise-int8", "DEPTHWISE_CONV_2D", (i8(1, 8, 8, 4), i8(1, 3, 3, 4)), 3),
    Version("depthwise-dilated", "DEPTHWISE_CONV_2D", (f32(1), f32(1)), 2, (("dilationHFactor", 2),)),
    Version("fc", "FULLY_CONNECTED", (f32(1, 2), f32(3, 2), f32(3)), 1),
    Version("fc-int8", "FULLY_CONNECTED", (i8(1, 2), i8(3, 2), f32(3)), 4),
    Version("fc-no-bias", "FULLY_CONNECTED", (f32(1, 2), f32(3, 2)), 6),
    Version("fc-keep", "FULLY_CONNECTED", (f32(1, 2, 2), f32(3, 2), f32(3)), 5, (("keepNumDims", True),)),
    Version("add-int8", "ADD", (i8(2), i8(2)), 2),
    Version("mul-big-rescale", "MUL", (i8(2, scale=1.0), i8(2, scale=1.0)), 3, out=i8(2, scale=0.5)),
    Version("mul-small-rescale", "MUL", (i8(2), i8(2)), 2, out=i8(2, scale=1.0)),
    Version("transpose-rank-5", "TRANSPOSE", (f32(1, 2, 3, 4, 5),), 4),
    Version("sub-broadcast-rank-5", "SUB", (f32(1, 2, 3, 4, 5), f32(5)), 3),
    Version("resize-half-pixel", "RESIZE_BILINEAR", (f32(1, 2, 2, 1),), 3, (("halfPixelCenters", True),)),
    Version("quantize", "QUANTIZE", (f32(2),), 1, out=i8(2)),
    Version("dequantize", "DEQUANTIZE", (i8(2),), 2),
    Version("broadcast-to", "BROADCAST_TO", (f32(2),), 2),
    Version("relu-has-one", "NEG", (f32(2),), 1),
)


@pytest.mark.parametrize("case", VERSIONS, ids=lambda case: case.id)
def test_operator_versions(case: Version) -> None:
    tensors = (*case.inputs, case.out or f32(1))
    op = Operator(case.code, tuple(range(len(case.inputs))), (len(case.inputs),), dict(case.options))
    assert operator_version(op, tensors) == case.expected


def test_tables_speak_of_the_schema() -> None:
    from ai_edge_litert import schema_py_generated as schema

    for code in (*RULES, *KERNELS):
        assert hasattr(schema.BuiltinOperator, code), code


def test_a_second_lowering_of_an_operator_is_an_error() -> None:
    with pytest.raises(ValueError, match="two lowerings for Relu"):
        merged({"Relu": LOWERINGS["Relu"]}, {"Relu": LOWERINGS["Abs"]})


def _reshapes() -> GraphBuilder:
    b = GraphBuilder()
    x = b.tensor("x", "float32", ("n", 1, 4))
    shape = b.constant("shape", np.asarray([-1, 4], np.int32))
    first = b.tensor("a", "float32", ("n", 4))
    second = b.tensor("b", "float32", ("m", 1, 4))
    out = b.tensor("y", "float32", ("n", 1, 4))
    unused = b.tensor("u", "float32", ("n", 1, 4))
    b.operator("RESHAPE", [x, shape], [first])
    b.operator("RESHAPE", [first, shape], [second])
    b.operator("NEG", [second], [out])
    b.operator("ABS", [x], [unused])
    return b


def test_reshapes_that_cancel_and_unread_operators_go() -> None:
    b = _reshapes()
    graph = tidy(Graph(tuple(b.tensors), tuple(b.operators), (0,), (4,), ("x",), ("y",)))
    assert [op.code for op in graph.operators] == ["NEG"]
    assert [tensor.name for tensor in graph.tensors] == ["x", "y"]


def test_a_reshape_that_is_a_model_output_stays() -> None:
    b = _reshapes()
    graph = tidy(Graph(tuple(b.tensors), tuple(b.operators), (0,), (3, 4), ("x",), ("b", "y")))
    assert [op.code for op in graph.operators] == ["RESHAPE", "NEG"]


def test_equal_constants_are_one_tensor() -> None:
    b = GraphBuilder()
    ones = np.ones(3, np.float32)
    assert b.constant("a", ones) == b.constant("b", ones.copy())
    assert b.constant("a", ones) != b.constant("c", ones.astype(np.int32))
    assert b.constant("q", ones.astype(np.int8), quant=INT8) != b.constant("p", ones.astype(np.int8))
    assert len({tensor.name for tensor in b.tensors}) == len(b.tensors)


def test_buffers_behind_the_flatbuffer_hold_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    near = flatbuffer.pack(_graph(), metadata={"m": b"words"})
    monkeypatch.setattr(flatbuffer, "LARGEST_FLATBUFFER_BYTES", flatbuffer.ROOM_FOR_TABLES + 16)
    far = flatbuffer.pack(_graph(), metadata={"m": b"words"})
    model = _parsed(far)
    assert len(far) != len(near)
    for index in range(model.BuffersLength()):
        buffer, other = model.Buffers(index), _parsed(near).Buffers(index)
        if not buffer.Offset():
            continue
        assert buffer.Offset() % 16 == 0
        assert buffer.DataLength() == 0
        assert far[buffer.Offset() : buffer.Offset() + buffer.Size()] == bytes(other.DataAsNumpy())
    entry = model.Metadata(0)
    assert bytes(model.Buffers(entry.Buffer()).DataAsNumpy()) == b"words"  # for readers that know no offsets
