"""Which channels go together: one small graph for each case that the rules number, and what must stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import pytest

from edgekit.errors import InputError
from edgekit.ir import io
from edgekit.ir.graph import constant, int_attribute
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.remove import remove
from tests.unit.litert.litert_models import Model, as_ir, run_onnx
from tests.unit.pruning.zeroed import some_of_every_group, zeroed

Build = Callable[[Model], str]


def _image(m: Model, channels: int = 6) -> str:
    """A convolution that makes ``channels``; its weight is "first"."""
    x = m.input("x", (1, 3, 4, 4))
    weight = m.constant(m.rng.standard_normal((channels, 3, 1, 1)).astype(np.float32), "first")
    return m.add("Conv", x, weight)


def _last(m: Model, value: str, channels: int) -> str:
    """A convolution that reads them and a mean of it, so that nothing of theirs is an output."""
    y = m.add("Conv", value, m.constant(np.ones((2, channels, 1, 1), np.float32), "last"))
    return m.add("GlobalAveragePool", y)


def _found(build: Build, channels: int = 6) -> Dependencies:
    m = Model()
    return dependencies(as_ir(m.build(_last(m, build(m), channels))))


@dataclass(frozen=True)
class Case:
    """A body between "first" (6 channels) and "last", and how many channels may go one by one."""

    name: str
    body: Callable[[Model, str], str]
    free: int
    last: int = 6


def _residual(m: Model, v: str) -> str:
    return m.add("Add", v, m.add("Conv", v, m.weight(6, 6, 1, 1)))


def _pad(m: Model, v: str) -> str:
    y = m.add("Conv", v, m.weight(8, 6, 1, 1))
    return m.add("Add", m.add("Pad", v, m.ints(0, 1, 0, 0, 0, 1, 0, 0)), y)


def _split_add(m: Model, v: str) -> str:
    first = m.add("Split", v, m.ints(3, 3), axis=1, outputs=2)
    return m.add("Add", first, f"{first}_1")


def _shuffle(m: Model, v: str) -> str:
    parts = m.add("Transpose", m.add("Reshape", v, m.ints(1, 2, 3, 4, 4)), perm=[0, 2, 1, 3, 4])
    return m.add("Reshape", parts, m.ints(1, 6, 4, 4))


CASES = (
    Case("L1-plain", lambda m, v: m.add("Relu", v), 6),
    Case("S2-residual", _residual, 6),
    Case("S2-scalar-and-channel-constant", lambda m, v: m.add("Mul", v, m.weight(1, 6, 1, 1)), 6),
    Case("L2-depthwise", lambda m, v: m.add("Conv", v, m.weight(6, 1, 1, 1), group=6), 6),
    Case("L2-depthwise-multiplier", lambda m, v: m.add("Conv", v, m.weight(12, 1, 1, 1), group=6), 6, 12),
    # two groups of three: the same place of both groups, in (3) and out (3), beats whole groups (2)
    Case("L2-two-groups", lambda m, v: m.add("Conv", v, m.weight(6, 3, 1, 1), group=2), 6),
    Case("L3-transposed", lambda m, v: m.add("ConvTranspose", v, m.weight(6, 5, 1, 1)), 11, 5),
    Case("L3-transposed-groups", lambda m, v: m.add("ConvTranspose", v, m.weight(6, 2, 1, 1), group=3), 3),
    Case("L7-batch-norm", lambda m, v: m.add("BatchNormalization", v, *(m.floats(*[1.0] * 6),) * 4), 6),
    Case("S3-concat", lambda m, v: m.add("Concat", v, m.add("Relu", v), axis=1), 6, 12),
    Case("S4-split-and-add", _split_add, 3, 3),
    Case("S4-slice", lambda m, v: m.add("Slice", v, m.ints(2), m.ints(5), m.ints(1)), 6, 3),
    Case(
        "S4-slice-with-steps",
        lambda m, v: m.add("Slice", v, m.ints(0), m.ints(6), m.ints(1), m.ints(2)),
        0,
        3,
    ),
    Case("S6-pad-shortcut", _pad, 8, 8),
    Case("S6-reflected", lambda m, v: m.add("Pad", v, m.ints(0, 1, 0, 0, 0, 1, 0, 0), mode="reflect"), 0, 8),
    Case("S7-max-pool", lambda m, v: m.add("MaxPool", v, kernel_shape=[2, 2]), 6),
    Case("S8-softmax-over-channels", lambda m, v: m.add("Softmax", v, axis=1), 0),
    Case("S8-softmax-over-pixels", lambda m, v: m.add("Softmax", v, axis=3), 6),
    Case("S8-layer-norm", lambda m, v: m.add("LayerNormalization", v, m.weight(6, 4, 4), axis=1), 0),
    Case("R3-shuffle", _shuffle, 2),
    Case("D2-no-rule", lambda m, v: m.add("LRN", v, size=3), 0),
    Case("D2-rows-of-activations", lambda m, v: m.add("Gather", v, m.ints(0, 2, 4), axis=1), 0, 3),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_channels_that_may_go(case: Case) -> None:
    found = _found(lambda m: case.body(m, _image(m)), case.last)
    assert len(found.parts) == case.free
    assert bool(found.kept) or case.free > 0
    _computes_the_same(found)


def _computes_the_same(found: Dependencies) -> None:
    """With zeros and without: 64 ULP of the largest output (four layers of at most 16 terms)."""
    gone = some_of_every_group(found, seed=1)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)}
    content = io.to_bytes(remove(found, gone))
    onnx.checker.check_model(content, full_check=True)
    (expected,) = run_onnx(onnx.load_from_string(io.to_bytes(zeroed(found, gone))), feeds).values()
    (without,) = run_onnx(onnx.load_from_string(content), feeds).values()
    off = without.astype(np.float64) - expected.astype(np.float64)
    assert np.abs(off).max() <= 64 * np.spacing(np.abs(expected).max().astype(np.float32))


def test_a_flattened_channel_is_a_block_of_columns() -> None:
    m = Model()
    flat = m.add("Flatten", _image(m))
    found = dependencies(
        as_ir(m.build(m.add("Gemm", flat, m.constant(np.ones((2, 96), np.float32), "dense"), transB=1)))
    )
    (group,) = found.groups
    assert [len(part.indices) for part in found.parts[group.channels[1]]] == [1, 16]
    assert found.parts[group.channels[1]][1].indices == tuple(range(16, 32))


def test_parts_of_a_depthwise_channel_and_the_number_of_groups() -> None:
    found = _found(
        lambda m: m.add("Conv", _image(m), m.constant(np.ones((6, 1, 1, 1), np.float32), "deep"), group=6)
    )
    parts = found.parts[found.groups[0].channels[2]]
    assert {(part.initializer, part.axis, part.indices) for part in parts} == {
        ("first", 0, (2,)),
        ("deep", 0, (2,)),
        ("last", 1, (2,)),
    }
    pruned = remove(found, found.groups[0].channels[:2])
    deep = next(node for node in pruned.graph if int_attribute(node, "group", 1) > 1)
    assert int_attribute(deep, "group", 1) == 4


def test_attention_loses_whole_heads() -> None:
    m = Model()
    x = m.input("x", (1, 5, 8))
    turned = [
        m.add(
            "Transpose",
            m.add("Reshape", m.add("MatMul", x, m.weight(8, 12)), m.ints(1, 5, 4, 3)),
            perm=perm,
        )
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    ]
    mixed = m.add("MatMul", m.add("Softmax", m.add("MatMul", turned[0], turned[1])), turned[2])
    joined = m.add("Reshape", m.add("Transpose", mixed, perm=[0, 2, 1, 3]), m.ints(1, 5, 12))
    found = dependencies(as_ir(m.build(m.add("MatMul", joined, m.weight(12, 8)))))
    (group,) = found.groups
    assert len(group.channels) == 4
    assert [part.indices for part in found.parts[group.channels[1]]] == [(3, 4, 5)] * 4


def _embedded(*, normalized: bool) -> onnx.ModelProto:
    """Ids -> embedding and positions (width 6) -> a residual feed-forward block of 5 -> scores."""
    m = Model(seed=11)
    x = m.add("Gather", m.weight(9, 6), m.input("x", (2, 4), "int64"), axis=0)
    x = m.add("Add", x, m.weight(1, 4, 6))
    if normalized:
        x = m.add("LayerNormalization", x, m.weight(6), m.weight(6), axis=-1)
    inner = m.add("Gelu", m.add("Add", m.add("MatMul", x, m.weight(6, 5)), m.weight(5)))
    y = m.add("Add", x, m.add("Add", m.add("MatMul", inner, m.weight(5, 6)), m.weight(6)))
    return m.build(m.add("Gemm", m.add("ReduceMean", y, m.ints(1), keepdims=0), m.weight(3, 6), transB=1))


def test_the_width_of_an_embedding_goes_through_the_whole_residual_stream() -> None:
    """L8: table, positions, both sides of the block, the scores' weight; tolerance as for random graphs."""
    model = _embedded(normalized=False)
    found = dependencies(as_ir(model))
    assert sorted(len(group.channels) for group in found.groups) == [5, 6]
    gone = some_of_every_group(found, seed=3)
    ids = {"x": np.array([[0, 3, 8, 1], [2, 2, 7, 5]])}
    without = onnx.load_from_string(io.to_bytes(remove(found, gone)))
    expected = run_onnx(onnx.load_from_string(io.to_bytes(zeroed(found, gone))), ids)
    (given,), (wanted,) = run_onnx(without, ids).values(), expected.values()
    step = float(np.spacing(np.abs(wanted).max().astype(np.float32)))
    assert np.abs(given.astype(np.float64) - wanted.astype(np.float64)).max() <= 256 * step


