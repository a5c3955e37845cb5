"""What becomes one unit (F1 to F7), each rule with a case that must not fire; constants and windows.

F5 is in ``test_litert_probing``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.backends.litert import integer, units
from edgekit.backends.litert.constants import dequantize, quantize
from edgekit.backends.litert.operands import Clamp, Unit
from edgekit.backends.litert.ops.windows import Axis, Windows
from edgekit.spec import QuantParams
from tests.unit.litert.litert_models import (
    Model,
    as_ir,
    codes,
    compiled,
    relative_error,
    run_litert,
    run_onnx,
)


def read(m: Model, *outputs: str) -> tuple[Unit, ...]:
    return units.read(as_ir(m.build(*outputs))).units


def test_f1_bias_of_a_convolution() -> None:
    m = Model()
    y = m.add("Conv", m.input("x", (1, 3, 5, 5)), m.weight(4, 3, 3, 3))
    (unit,) = read(m, m.add("Add", m.weight(1, 4, 1, 1), y))
    assert unit.op == "Conv"
    assert unit.operand(2) is not None


@dataclass(frozen=True)
class NotBias:
    id: str
    shape: tuple[int, ...]


@pytest.mark.parametrize(
    "case",
    [NotBias("by-width", (3,)), NotBias("one-value", ()), NotBias("whole", (1, 4, 3, 3))],
    ids=lambda c: c.id,
)
def test_f1_an_addend_that_is_no_bias_stays(case: NotBias) -> None:
    m = Model()
    y = m.add("Conv", m.input("x", (1, 3, 5, 5)), m.weight(4, 3, 3, 3))
    assert [unit.op for unit in read(m, m.add("Add", y, m.weight(*case.shape)))] == ["Conv", "Add"]


def test_f2_relu_is_fused_when_it_is_the_only_reader() -> None:
    m = Model()
    y = m.add("Conv", m.input("x", (1, 3, 5, 5)), m.weight(4, 3, 3, 3))
    (unit,) = read(m, m.add("Relu", y))
    assert unit.clamp == Clamp(0.0, float("inf"))


def test_f2_not_when_the_value_has_another_reader_or_is_an_output() -> None:
    m = Model()
    y = m.add("Conv", m.input("x", (1, 3, 5, 5)), m.weight(4, 3, 3, 3))
    z = m.add("Relu", y)
    assert all(unit.clamp is None for unit in read(m, z, y))
    m = Model()
    y = m.add("Conv", m.input("x", (1, 3, 5, 5)), m.weight(4, 3, 3, 3))
    assert all(unit.clamp is None for unit in read(m, m.add("Mul", m.add("Relu", y), y)))


def test_f3_zero_padding_joins_the_convolution() -> None:
    m = Model()
    padded = m.add("Pad", m.input("x", (1, 3, 5, 5)), m.ints(0, 0, 1, 0, 0, 0, 2, 1))
    (unit,) = read(m, m.add("Conv", padded, m.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    assert unit.attributes["pads"] == [2, 1, 3, 2]


def test_f3_not_for_another_value_or_the_channels() -> None:
    m = Model()
    padded = m.add("Pad", m.input("x", (1, 3, 5, 5)), m.ints(0, 0, 1, 0, 0, 0, 2, 1), m.scalar(1.0))
    assert len(read(m, m.add("Conv", padded, m.weight(4, 3, 3, 3)))) == 2
    m = Model()
    padded = m.add("Pad", m.input("x", (1, 3, 5, 5)), m.ints(0, 0, 0, 0, 0, 1, 0, 0))
    assert len(read(m, m.add("Conv", padded, m.weight(4, 4, 3, 3)))) == 2


def _quantized_conv(m: Model, *, weight_zero: int = 0, bias_scale: float = 1.0) -> str:
    x = m.quantized(m.input("x", (1, 3, 5, 5)), 0.02, 128)
    w = np.clip(m.rng.standard_normal((4, 3, 3, 3)) * 50, -127, 127).astype(np.int8)
    s = m.constant(np.full(4, 0.01, np.float32))
    z = m.constant(np.full(4, weight_zero, np.int8))
    weight = m.add("DequantizeLinear", m.constant(w), s, z, axis=0)
    bias = m.quantized_bias(np.ones(4), np.full(4, 0.02 * 0.01 * bias_scale, np.float32))
    return m.quantized(m.add("Conv", x, weight, bias), 0.1, 128)


def test_f4_an_integer_unit_has_moved_zero_points_and_the_graphs_scales() -> None:
    m = Model()
    found = read(m, _quantized_conv(m))
    conv = next(unit for unit in found if unit.op == "Conv")
    x, bias = conv.operand(0), conv.operand(2)
    assert conv.is_integer
    assert x is not None
    assert x.quant == QuantParams("int8", (float(np.float32(0.02)),), (0,))
    assert bias is not None
    assert bias.dtype == "int32"
    assert bias.quant is not None
    assert bias.quant.scale[0] == float(np.float32(0.02) * np.float32(0.01))


def test_f4_a_bias_in_another_scale_is_requantized() -> None:
    m = Model()
    conv = next(unit for unit in read(m, _quantized_conv(m, bias_scale=4.0)) if unit.op == "Conv")
    bias = conv.operand(2)
    assert bias is not None
    assert bias.const is not None
    assert bias.const.tolist() == [5000] * 4  # 1.0 in steps of 0.02 * 0.01


def test_f4_weights_with_a_zero_point_compute_in_float_and_say_so() -> None:
    m = Model()
    built = m.build(_quantized_conv(m, weight_zero=3))
    assert codes(built) == ["QUANTIZE", "DEQUANTIZE", "CONV_2D", "QUANTIZE", "DEQUANTIZE"]
    (note,) = compiled(built).notes
    assert "zero point other than 0" in note


def test_f4_a_bias_beyond_int32_computes_in_float() -> None:
    m = Model()
    x = m.quantized(m.input("x", (1, 2)), 1e-6, 128)
    weight, _ = m.quantized_weight(np.full((3, 2), 1e-4, np.float32), axis=0)
    y = m.quantized(m.add("Gemm", x, weight, m.floats(1, 2, 3), transB=1), 0.1, 128)
    (note,) = compiled(m.build(y)).notes
    assert "does not fit int32" in note


def test_f4_a_value_that_float_operators_also_read_stays_float() -> None:
    m = Model()
    x = m.quantized(m.input("x", (1, 3, 4, 4)), 0.02, 128)
    y = m.add("MaxPool", x, kernel_shape=[2, 2])
    z = m.add("Add", m.quantized(y, 0.02, 128), m.add("Erf", y))
    found = units.read(as_ir(m.build(z))).units
    assert not next(unit for unit in found if unit.op == "MaxPool").is_integer


def test_a_reshape_by_a_computed_shape_needs_no_shape_operators() -> None:
    m = Model()
    x = m.input("x", ("batch", 3, 2, 2))
    batch = m.add("Shape", x, start=0, end=1)
    shape = m.add("Concat", batch, m.ints(-1), axis=0)
    flat = m.add("Reshape", m.add("Relu", x), shape)
    built = m.build(m.add("Gemm", flat, m.weight(12, 4)))
    assert codes(built) == ["RELU", "RESHAPE", "FULLY_CONNECTED"]
    assert compiled(built).outputs[0].shape == ("batch", 4)


def test_bias_params_need_an_integer_unit() -> None:
    m = Model()
    (unit,) = read(m, m.add("Gemm", m.input("x", (1, 2)), m.weight(2, 3)))
    with pytest.raises(ValueError, match="not an integer unit"):
        integer.bias_params(unit)


def test_quantize_rounds_half_to_even_and_saturates() -> None:
    q = QuantParams("int8", (0.5,), (1,))
    x = np.asarray([0.25, 0.75, -0.25, 1e9, -1e9, 0.0], np.float32)
    assert quantize(x, q).tolist() == [1, 3, 1, 127, -128, 1]
    assert dequantize(np.asarray([1, 3], np.int8), q).tolist() == [0.0, 1.0]


def test_uint8_moves_by_128() -> None:
    assert units.as_signed(QuantParams("uint8", (0.5,), (0,))) == QuantParams("int8", (0.5,), (-128,))
    assert units.as_signed(QuantParams("int8", (0.5,), (7,))) == QuantParams("int8", (0.5,), (7,))


def _erf_form(m: Model, order: str, *, root: float = 2**0.5, half: float = 0.5) -> str:
    x = m.add("Relu", m.input("x", (2, 5)))
    inner = m.add("Div", x, m.scalar(root)) if order != "b" else m.add("Mul", m.scalar(1 / root), x)
    one = m.add("Add", m.add("Erf", inner), m.scalar(1))
    if order == "a":
        return m.add("Mul", m.add("Mul", x, one), m.scalar(half))
    if order == "b":
        return m.add("Mul", m.add("Mul", x, m.scalar(half)), one)
    return m.add("Mul", m.add("Mul", m.scalar(half), one), x)


@pytest.mark.parametrize("order", ["a", "b", "c"])
def test_f7_gelu_in_any_order(order: str) -> None:
    m = Model()
    built = m.build(_erf_form(m, order))
    assert codes(built) == ["RELU", "GELU"]
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 5)).astype(np.float32)}
    (expected,) = run_onnx(built, feeds).values()
    (found,) = run_litert(built, feeds).values()
    assert relative_error(found, expected) <= 1e-4  # of the range, as in tests/parity


@pytest.mark.parametrize(("root", "half"), [(2.0, 0.5), (2**0.5, 0.4)])
def test_f7_not_with_other_numbers(root: float, half: float) -> None:
    m = Model()
    assert "GELU" not in codes(m.build(_erf_form(m, "a", root=root, half=half)))


def test_f7_not_where_a_part_is_read_elsewhere() -> None:
    m = Model()
    x = m.input("x", (2, 5))
    one = m.add("Add", m.add("Erf", m.add("Div", x, m.scalar(2**0.5))), m.scalar(1))
    gelu = m.add("Mul", m.add("Mul", x, one), m.scalar(0.5))
    assert "GELU" not in codes(m.build(gelu, one))


def test_f6_a_transposed_second_factor() -> None:
    m = Model()
    x = m.input("x", (2, 4, 3))
    assert codes(m.build(m.add("MatMul", x, m.add("Transpose", x, perm=[0, 2, 1])))) == ["BATCH_MATMUL"]


def test_f6_not_for_another_permutation() -> None:
    m = Model()
    x = m.input("x", (3, 3, 3))
    y = m.add("MatMul", x, m.add("Transpose", x, perm=[2, 1, 0]))
    assert codes(m.build(y)) == ["TRANSPOSE", "BATCH_MATMUL"]


@dataclass(frozen=True)
class Window:
    id: str
    axis: Axis
    expected: str


def axis(size: int | None, kernel: int, stride: int, before: int, after: int, *, dilation: int = 1) -> Axis:
    reach = (kernel - 1) * dilation + 1
    out = None if size is None else (size + before + after - reach) // stride + 1
    return Axis(size, kernel, stride, dilation, before, after, out)


@pytest.mark.parametrize(
    "case",
    [
        Window("no-pads", axis(9, 3, 2, 0, 0), "VALID"),
        Window("unused-pad-after", axis(8, 2, 2, 0, 1), "VALID"),
        Window("odd-stride-2", axis(9, 3, 2, 1, 1), "SAME"),
        Window("even-stride-2", axis(8, 3, 2, 1, 1), ""),
        Window("upper", axis(8, 3, 2, 0, 1), "SAME"),
        Window("too-many-outputs", axis(5, 3, 1, 2, 2), ""),
        Window("dilated", axis(9, 3, 1, 2, 2, dilation=2), "SAME"),
        Window("dynamic-stride-1", axis(None, 3, 1, 1, 1), "SAME"),
        Window("dynamic-stride-2", axis(None, 3, 2, 1, 1), ""),
    ],
    ids=lambda case: case.id,
)
def test_padding_schemes(case: Window) -> None:
    assert Windows((case.axis,)).padding == case.expected
