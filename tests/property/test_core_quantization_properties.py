"""Properties of quantization arithmetic and of observers, over everything that hypothesis thinks of."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.calibration.evidence import Evidence
from edgekit.calibration.observers import MinMax, Percentile
from edgekit.quantization.arithmetic import (
    activation_params,
    dequantize,
    normalized,
    quantize,
    weight_params,
)
from edgekit.spec import Range

finite = st.floats(-(2.0**66), 2.0**66, allow_nan=False, width=32)
ranges = st.tuples(finite, finite).map(lambda pair: Range(min(pair), max(pair)))
arrays = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=5), elements=finite)


@given(ranges, st.sampled_from(["u8:tensor:asym", "s8:tensor:asym", "s8:tensor:sym"]))
def test_zero_is_exact_and_scales_are_positive_float32(values: Range, scheme: str) -> None:
    params = activation_params(scheme, values)
    scale = params.scale[0]
    assert scale > 0
    assert scale == float(np.float32(scale))
    assert dequantize(quantize(np.zeros(1, np.float32), params), params)[0] == 0.0


@given(ranges, st.floats(0, 1))
def test_a_value_of_the_range_is_at_most_one_step_away(values: Range, part: float) -> None:
    params = activation_params("u8:tensor:asym", values)
    value = np.array([values.low + part * (values.high - values.low)], np.float32)
    error = abs(float(dequantize(quantize(value, params), params)[0]) - float(value[0]))
    assert error <= params.scale[0] * 1.001  # half a step of rounding, half a step of zero point


@given(ranges)
def test_uint8_and_int8_forms_are_the_same_numbers(values: Range) -> None:
    signed = activation_params("s8:tensor:asym", values)
    assert normalized(signed) == activation_params("u8:tensor:asym", values)


@given(arrays)
def test_weights_are_at_most_half_a_step_away(
    weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    params = weight_params("s8:channel:sym", weight, axis=0)
    back = dequantize(quantize(weight, params), params).astype(np.float64)
    step = np.asarray(params.scale).reshape(-1, *(1,) * (weight.ndim - 1))
    assert np.all(np.abs(back - weight.astype(np.float64)) <= step * 0.5001)


@given(st.lists(arrays, min_size=1, max_size=4))
def test_percentile_lies_inside_minmax(
    batches: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
) -> None:
    evidence, tensor = Evidence(("x",), counted=True), np.zeros(1, np.intp)
    for index, batch in enumerate(batches):
        row = batch.reshape(1, -1)
        low, high = row.min(axis=1, keepdims=True), row.max(axis=1, keepdims=True)
        evidence.see(tensor, low, high, start=index)
        evidence.count([(row, np.zeros(row.shape[1], np.intp))])
    seen = evidence.seen(0)
    inner, outer = Percentile(99.0).range_of(seen), MinMax().range_of(seen)
    assert outer.low <= inner.low <= inner.high <= outer.high
    assert seen.histogram is not None
    assert seen.histogram.total == sum(batch.size for batch in batches)
