"""What LiteRT's GPU accelerator gets: refusals that need no GPU, and forms of the same numbers on a CPU.

The forms are exact: bit for bit on LiteRT's CPU kernels; seed 0. The accelerator itself: tests/gpu.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.accelerator import refusals, wanted
from edgekit.backends.litert.backend import LiteRt, for_device, translate
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.gpu_forms import PINNED
from edgekit.backends.litert.gpu_kernels import NUMBERS_RULE, TAKES, gpu_rejections
from edgekit.backends.litert.kernels import KERNELS
from edgekit.errors import InputError
from edgekit.passes import canonicalize
from edgekit.spec import RunOptions
from edgekit.target import may_fall_back, with_fallback
from tests.gpu.litert_kernels import REFUSED, RIGHT, WRONG, Kernel
from tests.gpu.models import built, floats

pytest.importorskip("ai_edge_litert")
TARGET = targets.load("gpu-litert")
STRIDED = """
g (float[1, 4, {size}, {size}] x) => (float[1, 3, {out}, {out}] y)
<float s = {{0.03}}, int8 z = {{5}}, float t = {{0.2}}, int8[3, 4, 1, 1] w, float[3] sw>
{{
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear <axis = 0> (w, sw)
  c = Conv <strides = [{stride}, {stride}]> (d, v) e = QuantizeLinear(c, t, z) y = DequantizeLinear(e, t, z)
}}
"""
LOG = """INFO: created
ERROR: Following operations are not supported by GPU delegate:
CAST: Tensor type(INT64) is not supported. i
ARG_MIN: Operation is not supported.
3 operations will run on the GPU, and the remaining 2 operations will run on the CPU.
"""


def rules(kernel: Kernel) -> set[str]:
    model, compiled = for_device(canonicalize(built(kernel.text, **kernel.arrays)), None, device="gpu")
    return {each.rule for each in gpu_rejections(compiled.lowered.graph, model)}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_taken(name: str) -> None:
    assert rules(RIGHT[name]) == set()


@pytest.mark.parametrize(("name", "kernel", "rule"), [
    *((name, kernel, NUMBERS_RULE) for name, kernel in WRONG.items()),
    *((name, kernel, "gpu") for name, kernel in REFUSED.items()),
])  # fmt: skip
def test_what_is_not_is_refused(name: str, kernel: Kernel, rule: str) -> None:
    assert rules(kernel) == {rule}, name


@pytest.mark.parametrize(("size", "stride"), [(8, 2), (7, 2), (9, 3), (8, 3)])
def test_the_form_of_a_strided_point_is_the_same_numbers(size: int, stride: int, tmp_path: Path) -> None:
    """W7, where the last window ends at the border and where it does not."""
    text = STRIDED.format(size=size, stride=stride, out=-(-size // stride))
    weights = np.random.default_rng(0).integers(-127, 128, (3, 4, 1, 1), np.int8)
    model = built(text, w=weights, sw=np.full(3, 0.01, np.float32))
    found = []
    for device in ("cpu", "gpu"):
        compiled = translate(model, device=device)
        path = tmp_path / f"{device}.tflite"
        path.write_bytes(flatbuffer.pack(compiled.lowered.graph))
        filters = {each.shape for each in compiled.lowered.graph.tensors if each.dtype == "int8"}
        assert ((3, 2, 2, 4) in filters) == (device == "gpu")
        (binding,) = compiled.inputs
        x = np.ascontiguousarray(floats(1, 4, size, size).transpose(binding.permutation or (0, 1, 2, 3)))
        found.append(LiteRtEngine(path, RunOptions(), ["x"], ["y"]).run({"x": x})["y"])
    np.testing.assert_array_equal(found[0], found[1])


def test_an_open_batch_is_pinned_where_it_has_to_be_and_only_there() -> None:
    for op, is_pinned in (
        ("SpaceToDepth <blocksize = 2> (x)", True),
        ("MaxPool <kernel_shape = [2, 2]> (x)", False),
    ):
        text = f"g (float[n, 4, 6, 6] x) => (float[n, a, b, c] y) {{ y = {op} }}"
        model, compiled = for_device(canonicalize(built(text)), None, device="gpu")
        assert (PINNED in compiled.notes) == is_pinned
        first = model.graph.inputs[0].shape
        assert first is not None
        assert (first[0] == 1) == is_pinned
        assert PINNED not in for_device(canonicalize(built(text)), None, device="cpu")[1].notes


def test_rejections_name_the_models_node() -> None:
    model = canonicalize(built("g (float[1, 2, 3, 4, 5] x) => (float[1, 2, 3, 4, 5] y) { y = Relu(x) }"))
    assert [each.node for each in LiteRt().check(model, TARGET)] == ["relu_0"]


def test_the_log_names_operators_and_reasons() -> None:
    assert refusals(LOG) == (
        ("CAST", "Tensor type(INT64) is not supported. i"),
        ("ARG_MIN", "Operation is not supported."),
    )
    assert refusals("INFO: created\n") == ()


def test_settings_are_known_ones() -> None:
    assert wanted(TARGET.run.options()) == {"gpu.precision": "f32", "gpu.fallback": "refuse"}
    assert may_fall_back("litert", TARGET.run.options())
    assert wanted(with_fallback(TARGET.run.options()))["gpu.fallback"] == "allow"
    for setting in (("gpu.precision", "f8"), ("gpu.speed", "high")):
        with pytest.raises(InputError, match="unknown setting"):
            wanted(RunOptions(device="gpu", settings=(setting,)))


def test_the_table_has_builtins_that_the_compiler_writes() -> None:
    assert set(TAKES) <= set(KERNELS) | {"QUANTIZE", "RELU6"}


def test_a_model_of_text_is_no_sabotage_of_itself() -> None:
    """What must not fire: the same operator on the CPU target is taken."""
    cpu = targets.load("litert-cpu")
    model = canonicalize(built(REFUSED["G1 LOG_SOFTMAX"].text))
    assert isinstance(model, ir.Model)
    assert LiteRt().check(model, cpu) == ()
    assert LiteRt().check(model, TARGET)