def test_a_width_that_is_normalized_over_stays() -> None:
    """A mean over fewer channels is another mean, also where those that went were zero."""
    (group,) = dependencies(as_ir(_embedded(normalized=True))).groups
    assert len(group.channels) == 5


def test_lstm_units_take_their_gates_along() -> None:
    m = Model()
    x = m.input("x", (5, 1, 4))
    y = m.add("LSTM", x, m.weight(1, 12, 4), m.weight(1, 12, 3), m.weight(1, 24), hidden_size=3)
    found = dependencies(as_ir(m.build(m.add("MatMul", y, m.weight(3, 2)))))
    (group,) = found.groups
    assert len(group.channels) == 3
    pruned = remove(found, group.channels[:1])
    (lstm,) = [node for node in pruned.graph if node.op_type == "LSTM"]
    assert int_attribute(lstm, "hidden_size", 0) == 2
    assert [list(value.shape or ()) for value in lstm.inputs[1:4] if value] == [[1, 8, 4], [1, 8, 2], [1, 16]]


def test_outputs_keep_their_channels_and_say_so() -> None:
    m = Model()
    found = dependencies(as_ir(m.build(_image(m))))
    assert found.parts == {}
    assert found.kept[0].reason == "v1 is an output of the model"


def test_a_subgraph_that_reads_a_value_keeps_its_channels() -> None:
    """D2: what a Loop's body captures is not among the node's inputs."""
    m = Model()
    value = m.add("Relu", _image(m), out="captured")
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Identity", ["condition"], ["again"]),
            onnx.helper.make_node("Identity", ["captured"], ["scanned"]),
        ],
        "body",
        [
            onnx.helper.make_tensor_value_info("turn", onnx.TensorProto.INT64, []),
            onnx.helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, []),
        ],
        [
            onnx.helper.make_tensor_value_info("again", onnx.TensorProto.BOOL, []),
            onnx.helper.make_tensor_value_info("scanned", onnx.TensorProto.FLOAT, [1, 6, 4, 4]),
        ],
    )
    m.add("Loop", m.constant(np.asarray(2)), m.constant(np.asarray(True)), out="looped", body=body)
    found = dependencies(as_ir(m.build("looped", _last(m, value, 6))))
    assert found.parts == {}
    assert "Loop" in found.kept[0].reason


