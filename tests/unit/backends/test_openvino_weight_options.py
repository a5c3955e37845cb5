"""Run options of OpenVINO artifacts with integer weights: never dynamic unasked, a stated group else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.openvino_lowering import GROUP_SIZE, options_for
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.weights import place_weights
from edgekit.spec import Precision
from edgekit.target import load

OPENVINO = load("openvino-cpu")


def dense(*depths: int) -> ir.Model:
    """MatMul after MatMul; the weights are (depth, next depth)."""
    widths = [*depths, 32]
    names = ["x", *(f"v{i}" for i in range(1, len(widths)))]
    nodes = " ".join(f"{names[i + 1]} = MatMul({names[i]}, w{i})" for i in range(len(depths)))
    shapes = ", ".join(f"float[{widths[i]}, {widths[i + 1]}] w{i}" for i in range(len(depths)))
    text = f"g (float[2, n, {widths[0]}] x) => (float[2, n, 32] {names[-1]}) <{shapes}> {{ {nodes} }}"
    tensors = [
        ir.tensor(np.ones((widths[i], widths[i + 1]), np.float32), name=f"w{i}") for i in range(len(depths))
    ]
    head = '<ir_version: 10, opset_import: ["" : 21]>\n'
    return canonicalize(ir.from_onnx_text(head + text, initializers=tensors))


@dataclass(frozen=True)
class Case:
    id: str
    depths: tuple[int, ...]
    precision: Precision
    group: str


CASES = [
    Case("largest group that divides", (64, 128), Precision.DYNAMIC, "64"),
    Case("the smaller one where one sum needs it", (64, 96), Precision.DYNAMIC, "32"),
    Case("w8 is never dynamic", (64, 128), Precision.W8, "0"),
    Case("w4 is never dynamic", (64, 128), Precision.W4, "0"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_group_is_always_stated(case: Case) -> None:
    canonical = dense(*case.depths)
    model = apply(canonical, place_weights(canonical, OPENVINO, case.precision))
    options = OPENVINO.run.options()
    found = options_for(model, case.precision, options)
    assert dict(found.settings) == {**dict(options.settings), GROUP_SIZE: case.group}
    assert found.settings == tuple(sorted(found.settings))
    assert (found.threads, found.device) == (options.threads, options.device)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.W8A8])
def test_other_precisions_keep_their_options(precision: Precision) -> None:
    options = OPENVINO.run.options()
    assert options_for(dense(64), precision, options) is options
