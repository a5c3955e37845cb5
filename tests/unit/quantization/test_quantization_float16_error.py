"""The error of float16 sums is estimated from data, and the fewest nodes that mend it stay in float32.

The judge is NumPy: it adds up one term after the other in float16, as GPU kernels do. Seed 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.errors import DataError
from edgekit.quantization import float16_error
from edgekit.quantization.float16 import left_float, to_float16
from edgekit.quantization.float16_error import GOAL, LIMITS, Estimate, Float16Error, estimated
from edgekit.quantization.float16_noise import SWITCHES, terms_of, with_switches
from edgekit.spec import Array, Feeds, Range, RunOptions

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating[Any]]
Build = Callable[..., ir.Model]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]

TERMS, COLUMNS = 1024, 24
# a long sum of positive terms, of which nearly all is taken away again
CANCELS = (
    "g (float[batch, 1024] x) => (float[batch, 24] y) <float[1024, 24] w, float[24] most> "
    "{ a = MatMul(x, w) b = Sub(a, most) y = Relu(b) }"
)


def batches_of(feeds: Feeds) -> Callable[[int], Iterator[dict[str, Array]]]:
    count = len(next(iter(feeds.values())))

    def stream(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, count, size):
            yield {name: array[start : start + size] for name, array in feeds.items()}

    return stream


def estimate(model: ir.Model, feeds: Feeds, ranges: Mapping[str, Range]) -> Float16Error:
    return estimated(model, ranges=ranges, open_model=open_model, batches=batches_of(feeds))


def cancelling(build: Build) -> tuple[ir.Model, dict[str, Floats]]:
    rng = np.random.default_rng(0)
    w = rng.uniform(0, 1, (TERMS, COLUMNS)).astype(np.float32)
    x = rng.uniform(0, 1, (32, TERMS)).astype(np.float32)
    most = (x @ w).min(axis=0).astype(np.float32)
    return build(CANCELS, w=w, most=most), {"x": x}


def one_by_one(a: Numbers, b: Numbers) -> Numbers:
    """a @ b in float16: each product and each partial sum is rounded."""
    total = np.zeros((len(a), b.shape[1]), np.float16)
    for k in range(a.shape[1]):
        total = (total + a[:, k : k + 1] * b[k]).astype(np.float16)
    return total


def on_a_gpu(model: ir.Model, feeds: Mapping[str, Floats]) -> Numbers:
    """Runs Gemm (transB = 1), Relu and Cast with the element types that the file says."""
    values: dict[str, Any] = dict(feeds)
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        values[name] = value.const_value.numpy()
    for node in model.graph:
        read = [values[each.name or ""] for each in node.inputs if each is not None]
        if node.op_type == "Cast":
            wide = node.attributes["to"].as_int() == ir.DataType.FLOAT
            found = read[0].astype(np.float32 if wide else np.float16)
        elif node.op_type == "Gemm":
            x, w, bias = read
            found = (one_by_one(x, w.T) if x.dtype == np.float16 else x @ w.T) + bias
        else:
            assert node.op_type == "Relu"
            found = np.maximum(read[0], 0)
        values[node.outputs[0].name or ""] = found
    return np.asarray(values["y"])


def error(got: Array, wanted: Array) -> float:
    exact = wanted.astype(np.float64)
    return float(np.abs(got.astype(np.float64) - exact).max() / np.ptp(exact))


def test_a_sum_that_is_too_coarse_is_found_and_mended(build: Build, exact_ranges: Ranges) -> None:
    """Sabotage: the same file without what was found is off by more than the limit."""
    model, feeds = cancelling(build)
    ranges = exact_ranges(model, feeds)
    found = estimate(model, feeds, ranges)
    assert [model.graph.node(name).op_type for name in found.kept] == ["Gemm"]
    assert not found.before.within(LIMITS)
    assert found.after.within(GOAL)
    wanted = on_a_gpu(model, feeds)
    mended = to_float16(model, ranges=ranges, keep=found.kept)
    assert error(on_a_gpu(mended, feeds), wanted) < LIMITS.error
    assert error(on_a_gpu(to_float16(model, ranges=ranges), feeds), wanted) > LIMITS.error
    assert [each.rule for each in left_float(model, ranges=ranges, keep=found.kept)] == ["float16-error"]
    assert "1 operator that adds up or rounds too coarsely stays in float32" in found.said


def test_a_model_that_does_not_need_it_keeps_nothing(build: Build, exact_ranges: Ranges) -> None:
    rng = np.random.default_rng(0)
    w = rng.uniform(-0.5, 0.5, (TERMS, COLUMNS)).astype(np.float32)
    feeds = {"x": rng.uniform(0, 1, (32, 1, TERMS)).astype(np.float32)}
    plain = build(
        "g (float[batch, 1, 1024] x) => (float[batch, 1, 24] y) <float[1024, 24] w> "
        "{ a = MatMul(x, w) y = Relu(a) }",
        w=w,
    )
    found = estimate(plain, feeds, exact_ranges(plain, feeds))
    assert (found.kept, found.before) == ({}, found.after)
    assert 0 < found.before.error < LIMITS.error
    assert "float16 is off by" in found.said


@pytest.mark.parametrize(
    ("shift", "least"), [(0.0, 0.7), (1.0, 0.7), (0.5, 0.4)], ids=["signs differ", "positive", "many near 0"]
)
def test_the_estimate_is_as_large_as_the_error_of_adding_one_by_one(
    build: Build, shift: float, least: float
) -> None:
    """Root mean squares within 30 % of each other, for sums that wander and sums that grow.

    Not where sums grow and many terms are near 0: those are lost beside the sum, all to the same side. Then
    the estimate is half of what it is.
    """
    rng = np.random.default_rng(0)
    w = (rng.uniform(-0.5, 0.5, (TERMS, COLUMNS)) + shift).astype(np.float32)
    x = (rng.uniform(-0.5, 0.5, (64, TERMS)) + shift).astype(np.float32)
    model = build("g (float[64, 1024] x) => (float[64, 24] y) <float[1024, 24] w> { y = MatMul(x, w) }", w=w)
    switched = with_switches(model)
    switches = np.array([each.is_sum for each in switched.places], np.float32)
    with open_model(switched.model, RunOptions()) as session:
        exact = session.run({"x": x, SWITCHES: 0 * switches})["y"].astype(np.float64)
        guessed = session.run({"x": x, SWITCHES: switches})["y"].astype(np.float64) - exact
    real = one_by_one(x.astype(np.float16), w.astype(np.float16)).astype(np.float64) - exact
    ratio = float(np.sqrt(np.mean(guessed**2) / np.mean(real**2)))
    assert least < ratio < 1.3, ratio
    assert np.abs(exact - x.astype(np.float64) @ w).max() < 1e-3  # off is the float model


def test_a_rounding_vanishes_where_all_that_touch_it_are_kept(build: Build) -> None:
    model = build(
        "g (float[2, 4] x) => (float[2, 4] y) <float[4, 4] w> "
        "{ a = MatMul(x, w) b = Relu(a) c = Mul(b, b) y = Exp(c) }",
        w=np.eye(4, dtype=np.float32),
    )
    a, b, c = (str(node.name) for node in tuple(model.graph)[:3])
    places = {(each.value, each.is_sum): each.operators for each in with_switches(model).places}
    assert places["a", True] == (a,)
    assert places["a", False] == (a, b, c)
    assert ("b", False) not in places  # Relu rounds nothing
    assert {each.value for each in with_switches(model, left=[a, b, c]).places} == {"c", "y"}


@dataclass(frozen=True)
class Sum:
    """A node that sums up ``terms``; ``w`` is the shape of its constant."""

    name: str
    head: str
    body: str
    terms: int
    w: tuple[int, ...] = ()


SUMS = (
    Sum("1x1", "float[1, 8, 4, 4] x) => (float[1, 6, 4, 4]", "Conv(x, w)", 8, (6, 8, 1, 1)),
    Sum("depthwise", "float[1, 8, 4, 4] x) => (float[1, 8, 2, 2]", "Conv<group=8>(x, w)", 9, (8, 1, 3, 3)),
    Sum(
        "transposed",
        "float[1, 8, 2, 2] x) => (float[1, 6, 4, 4]",
        "ConvTranspose<strides=[2, 2]>(x, w)",
        8,
        (8, 6, 2, 2),
    ),
    Sum("gemm", "float[2, 8] x) => (float[2, 6]", "Gemm<transB=1>(x, w)", 8, (6, 8)),
    Sum("matmul", "float[1, 2, 3, 8] x) => (float[1, 2, 3, 6]", "MatMul(x, w)", 8, (8, 6)),
    Sum("global pool", "float[1, 2, 8, 8] x) => (float[1, 2, 1, 1]", "GlobalAveragePool(x)", 64),
    Sum(
        "pool",
        "float[1, 2, 8, 8] x) => (float[1, 2, 4, 4]",
        "AveragePool<kernel_shape=[2, 2], strides=[2, 2]>(x)",
        4,
    ),
    Sum("no sum", "float[2, 8] x) => (float[2, 8]", "Softmax(x)", 0),
)


@pytest.mark.parametrize("case", SUMS, ids=lambda case: case.name)
def test_terms_of_a_sum(build: Build, case: Sum) -> None:
    """And the second kernel, over squares, is one that ONNX Runtime takes."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal(case.w).astype(np.float32)} if case.w else {}
    model = build(f"g ({case.head} y) {{ y = {case.body} }}", **constants)
    assert terms_of(model.graph[-1]) == case.terms
    switched = with_switches(model)
    (x,) = model.graph.inputs
    shape = [int(str(dim)) for dim in x.shape or ()]
    feeds = {str(x.name): rng.standard_normal(shape).astype(np.float32)}
    with open_model(switched.model, RunOptions()) as session:
        on = session.run({**feeds, SWITCHES: np.ones(len(switched.places), np.float32)})["y"]
        off = session.run({**feeds, SWITCHES: np.zeros(len(switched.places), np.float32)})["y"]
    assert 0 < error(on, off) < 0.01


