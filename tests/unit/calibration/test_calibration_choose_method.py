"""choose_method: the gentlest range that loses no more than the least; what decides a label stays uncut."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.calibration import choose_method
from edgekit.calibration.choose_method import choose, expected_error, uncut
from edgekit.calibration.evidence import Evidence, Seen
from edgekit.spec import Array, Range

SEEDS = range(4)


def seen(values: Array) -> Seen:
    evidence, row = Evidence(("x",), counted=True), values.reshape(1, -1)
    evidence.see(np.zeros(1, np.intp), row.min(keepdims=True), row.max(keepdims=True), start=0)
    evidence.count([(row, np.zeros(row.size, np.intp))])
    return evidence.seen(0)


def normal(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=100_000).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_distribution_without_a_tail_keeps_its_extrema(seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-1, 2, 100_000).astype(np.float32)
    assert choose(seen(values)) == ("minmax", Range(float(values.min()), float(values.max())))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_tail_is_cut(seed: int) -> None:
    one = seen(normal(seed) ** 5)
    assert one.histogram is not None
    name, found = choose(one)
    assert name != "minmax"
    plain = expected_error(one.histogram, Range(one.low, one.high))
    assert expected_error(one.histogram, found) < plain / (1 + choose_method.TOLERANCE)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_error_is_that_of_real_quantization(seed: int) -> None:
    values, extent = normal(seed), Range(-2.5, 2.5)
    exact = np.asarray(values, np.float64)
    step = 5.0 / 255
    real = float(((np.clip(np.rint(exact / step) * step, -2.5, 2.5) - exact) ** 2).sum())
    histogram = seen(values).histogram
    assert histogram is not None
    assert expected_error(histogram, extent) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_choice_loses_more_than_the_tolerance(seed: int) -> None:
    values = normal(seed) ** 3
    one = seen(values)
    assert one.histogram is not None
    least = min(expected_error(one.histogram, m.range_of(one)) for _, m in choose_method.CANDIDATES)
    assert expected_error(one.histogram, choose(one)[1]) <= least * (1 + choose_method.TOLERANCE)


def test_outputs_inputs_and_what_softmax_reads_stay_uncut() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[n, 4] x) => (float[n, 4] y) {
            a = Exp(x)
            s = Neg(a)
            y = Softmax(s)
        }"""
    )
    assert uncut(model, ("x", "a", "s", "y")) == {"x", "s", "y"}