def test_a_constant_of_two_readers_is_cut_for_each_alone() -> None:
    """D4: two convolutions with one bias, as equal constants are after canonicalization."""
    m = Model()
    bias = m.floats(*[0.5] * 6)
    one = m.add("Conv", m.input("x", (1, 3, 4, 4)), m.weight(6, 3, 1, 1), bias)
    two = m.add("Conv", one, m.weight(6, 6, 1, 1), bias)
    found = dependencies(as_ir(m.build(_last(m, two, 6))))
    assert [len(group.channels) for group in found.groups] == [6, 6]
    assert found.parameters() == 6 * 3 + 6 + 36 + 6 + 12


def test_the_last_channel_of_an_axis_stays() -> None:
    found = _found(_image)
    with pytest.raises(InputError, match="no channel would be left along axis 0 of first"):
        remove(found, found.groups[0].channels)


def test_a_channel_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="channel 99 is not one that may go"):
        remove(_found(_image), [99])


def test_the_model_that_was_handed_in_is_untouched() -> None:
    m = Model()
    model = as_ir(m.build(_last(m, _image(m), 6)))
    before = io.to_bytes(model)
    remove(dependencies(model), dependencies(model).groups[0].channels[:3])
    assert io.to_bytes(model) == before
    assert constant(model.graph.initializers["first"]) is not None
