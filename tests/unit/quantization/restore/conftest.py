"""A small CNN whose channels differ by factors of up to a thousand, and data for it. Seeds are fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Array, BatchStream, Range, RunOptions, Session
from edgekit.target import load

Build = Callable[..., ir.Model]
Floats = npt.NDArray[np.float32]

UNEVEN = """
g (float[n, 3, 16, 16] image) => (float[n, 10] logits)
<float[16, 3, 3, 3] w1, float[16] b1, float[16, 1, 3, 3] wd, float[16] bd, float[24, 16, 1, 1] w2,
 float[24] b2, float[10, 24] w3, float[10] b3, int64[2] flat = {-1, 24}>
{
  a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  b = Relu(a)
  c = Conv <pads = [1, 1, 1, 1], group = 16> (b, wd, bd)
  d = Relu(c)
  e = Conv(d, w2, b2)
  f = Relu(e)
  h = GlobalAveragePool(f)
  k = Reshape(h, flat)
  logits = Gemm <transB = 1> (k, w3, b3)
}
"""


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def uneven_arrays() -> dict[str, Floats]:
    """Weights of UNEVEN: channels 2**-5 to 2**5 and back, so that the function is a usual one."""
    first = np.exp2(np.random.default_rng(1).uniform(-5, 5, 16)).astype(np.float32)
    second = np.exp2(np.random.default_rng(2).uniform(-5, 5, 16)).astype(np.float32)
    arrays = {
        "w1": draw(16, 3, 3, 3) * first[:, None, None, None] / 5,
        "b1": draw(16) * first / 5,
        "wd": draw(16, 1, 3, 3) * (second / first)[:, None, None, None] / 3,
        "bd": draw(16, seed=3) * second / 5,
        "w2": draw(24, 16, 1, 1) / second[:, None, None] / 4,
        "b2": draw(24) / 5,
        "w3": draw(10, 24) / 5,
        "b3": draw(10, seed=5) / 5,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


@pytest.fixture
def uneven(build: Build) -> ir.Model:
    """The CNN."""
    return build(UNEVEN, **uneven_arrays())


@pytest.fixture
def images() -> dict[str, Array]:
    """64 samples of standard normal values."""
    return {"image": draw(64, 3, 16, 16, seed=7)}


@pytest.fixture
def stream() -> Callable[[Mapping[str, Array]], BatchStream]:
    """Arrays (samples, ...) -> passes over them."""

    def passes(arrays: Mapping[str, Array]) -> BatchStream:
        def batches(size: int) -> Iterator[dict[str, Array]]:
            for first in range(0, len(next(iter(arrays.values()))), size):
                yield {name: array[first : first + size] for name, array in arrays.items()}

        return batches

    return passes


@pytest.fixture
def open_session() -> Callable[[ir.Model, RunOptions], Session]:
    """ONNX Runtime, as the pipeline hands it down."""
    return open_model


@pytest.fixture
def sqnr_db() -> Callable[[Floats, Floats], float]:
    """Signal to quantization noise of what was found, in decibels."""

    def measure(wanted: Floats, found: Floats) -> float:
        exact = wanted.astype(np.float64)
        return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))

    return measure


@pytest.fixture
def plain_sqnr(
    uneven: ir.Model,
    images: Mapping[str, Array],
    evaluate: Callable[[ir.Model, Mapping[str, Array]], list[Floats]],
    exact_ranges: Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]],
    sqnr_db: Callable[[Floats, Floats], float],
) -> Callable[[ir.Model], float]:
    """Model that computes what ``uneven`` does -> decibels of its plain min-max int8 form."""

    def measure(model: ir.Model) -> float:
        quantized = apply(model, place(model, load("onnxruntime-cpu"), exact_ranges(model, images)))
        return sqnr_db(evaluate(uneven, images)[0], evaluate(quantized, images)[0])

    return measure
