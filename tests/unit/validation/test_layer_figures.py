"""Arrays at a kernel's end -> figures: known errors, known clipping, by channel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.spec import Array, QuantParams
from edgekit.validation.layers import Figures, Layer, limits, sqnr_db

SEED = 11
STEP = 0.5
PARAMS = QuantParams("int8", (STEP,), (-28,))  # holds -50 to 77.5


def figures(
    reference: Array,
    candidate: Array,
    expected: Array | None = None,
    *,
    params: QuantParams | None = None,
    axis: int | None = 1,
) -> Figures:
    layer = Layer("y", params=params, axis=axis)
    half = max(1, len(reference) // 2)
    truth = reference if expected is None else expected
    layer.add(reference[:half], candidate[:half], expected=truth[:half])
    if len(reference) > half:
        layer.add(reference[half:], candidate[half:], expected=truth[half:])
    return layer.finish()


def test_equal_streams_have_no_error() -> None:
    values = np.random.default_rng(SEED).normal(size=(4, 3, 5, 5)).astype(np.float32)
    found = figures(values, values)
    assert found.total.sqnr_db == found.own.sqnr_db == math.inf
    assert found.total.cosine == pytest.approx(1.0)
    assert found.total.max_steps is None
    assert found.channels.noise == (0.0, 0.0, 0.0)
    assert found.used == 1.0
    assert found.elements == values.size


def test_own_and_total_error_are_told_apart() -> None:
    """The error comes from before: the candidate is what is expected of its inputs."""
    rng = np.random.default_rng(SEED)
    reference = rng.normal(size=(4, 3, 8)).astype(np.float32)
    candidate = reference + np.float32(0.1)
    found = figures(reference, candidate, candidate)
    assert found.own.sqnr_db == math.inf
    assert found.total.mean_error == pytest.approx(0.1, rel=1e-4)
    power = float(np.mean(reference.astype(np.float64) ** 2))
    assert found.total.sqnr_db == pytest.approx(10 * math.log10(power / 0.01), abs=1e-3)
    assert found.total.rms == pytest.approx(0.1, rel=1e-4)


def test_the_channel_with_the_error_is_named() -> None:
    reference = np.ones((2, 4, 6), np.float32)
    candidate = reference.copy()
    candidate[:, 2] += 0.5
    found = figures(reference, candidate).channels
    assert found.noise == pytest.approx((0.0, 0.0, 0.25, 0.0))
    assert found.mean_error == pytest.approx((0.0, 0.0, 0.5, 0.0))
    assert found.signal == pytest.approx((1.0,) * 4)


def test_channels_on_the_last_axis() -> None:
    reference = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    found = figures(reference, reference, axis=2).channels
    assert found.low == (0.0, 1.0, 2.0)
    assert found.high == (21.0, 22.0, 23.0)


def test_without_channels_everything_is_one() -> None:
    reference = np.arange(4, dtype=np.float32)
    found = figures(reference, reference + 1, axis=None).channels
    assert (found.low, found.high, found.noise) == ((0.0,), (3.0,), (1.0,))


def test_what_the_integers_cannot_hold_is_counted() -> None:
    assert limits(PARAMS) == (-50.0, 77.5)
    reference = np.array([[-60.0, -50.2, 0.0, 77.7, 100.0, 90.0, 78.0, 1.0]], np.float32)
    candidate = np.clip(np.rint(reference / STEP) * STEP, -50.0, 77.5)
    found = figures(reference, candidate, params=PARAMS, axis=None)
    assert found.clipped_low == 1 / 8  # -50.2 rounds to the last integer: it is not clipped
    assert found.clipped_high == 3 / 8
    assert found.edge_low == 2 / 8
    assert found.edge_high == 4 / 8
    assert found.used == 1.0
    assert found.total.max_steps == pytest.approx(22.5 / STEP)


def test_a_range_far_too_wide_is_hardly_used() -> None:
    reference = np.array([[0.1, -0.2, 0.3]], np.float32)
    found = figures(reference, reference, params=PARAMS, axis=None)
    assert found.used == pytest.approx(0.5 / 127.5)
    assert found.clipped_low == found.clipped_high == 0.0


def test_a_tensor_of_zeros_has_no_signal() -> None:
    zeros = np.zeros((1, 2), np.float32)
    assert figures(zeros, zeros + 1).total.sqnr_db == -math.inf
    assert figures(zeros, zeros).total.sqnr_db == math.inf
    assert figures(zeros, zeros).total.cosine == 1.0


def test_powers_in_decibels() -> None:
    assert sqnr_db(100.0, 1.0) == pytest.approx(20.0)
    assert sqnr_db(0.0, 1.0) == -math.inf
    assert sqnr_db(0.0, 0.0) == math.inf


def test_shapes_that_differ_are_refused() -> None:
    layer = Layer("y", params=None, axis=None)
    array = np.zeros((1, 2), np.float32)
    with pytest.raises(DataError, match=r"\(1, 3\) in the candidate"):
        layer.add(array, np.zeros((1, 3), np.float32), expected=array)


def test_nothing_seen_is_refused() -> None:
    with pytest.raises(DataError, match="no value of 'y' was seen"):
        Layer("y", params=None, axis=1).finish()


def test_a_channel_with_another_gain_is_a_line_with_little_left() -> None:
    rng = np.random.default_rng(7)
    expected = rng.standard_normal((4, 3, 50)).astype(np.float32)
    gain, offset = np.array([1.0, 0.5, 1.5]), np.array([0.0, 2.0, -1.0])
    noise = rng.standard_normal(expected.shape) * 0.01
    candidate = (expected * gain[:, None] + offset[:, None] + noise).astype(np.float32)
    layer = Layer("x", params=None, axis=1)
    for part in (slice(0, 2), slice(2, 4)):  # streamed: two batches give what one gives
        layer.add(expected[part], candidate[part], expected=expected[part])
    channels = layer.finish().channels
    assert channels.gain == pytest.approx(gain, abs=0.01)
    assert channels.offset == pytest.approx(offset, abs=0.01)
    assert max(channels.residual) < 2e-4
    assert channels.noise[1] > 1.0


def test_a_constant_channel_has_gain_1() -> None:
    expected = np.full((2, 1, 8), 3.0, np.float32)
    layer = Layer("x", params=None, axis=1)
    layer.add(expected, expected + 1, expected=expected)
    assert layer.finish().channels.gain == (1.0,)
    assert layer.finish().channels.offset == pytest.approx((1.0,))


def test_what_clipping_costs_is_counted_on_the_reference() -> None:
    params = QuantParams("uint8", (1 / 255,), (0,))
    reference = np.array([[0.5, 1.0, 2.0]], np.float32)
    layer = Layer("x", params=params, axis=None)
    layer.add(reference, reference, expected=reference)  # the candidate is no matter
    beyond = 1.0 - 0.5 / 255  # what rounds to the last integer is not clipped
    assert layer.finish().clip_noise == pytest.approx(beyond**2 / 5.25, rel=1e-4)


def test_nothing_is_lost_inside_the_range() -> None:
    layer = Layer("x", params=QuantParams("uint8", (1.0,), (0,)), axis=None)
    inside = np.array([[0.0, 255.4]], np.float32)
    layer.add(inside, inside, expected=inside)
    assert layer.finish().clip_noise == 0.0
