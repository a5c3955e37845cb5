"""Float model x QuantPlan -> which sums of two products can leave int16 on x86 CPUs without VNNI; the repair.

    vpmaddubsw: saturate_int16(u[2i] * s[2i] + u[2i + 1] * s[2i + 1])      u in 0 .. 255, s in -127 .. 127

    largest sum  = 255 * max(s[a] if positive, plus s[b] if positive)     > 32767 saturates
    smallest sum = 255 * min(s[a] if negative, plus s[b] if negative)     < -32768 saturates

u takes every value of 0 .. 255: calibration maps its range to all of them, and a QuantizeLinear that meets
larger values saturates to 255. So the range of a sample proves nothing, and 255 is what the proof uses. Both
extremes are reached by some integers, so for known pairs the verdict is exact; for others "can" is a bound.

S1 MatMul, Gemm, Conv of one tap: terms 2i and 2i + 1 of the sum are one pair (MLAS packs four terms)
S2 Conv of several taps: the order of terms depends on the kernel (channels or taps innermost): any two
   neighbours in either order. A bound: the true pairs are among them.
S3 depthwise Conv: products are widened to int32 one by one. Exact.
S4 weights stored as uint8 with zero point 128: the kernel widens to int16 before it multiplies. Exact.
S5 activations in float or 16 bits, weights in blocks: no such kernel.

Repair, per operator that can saturate:

R1 uint8: the same integers + 128, zero point 128. The same numbers and the same digest.
R2 fitting: the scale of each output channel grows until its greatest pair fits: 255 * 128 = 32640, each
   weight rounded away from zero, so that it fits however a rounding is learned. Twice as coarse (seven
   bits, |s| <= 64) is enough for any weights; most need less, because the largest weight seldom has an
   equal neighbour. Another digest.

Source: onnxruntime core/mlas/lib/platform.cpp (dispatch), amd64/SymQgemmU8KernelAvx512.asm (the pair sum);
all else seen on an emulated Haswell: ONNX Runtime by tests/unit/quantization/emulated_cpu.py,
OpenVINO 2026.4 once by hand. AVX512 without VNNI cannot be emulated; there the source alone speaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import constant, int_attribute
from edgekit.quantization.arithmetic import SYMMETRIC_LIMIT, bias_params, quantize, quantize_as
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.quantization.weights import weight_index
from edgekit.spec import Array, Precision, QuantParams
from edgekit.target import Target

LARGEST_ACTIVATION = 255
INT16 = (-32768, 32767)
FITTING = 128  # 255 * 128 = 32640 is inside int16; 255 * 129 is not
MOST_GROWTH = SYMMETRIC_LIMIT / 63.9  # then no weight is above 64 after rounding, and no pair above 128
LEAST_GROWTH = 1 + 1 / 256  # half a step of the largest weight: less may change no integer
FEATURE = "vnni"  # in `requires` of a kernel row: exact only on x86 CPUs that have it
EVERY_CPU = ("x86-64 with VNNI", "x86-64 without VNNI", "arm64")
_PRODUCTS = ("Conv", "Gemm", "MatMul")

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairSum:
    """What the sums of two products of one operator reach.

    Attributes:
        operator: name of the head node.
        weight: name of its float initializer.
        smallest: the least sum of two products that some input gives.
        largest: the greatest.
        proof: the numbered case that gave them, "S1" to "S4".
    """

    operator: str
    weight: str
    smallest: int
    largest: int
    proof: str

    @property
    def can_saturate(self) -> bool:
        """False is a proof; true is exact in S1 and a bound in S2."""
        return self.smallest < INT16[0] or self.largest > INT16[1]


@dataclass(frozen=True)
class CrossCpu:
    """On which CPUs the integer kernels of an artifact give the same integers.

    Attributes:
        same: classes of CPU, of ``EVERY_CPU``, on which sums of products are known to be exact; none
            where nothing was checked.
        operators: those that can saturate on the other x86 CPUs.
        checked: how many operators were looked at.
        repaired: how many are stored as uint8.
    """

    same: tuple[str, ...]
    operators: tuple[str, ...]
    checked: int
    repaired: int

    def notes(self) -> tuple[str, ...]:
        """Sentences for ``Artifact.notes``; none where there was nothing to look at."""
        if not self.checked:
            return ()
        if self.operators:
            where = f"{len(self.operators)} of {self.checked} integer products, the first {self.operators[0]}"
            return (f"x86 CPUs without VNNI may saturate in {where}: results can differ there",)
        how = f"; {self.repaired} store their weights as uint8 for that" if self.repaired else ""
        same = f"the same integers on {', '.join(self.same)}"
        return (f"{same}: no sum of two products saturates, in {self.checked} operators{how}",)


def find(model: ir.Model, plan: QuantPlan) -> tuple[PairSum, ...]:
    """The sums of every Conv, Gemm and MatMul of ``plan`` that multiplies 8-bit integers.

    Args:
        model: the float model that the plan is for; untouched.
        plan: of w8a8 or dynamic.
    """
    nodes = {node.name: node for node in model.graph}
    found = []
    for operator in plan.operators:
        node, weight = nodes[operator.name], operator.weight
        if weight is None or weight.block or node.op_type not in _PRODUCTS:
            continue
        if operator.activation == "float" or not _in_bytes(operator, plan):
            continue  # S5
        found.append(_pair_sum(node, operator, weight))
    return tuple(found)


def saturating_on(model: ir.Model, plan: QuantPlan, target: Target) -> tuple[PairSum, ...]:
    """Those of ``find`` that can saturate in a kernel of ``target`` that requires VNNI."""
    return tuple(pair for pair in _on(model, plan, target) if pair.can_saturate)


def _on(model: ir.Model, plan: QuantPlan, target: Target) -> tuple[PairSum, ...]:
    """Those of ``find`` that run in a kernel of ``target`` that requires VNNI."""
    rows = [row for row in target.kernel if FEATURE in row.requires]
    fixed = {row.pattern for row in rows if row.precision is Precision.W8A8}
    found_in_inference = {(row.pattern, row.activation) for row in rows}
    trapped = {
        operator.name
        for operator in plan.operators
        if (operator.pattern, operator.activation) in found_in_inference
        or (not operator.activation and operator.pattern in fixed)
    }
    return tuple(pair for pair in find(model, plan) if pair.operator in trapped)


def as_unsigned(plan: QuantPlan, found: Iterable[PairSum]) -> QuantPlan:
    """R1. Every operator that reads one of the weights is changed, so that it is stored once."""
    names = {pair.weight for pair in found if pair.can_saturate}
    return replace(
        plan,
        operators=tuple(
            replace(operator, weight=replace(operator.weight, stored="uint8"))
            if operator.weight is not None and operator.weight.name in names
            else operator
            for operator in plan.operators
        ),
    )


def as_fitting(model: ir.Model, plan: QuantPlan, found: Iterable[PairSum]) -> QuantPlan:
    """R2, with the scales of the biases that follow from it; the plan itself where all pairs fit."""
    names = {pair.weight for pair in found}
    nodes = {node.name: node for node in model.graph}
    operators = tuple(_fitting(nodes[each.name], each, names, plan) for each in plan.operators)
    return plan if operators == plan.operators else replace(plan, operators=operators)


def repair(model: ir.Model, plan: QuantPlan, target: Target) -> QuantPlan:
    """``plan`` without sums that can saturate on ``target`` (R1); the plan itself where there are none."""
    found = saturating_on(model, plan, target)
    return as_unsigned(plan, found) if found else plan


def cross_cpu(model: ir.Model, plan: QuantPlan, target: Target) -> CrossCpu:
    """On which CPUs the integer products of ``plan`` are the same."""
    sums = _on(model, plan, target)
    found = [pair for pair in sums if pair.can_saturate]
    return CrossCpu(
        same=_same(target.backend, found) if sums else (),
        operators=tuple(pair.operator for pair in found),
        checked=len(sums),
        repaired=sum(pair.proof == "S4" for pair in sums),
    )


def _same(backend: str, found: list[PairSum]) -> tuple[str, ...]:
    """arm64 was compared with x86 for ONNX Runtime only; of other runtimes nothing is said there."""
    unknown = set() if backend == "onnxruntime" else {"arm64"}
    differs = {"x86-64 without VNNI"} if found else set()
    return tuple(cpu for cpu in EVERY_CPU if cpu not in unknown | differs)


def _in_bytes(operator: QuantOperator, plan: QuantPlan) -> bool:
    """Whether the activations with fixed scales are 8-bit; those without are, by DynamicQuantizeLinear."""
    types = [plan.activations[name].dtype for name in operator.inputs if name in plan.activations]
    return all(dtype in ("uint8", "int8") for dtype in types)


def _pair_sum(node: ir.Node, operator: QuantOperator, weight: QuantWeight) -> PairSum:
    if weight.stored == "uint8":
        return PairSum(operator.name, weight.name, 0, 0, "S4")
    array = _array(node, weight)
    stored = (
        quantize_as(array, weight.params, weight.rounding)
        if weight.rounding
        else quantize(array, weight.params)
    )
    proof, orders = _orders(node, stored.astype(np.int64))
    return _extremes(operator, weight, orders, proof)


def _array(node: ir.Node, weight: QuantWeight) -> Array:
    array = constant(node.inputs[weight_index(node.op_type)])
    if array is None:
        raise InputError(
            f"{weight.name!r} is not a constant of this model",
            why="the plan quantizes it as a weight",
            remedy="quantize again from this model",
        )
    return array


def _orders(node: ir.Node, integers: Integers) -> tuple[str, list[Integers]]:
    """The proof's case, and the pairs (outputs, pairs, 2) in each order of terms that a kernel may have."""
    if node.op_type == "MatMul":
        return "S1", [_pairs(integers.T, step=2)]
    if node.op_type == "Gemm":
        return "S1", [_pairs(integers, step=2)]
    outputs = len(integers)
    if integers.shape[1] == 1 and int_attribute(node, "group", 1) == outputs:
        return "S3", []
    if integers[0, 0].size == 1:
        return "S1", [_pairs(integers.reshape(outputs, -1), step=2)]
    orders = (integers, np.moveaxis(integers, 1, -1))
    return "S2", [_pairs(order.reshape(outputs, -1), step=1) for order in orders]


