"""arithmetic: scales, zero points and integers, with the edges of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgekit.errors import RecipeError
from edgekit.quantization import arithmetic
from edgekit.quantization.arithmetic import (
    BIAS_LIMIT,
    activation_params,
    below,
    bias_params,
    dequantize,
    normalized,
    quantize,
    weight_params,
    with_room_for_bias,
)
from edgekit.spec import QuantParams, Range

U8, S8, SYM = "u8:tensor:asym", "s8:tensor:asym", "s8:tensor:sym"


@dataclass(frozen=True)
class Case:
    id: str
    scheme: str
    values: Range
    scale: float
    zero_point: int


CASES = (
    Case("both signs", U8, Range(-1.0, 1.55), 0.01, 100),
    Case("one-sided positive", U8, Range(0.0, 2.55), 0.01, 0),
    Case("one-sided negative", U8, Range(-2.55, 0.0), 0.01, 255),
    Case("positive away from zero is stretched to it", U8, Range(1.0, 2.55), 0.01, 0),
    Case("negative away from zero is stretched to it", U8, Range(-2.55, -1.0), 0.01, 255),
    Case("zeros", U8, Range(0.0, 0.0), 1.0, 0),
    Case("one positive value", U8, Range(5.1, 5.1), 0.02, 0),
    Case("signed", S8, Range(-1.0, 1.55), 0.01, -28),
    Case("signed zeros", S8, Range(0.0, 0.0), 1.0, -128),
    Case("symmetric", SYM, Range(-1.0, 1.27), 0.01, 0),
    Case("symmetric, negative side larger", SYM, Range(-2.54, 1.27), 0.02, 0),
    Case("smaller than any float32 product", U8, Range(0.0, 1e-44), 2.0**-100, 0),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_activation_params(case: Case) -> None:
    params = activation_params(case.scheme, case.values)
    assert params.scale == (float(np.float32(case.scale)),)
    assert params.zero_point == (case.zero_point,)
    zero = quantize(np.zeros(1, np.float32), params)
    assert dequantize(zero, params)[0] == 0.0, "zero is exact"


@pytest.mark.parametrize("case", CASES[:-1], ids=lambda case: case.id)
def test_the_range_survives_a_round_trip_within_one_step(case: Case) -> None:
    """Half a step of rounding and half a step of zero point."""
    params = activation_params(case.scheme, case.values)
    ends = np.array([case.values.low, case.values.high], np.float32)
    np.testing.assert_allclose(
        dequantize(quantize(ends, params), params), ends, rtol=0, atol=params.scale[0] * 1.001
    )


def test_signed_and_unsigned_forms_are_the_same_numbers() -> None:
    values = Range(-0.7, 2.3)
    unsigned, signed = activation_params(U8, values), activation_params(S8, values)
    assert normalized(signed) == unsigned
    assert normalized(unsigned) == unsigned
    weights = QuantParams("int8", (0.5, 0.25), (0, 0), 0)
    assert normalized(weights) == weights


def test_rounding_is_half_to_even() -> None:
    params = QuantParams("int8", (1.0,), (0,))
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32)
    assert quantize(halves, params).tolist() == [-2, -2, 0, 0, 2, 2]


def test_integers_saturate() -> None:
    params = QuantParams("uint8", (1.0,), (10,))
    assert quantize(np.array([-1e9, 1e9], np.float32), params).tolist() == [0, 255]


def test_per_channel_weights_use_their_own_scales_and_never_minus_128() -> None:
    weight = np.array([[1.27, -1.27], [0.127, -0.1275]], np.float32)
    params = weight_params("s8:channel:sym", weight, axis=0)
    assert params.axis == 0
    np.testing.assert_allclose(params.scale, [0.01, 0.1275 / 127], rtol=1e-6)
    assert quantize(weight, params).tolist() == [[127, -127], [127, -127]]


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (7, 5), (7, 3, 2)], ids=str)
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_some_rows_at_a_time_are_rounded_as_all_at_once(
    shape: tuple[int, ...], axis: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    along = None if axis is None or not shape else axis % len(shape)
    count = 1 if along is None else shape[along]
    scales = tuple(0.01 + 0.001 * number for number in range(count))
    params = QuantParams("int8", scales, tuple(range(count)), along)
    whole = quantize(array, params)
    monkeypatch.setattr(arithmetic, "AT_ONCE", 4)
    assert np.array_equal(quantize(array, params), whole)
    assert whole.shape == shape
    spread = (1,) * len(shape) if along is None else tuple(-1 if a == along else 1 for a in range(len(shape)))
    scale, zero = (np.reshape(each, spread) for each in (scales, params.zero_point))
    plain = np.rint(array.astype(np.float64) / scale) + zero
    assert np.array_equal(whole, np.clip(plain, -128 if along is None else -127, 127).astype(np.int8))


def test_a_channel_of_zeros_gets_a_useful_scale() -> None:
    params = weight_params("s8:channel:sym", np.array([[0.0, 0.0], [0.5, -1.27]], np.float32), axis=0)
    assert params.scale == (params.scale[1], params.scale[1])


def test_weights_of_zeros_have_a_scale() -> None:
    params = weight_params("s8:channel:sym", np.zeros((2, 3), np.float32), axis=0)
    assert all(np.isfinite(scale) and scale > 0 for scale in params.scale)
    assert not quantize(np.zeros((2, 3), np.float32), params).any()


def test_per_tensor_weights_have_one_scale() -> None:
    params = weight_params("s8:tensor:sym", np.array([[1.27, -0.5]], np.float32), axis=0)
    assert (len(params.scale), params.axis) == (1, None)


def test_the_channel_axis_may_be_the_last() -> None:
    weight = np.array([[1.0, 0.0], [-2.0, 0.5]], np.float32)
    params = weight_params("s8:channel:sym", weight, axis=1)
    np.testing.assert_allclose(params.scale, [2 / 127, 0.5 / 127], rtol=1e-6)
    back = dequantize(quantize(weight, params), params)
    np.testing.assert_allclose(back, weight, atol=1 / 127, rtol=0)


def test_the_bias_scale_is_the_float32_product() -> None:
    weight = QuantParams("int8", (0.1, 0.3), (0, 0), 0)
    params = bias_params(0.7, weight, channels=2)
    assert params.dtype == "int32"
    assert params.scale == tuple(float(np.float32(0.7) * np.float32(s)) for s in (0.1, 0.3))


def test_a_per_tensor_weight_gives_every_bias_the_same_scale() -> None:
    params = bias_params(0.5, QuantParams("int8", (0.25,), (0,)), channels=3)
    assert params.scale == (0.125,) * 3


def test_a_bias_that_would_overflow_raises_its_weight_scale_and_no_other() -> None:
    weight = weight_params("s8:channel:sym", np.array([[1e-12], [1.0]], np.float32), axis=0)
    bias = np.array([3.0, 3.0], np.float32)
    naive = bias / (0.01 * np.asarray(weight.scale))
    assert naive[0] > 2**31, "the case is real"
    roomy = with_room_for_bias(weight, bias, input_scale=0.01)
    assert roomy.scale[1] == weight.scale[1]
    integers = quantize(bias, bias_params(0.01, roomy, channels=2))
    assert np.abs(integers.astype(np.int64)).max() <= BIAS_LIMIT + 128  # float32 scales round
    np.testing.assert_allclose(
        dequantize(integers, bias_params(0.01, roomy, channels=2)), bias, rtol=1e-6, atol=0
    )


def test_a_per_tensor_weight_makes_room_for_its_largest_bias() -> None:
    weight = QuantParams("int8", (1e-14,), (0,))
    roomy = with_room_for_bias(weight, np.array([0.1, -5.0], np.float32), input_scale=0.01)
    assert len(roomy.scale) == 1
    assert 5.0 / (0.01 * roomy.scale[0]) <= BIAS_LIMIT * 1.001


def test_below_keeps_the_end_of_a_clip() -> None:
    for high in np.linspace(0.1, 6.0, 997):
        limit = float(np.float32(high))
        params = below(activation_params(U8, Range(0.0, limit)), limit)
        end = np.float32(params.scale[0]) * np.float32(255)
        assert limit - limit * 1e-6 <= end <= limit


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (Range(0.0, 2.0), "uint8"),
        (Range(1.0, 2.0), "uint8"),
        (Range(0.0, 0.0), "uint8"),
        (Range(-1e-6, 2.0), "int8"),
        (Range(-2.0, -1.0), "int8"),
    ],
)
def test_us8_has_a_sign_where_the_values_have_one(values: Range, dtype: str) -> None:
    params = activation_params("us8:tensor:sym", values)
    assert (params.dtype, params.zero_point) == (dtype, (0,))
    if dtype == "int8":
        assert params == activation_params(SYM, values)
    ends = dequantize(quantize(np.array([values.low, values.high], np.float32), params), params)
    assert np.abs(ends - [values.low, values.high]).max() <= params.scale[0] / 2


@pytest.mark.parametrize(
    "scheme", ["u4:tensor:asym", "u8:channel:asym", "u8:tensor:sym", "us8:tensor:asym", "float"]
)
def test_an_unknown_activation_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(RecipeError, match="no arithmetic for the scheme"):
        activation_params(scheme, Range(0, 1))


def test_an_unknown_weight_scheme_is_refused() -> None:
    with pytest.raises(RecipeError, match="no arithmetic for the scheme"):
        weight_params("u8:channel:asym", np.ones((2, 2), np.float32), axis=0)