def test_what_ranges_leave_in_float32_is_not_emulated(build: Build, exact_ranges: Ranges) -> None:
    """A value that float16 cannot hold would make everything behind it infinite."""
    model = build(
        "g (float[batch, 8] x) => (float[batch, 8] y) <float[8, 8] w, float hot = {30000}, "
        "float cold = {0.00003}> { a = MatMul(x, w) b = Mul(a, hot) y = Mul(b, cold) }",
        w=np.eye(8, dtype=np.float32),
    )
    feeds = {"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32) * 4}
    found = estimate(model, feeds, exact_ranges(model, feeds))
    assert found.kept == {}
    assert found.before.error < LIMITS.error


def test_the_same_data_give_the_same_answer(build: Build, exact_ranges: Ranges) -> None:
    model, feeds = cancelling(build)
    ranges = exact_ranges(model, feeds)
    assert estimate(model, feeds, ranges) == estimate(model, feeds, ranges)


def test_without_samples_it_says_so(build: Build) -> None:
    model, feeds = cancelling(build)
    with pytest.raises(DataError, match="no samples to estimate"):
        estimate(model, {"x": feeds["x"][:0]}, {})


def test_labels_count_too(build: Build, exact_ranges: Ranges, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that are nearly equal: the range is held, labels are not. Sabotage: without a bar on them."""
    rng = np.random.default_rng(0)
    w = rng.uniform(-0.5, 0.5, (TERMS, COLUMNS)).astype(np.float32)
    w[:, 1:] = w[:, :1] + 1e-3 * w[:, 1:]
    w[:, -1] = 0
    most = np.full(COLUMNS, -100, np.float32)
    most[-1] = 0  # one score is always 0: the range is wide
    model = build(CANCELS, w=w, most=most)
    feeds = {"x": rng.uniform(-0.5, 0.5, (32, TERMS)).astype(np.float32)}
    ranges = exact_ranges(model, feeds)
    found = estimate(model, feeds, ranges)
    assert found.before.error < LIMITS.error
    assert (found.before.flips or 0) > (LIMITS.flips or 0)
    assert found.kept
    monkeypatch.setattr(float16_error, "LIMITS", Estimate(0.01, 1.0))
    assert estimate(model, feeds, ranges).kept == {}


def test_a_share_of_labels_that_nobody_could_see_is_none() -> None:
    assert str(Estimate(0.001, 1.1e-54)) == "0.001 of the output's range, 0 of the labels"
    assert str(Estimate(0.001, 0.0042)) == "0.001 of the output's range, 0.0042 of the labels"
    assert str(Estimate(0.001)) == "0.001 of the output's range"
