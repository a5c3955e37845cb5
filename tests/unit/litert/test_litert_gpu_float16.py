"""The type that LiteRT's GPU computes a float16 file in: float32 where any node needs it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgekit import target as targets
from edgekit.backends.litert.accelerator import PRECISION
from edgekit.backends.litert.gpu_device import float32_nodes, options_for
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Precision, Range, RunOptions
from tests.gpu.models import built

TARGET = targets.load("gpu-litert")
MODEL = "g (float[1, 8] x) => (float[1, 8] y) { a = Mul(x, x) y = Softmax(a) }"


@pytest.mark.parametrize(
    ("ranges", "computes"),
    [({"a": Range(0, 9)}, "f16"), ({"a": Range(0, 1e5)}, "f32")],
    ids=["all fit", "one overflows"],
)
def test_one_node_in_float32_makes_it_all(ranges: Mapping[str, Range], computes: str) -> None:
    half = to_float16(built(MODEL), ranges=ranges)
    options = options_for(Precision.FP16, TARGET.run.options(), half)
    assert dict(options.settings)[PRECISION] == computes
    assert bool(float32_nodes(half)) == (computes == "f32")


def test_a_cpu_and_other_precisions_are_left_alone() -> None:
    half = to_float16(built(MODEL))
    assert options_for(Precision.FP16, RunOptions(), half) == RunOptions()
    assert options_for(Precision.FP32, TARGET.run.options(), built(MODEL)) == TARGET.run.options()