def _pairs(rows: Integers, *, step: int) -> Integers:
    """(outputs, terms) -> (outputs, pairs, 2): each pair of neighbours (step 1) or every other one (step 2).

    A last term without a partner is paired with the zero that kernels pad with.
    """
    padded = np.concatenate([rows, np.zeros((len(rows), 1 + rows.shape[1] % 2), np.int64)], axis=1)
    left, right = padded[:, :-1:step], padded[:, 1::step]
    size = min(left.shape[1], right.shape[1])
    return np.stack([left[:, :size], right[:, :size]], axis=-1)


def _extremes(operator: QuantOperator, weight: QuantWeight, orders: list[Integers], proof: str) -> PairSum:
    largest = max((int(np.maximum(p, 0).sum(axis=-1).max(initial=0)) for p in orders), default=0)
    smallest = min((int(np.minimum(p, 0).sum(axis=-1).min(initial=0)) for p in orders), default=0)
    return PairSum(
        operator.name, weight.name, LARGEST_ACTIVATION * smallest, LARGEST_ACTIVATION * largest, proof
    )


def _fitting(node: ir.Node, operator: QuantOperator, names: set[str], plan: QuantPlan) -> QuantOperator:
    weight = operator.weight
    if weight is None or weight.name not in names:
        return operator
    params = _fitting_params(node, _array(node, weight), weight.params)
    if params == weight.params:
        return operator
    coarse = replace(weight, params=params, rounding="")  # what was learned was for the finer scales
    bias = operator.bias
    if bias is not None:
        step = plan.activations[operator.inputs[0]].scale[0]
        bias = replace(bias, params=bias_params(step, coarse.params, channels=len(bias.params.scale)))
    return replace(operator, weight=coarse, bias=bias)


