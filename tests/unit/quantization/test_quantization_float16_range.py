"""What float16 cannot hold is found out of ranges, kept in float32 or brought inside, and goes wrong without.

The judge is PyTorch on the CPU: it rounds every result to float16, as a GPU does; ONNX Runtime's CPU kernels
compute float16 files in float32. Tolerance: 1 % of the output's range, seed 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends import torch_module
from edgekit.quantization.float16 import float16_notes, float32_reason, left_float, to_float16
from edgekit.quantization.float16_masks import MASKED, saturate_masks
from edgekit.spec import Array, Range

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]

# logits of 1e5, a mask of -1e9, and a normalization by hand whose epsilon float16 rounds to 0
HOT = """
g (float[4, 8] x, float[4, 8] keep) => (float[4, 8] y, float[4, 8] p, float[4, 8] z)
<float[8, 8] w, float hot = {30000}, float cold = {0.00003}, float one = {1}, float low = {-1e9},
 float epsilon = {1e-12}, float tiny = {0.000001}, int64[1] last = {-1}>
{
  a = MatMul(x, w)
  logits = Mul(a, hot)
  y = Mul(logits, cold)
  off = Sub(one, keep)
  mask = Mul(off, low)
  scores = Add(a, mask)
  p = Softmax(scores)
  s = Mul(x, tiny)
  q = Mul(s, s)
  v = ReduceMean(q, last)
  e = Add(v, epsilon)
  r = Sqrt(e)
  z = Div(s, r)
}
"""


@pytest.fixture
def hot(build: Build) -> ir.Model:
    rng = np.random.default_rng(0)
    return build(HOT, w=rng.standard_normal((8, 8)).astype(np.float32))


@pytest.fixture
def feeds() -> dict[str, Floats]:
    rng = np.random.default_rng(0)
    keep = (rng.random((4, 8)) < 0.6).astype(np.float32)
    keep[:, 0], keep[3] = 1, 0  # the last row is masked everywhere
    return {"x": rng.standard_normal((4, 8)).astype(np.float32), "keep": keep}


def in_half(model: ir.Model, feeds: Mapping[str, Floats]) -> list[Floats]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    names = [value.name or "" for value in model.graph.inputs]
    with torch.no_grad():
        got = torch_module.module_of(model)(*(torch.from_numpy(feeds[name]) for name in names))
    return [each.numpy() for each in got]


def errors(got: list[Floats], wanted: list[Floats]) -> list[float]:
    return [
        float(np.abs(a.astype(np.float64) - b).max() / np.ptp(b)) for a, b in zip(got, wanted, strict=True)
    ]


def test_a_model_that_overflows_is_found_and_repaired(
    hot: ir.Model, feeds: dict[str, Floats], evaluate: Evaluate, exact_ranges: Ranges
) -> None:
    ranges = exact_ranges(hot, feeds)
    wanted = evaluate(hot, feeds)
    found = {each.node: each.reason for each in left_float(hot, ranges=ranges)}
    by_output = {node.outputs[0].name: found.get(node.name or "", "") for node in hot.graph}
    assert "float16 ends at 65504" in by_output["logits"]
    assert "float16 loses digits" in by_output["e"]
    assert "mask constant 'low' is raised to -49152" in float16_notes(hot, ranges=ranges)[0]
    assert not by_output["scores"]  # neither the sum nor the softmax had to leave float16
    assert not by_output["p"]
    assert max(errors(in_half(to_float16(hot, ranges=ranges), feeds), wanted)) < 0.01


def test_without_the_repair_it_goes_wrong(
    hot: ir.Model, feeds: dict[str, Floats], evaluate: Evaluate
) -> None:
    """Sabotage: no ranges, and the three outputs are infinite, not a number, or far off."""
    got = in_half(to_float16(hot), feeds)
    assert not all(np.isfinite(each).all() for each in got)
    y, p, z = (not error < 0.01 for error in errors(got, evaluate(hot, feeds)))
    assert (y, p, z) == (True, True, True)


def test_a_mask_that_is_chosen_is_saturated_without_ranges(build: Build) -> None:
    model = build(
        "g (float[2, 4] x, bool[2, 4] keep) => (float[2, 4] y) <float zero = {0}, float low = {-3e38}> "
        "{ m = Where(keep, zero, low) s = Add(x, m) y = Softmax(s) }"
    )
    names, ranges = saturate_masks(model.clone(), None)
    assert (names, ranges) == (("low",), None)
    half = to_float16(model)
    assert all(value.dtype != ir.DataType.FLOAT for node in half.graph for value in node.outputs[:1][:-1])
    constants = [
        float(each.const_value.numpy()) for each in half.graph.initializers.values() if each.const_value
    ]
    assert MASKED in constants


@pytest.mark.parametrize(
    "text",
    [
        "{ m = Where(keep, zero, low) s = Add(x, m) y = Relu(s) }",
        "{ m = Where(keep, one, low) s = Add(x, m) y = Softmax(s) }",
        "{ m = Where(keep, zero, low) s = Mul(x, m) y = Softmax(s) }",
    ],
    ids=["no softmax behind it", "not 0 where it counts", "no sum"],
)
def test_what_is_no_mask_is_left_alone(build: Build, text: str) -> None:
    model = build(
        "g (float[2, 4] x, bool[2, 4] keep) => (float[2, 4] y) "
        f"<float zero = {{0}}, float one = {{1}}, float low = {{-1e9}}> {text}"
    )
    assert saturate_masks(model.clone(), {})[0] == ()


def test_scores_too_large_for_a_mask_are_left_alone(build: Build) -> None:
    model = build(
        "g (float[2, 4] x, bool[2, 4] keep) => (float[2, 4] y) <float zero = {0}, float low = {-1e9}> "
        "{ m = Where(keep, zero, low) s = Add(x, m) y = Softmax(s) }"
    )
    assert saturate_masks(model.clone(), {"x": Range(-20, 20)})[0] == ("low",)
    assert saturate_masks(model.clone(), {"x": Range(-20_000, 20)})[0] == ()


@pytest.mark.parametrize(
    ("text", "ranges", "says"),
    [
        ("{ y = Add(x, k) }", {}, "'k' is 1e-07 at most"),
        ("{ y = Relu(x) }", {"x": Range(0, 1e-6)}, "'x' is 1e-06 at most"),
        ("{ y = Sqrt(x) }", {"x": Range(1e-5, 9)}, "comes as near to 0 as 1e-05"),
        ("{ y = Reciprocal(x) }", {"x": Range(-9, -1e-5)}, "comes as near to 0 as 1e-05"),
        ("{ y = Sqrt(x) }", {"x": Range(0, 9)}, ""),  # an exact 0 has its root in float16 too
        ("{ y = Sqrt(x) }", {"x": Range(0.01, 9)}, ""),
        ("{ y = Relu(x) }", {"x": Range(-1, 1e-6)}, ""),
        ("{ y = Mul(x, w) }", {"x": Range(-1, 1)}, ""),  # a weight of which one part is small
    ],
)
def test_small_numbers(build: Build, text: str, ranges: dict[str, Range], says: str) -> None:
    model = build("g (float[2] x) => (float[2] y) <float k = {1e-7}, float[2] w = {1, 1e-7}> " + text)
    (node,) = model.graph
    reason = float32_reason(node, ranges=ranges)
    assert (says in reason) if says else not reason, reason


def test_a_long_sum_stays_wide_and_a_short_one_does_not(build: Build) -> None:
    model = build("g (float[1, 2, 64, 64] x) => (float[1, 2, 1, 1] y) { y = GlobalAveragePool(x) }")
    (node,) = model.graph
    assert "sum of 4096 terms" in float32_reason(node, ranges={"x": Range(0, 30), "y": Range(0, 20)})
    assert not float32_reason(node, ranges={"x": Range(0, 3), "y": Range(0, 2)})