def _fitting_params(node: ir.Node, array: Array, params: QuantParams) -> QuantParams:
    """The smallest scales, of those that steps of the excess lead to, with which every pair fits."""
    scale = np.asarray(params.scale, np.float64)
    growth = np.ones_like(scale)
    while True:
        grown = replace(params, scale=tuple(float(np.float32(each)) for each in scale * growth))
        peak = _peaks(node, array, grown)
        excess = np.where(peak > FITTING, np.maximum(peak / FITTING, LEAST_GROWTH), 1.0)
        if np.all((excess == 1.0) | (growth >= MOST_GROWTH)):
            return grown
        growth = np.minimum(growth * excess, MOST_GROWTH)


def _peaks(node: ir.Node, array: Array, params: QuantParams) -> Integers:
    """The greatest sum of a pair, away from zero, for each scale of ``params``; 0 without pairs."""
    shape = [-1 if index == params.axis else 1 for index in range(array.ndim)]
    steps = np.asarray(params.scale, np.float64).reshape(shape if params.axis is not None else ())
    # floor + 1 and not ceil: a whole number may be learned upwards too (``quantize_as``)
    sizes = np.minimum(np.floor(np.abs(array.astype(np.float64)) / steps) + 1, SYMMETRIC_LIMIT)
    _, orders = _orders(node, (np.sign(array) * sizes).astype(np.int64))
    found = [np.maximum(_sums(pairs), _sums(-pairs)) for pairs in orders]  # (outputs,) each
    peak = np.max(found, axis=0) if found else np.zeros(len(params.scale), np.int64)
    return np.asarray(peak if params.axis is not None else np.atleast_1d(peak.max()))


def _sums(pairs: Integers) -> Integers:
    """(outputs, pairs, 2) -> (outputs,): the greatest sum of the positive terms of a pair."""
    return np.asarray(np.maximum(pairs, 0).sum(axis=-1).max(axis=-1, initial=0))
