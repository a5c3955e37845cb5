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

import math
from collections.abc import Callable, Iterable, Iterator
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

AT_ONCE = 2**18  # weights that are looked at together: with their float64 form they stay in the cache

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Shorts = npt.NDArray[np.int16]


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
    order = _order(node, array.shape)
    pairs = [pair for rows in _some_outputs(node, stored) for pair in _pairs(order, rows.astype(np.int16))]
    largest = max((int(_positive(*pair).max(initial=0)) for pair in pairs), default=0)
    smallest = max((int(_positive(-pair[0], -pair[1]).max(initial=0)) for pair in pairs), default=0)
    return PairSum(
        operator.name, weight.name, -LARGEST_ACTIVATION * smallest, LARGEST_ACTIVATION * largest, order.proof
    )


def _array(node: ir.Node, weight: QuantWeight) -> Array:
    array = constant(node.inputs[weight_index(node.op_type)])
    if array is None:
        raise InputError(
            f"{weight.name!r} is not a constant of this model",
            why="the plan quantizes it as a weight",
            remedy="quantize again from this model",
        )
    return array


@dataclass(frozen=True)
class _Order:
    """In which orders a kernel may sum the terms of an output.

    Attributes:
        proof: the numbered case.
        step: 2 = pairs are every two terms, 1 = any two neighbours.
        taps_last: also with the input channels innermost.
        paired: False where nothing is summed in pairs.
    """

    proof: str
    step: int = 2
    taps_last: bool = False
    paired: bool = True


def _order(node: ir.Node, shape: tuple[int, ...]) -> _Order:
    """Of a weight of ``shape``."""
    if node.op_type in {"MatMul", "Gemm"}:
        return _Order("S1")
    if shape[1] == 1 and int_attribute(node, "group", 1) == shape[0]:
        return _Order("S3", paired=False)
    if math.prod(shape[2:]) == 1:
        return _Order("S1")
    return _Order("S2", step=1, taps_last=True)


def _some_outputs(node: ir.Node, weight: Array) -> Iterator[Array]:
    """(outputs, terms, *kernel) of all outputs, some at a time: so many that they stay in the cache."""
    rows = weight.T if node.op_type == "MatMul" else weight
    step = max(1, AT_ONCE // max(1, math.prod(rows.shape[1:])))
    return (rows[first : first + step] for first in range(0, len(rows), step))


def _pairs(order: _Order, rows: Shorts) -> Iterator[tuple[Shorts, Shorts]]:
    """(left, right) terms of the pairs of each output, (outputs, pairs), in each order of terms.

    A last term without a partner is paired with the zero that kernels pad with.
    """
    if not order.paired:
        return
    for terms in (rows, np.moveaxis(rows, 1, -1)) if order.taps_last else (rows,):
        flat = terms.reshape(len(terms), -1)
        padded = np.concatenate([flat, np.zeros((len(flat), 1 + flat.shape[1] % 2), flat.dtype)], axis=1)
        left, right = padded[:, : -1 : order.step], padded[:, 1 :: order.step]
        size = min(left.shape[1], right.shape[1])
        yield left[:, :size], right[:, :size]


def _positive(left: Shorts, right: Shorts) -> Shorts:
    """The sum of the positive terms of each pair."""
    return np.asarray(np.maximum(left, 0) + np.maximum(right, 0))


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
    scale, order = np.asarray(params.scale, np.float64), _order(node, array.shape)
    if params.axis is None:

        def whole(grown: Floats) -> Integers:
            peaks = (_peaks(order, *_split(rows), grown[0]) for rows in _some_outputs(node, array))
            return np.atleast_1d(max(int(each.max(initial=0)) for each in peaks))

        return replace(params, scale=tuple(_grown(scale, whole).tolist()))
    found: list[float] = []
    for rows in _some_outputs(node, array):
        sizes, signs = _split(rows)
        some = scale[len(found) : len(found) + len(rows)]
        found += _grown_each(some, order, sizes, signs).tolist()
    return replace(params, scale=tuple(found))


def _grown_each(scale: Floats, order: _Order, sizes: Floats, signs: Shorts) -> Floats:
    """``_grown`` of each output by itself: those that fit are not looked at again."""
    found = np.empty_like(scale)
    growth, left = np.ones_like(scale), np.arange(len(scale))
    while left.size:
        found[left] = _single(scale[left] * growth[left])
        peak = _peaks(order, sizes[left], signs[left], found[left])
        growth[left], done = _grow(growth[left], peak)
        left = left[~done]
    return found


def _grown(scale: Floats, peaks: Callable[[Floats], Integers]) -> Floats:
    """The scales with which no peak is above what fits."""
    growth = np.ones_like(scale)
    while True:
        grown = _single(scale * growth)
        growth, done = _grow(growth, peaks(grown))
        if done.all():
            return grown


def _grow(growth: Floats, peak: Integers) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The next growth, and where the present one is enough, or all that is ever needed."""
    excess = np.where(peak > FITTING, np.maximum(peak / FITTING, LEAST_GROWTH), 1.0)
    return np.minimum(growth * excess, MOST_GROWTH), (excess == 1.0) | (growth >= MOST_GROWTH)


def _single(scale: Floats) -> Floats:
    """Rounded to float32."""
    return scale.astype(np.float32).astype(np.float64)


def _split(rows: Array) -> tuple[Floats, Shorts]:
    """(sizes, signs) of weights."""
    return np.abs(rows.astype(np.float64)), np.sign(rows).astype(np.int16)


def _peaks(order: _Order, sizes: Floats, signs: Shorts, steps: Floats) -> Integers:
    """(outputs,) the greatest sum of a pair, away from zero; 0 without pairs. ``steps``: (outputs,) or ()."""
    along = steps.reshape(-1, *(1,) * (sizes.ndim - 1))
    # floor + 1 and not ceil: a whole number may be learned upwards too (``quantize_as``)
    away = np.minimum(np.floor(sizes / along) + 1, SYMMETRIC_LIMIT).astype(np.int16) * signs
    peak = np.zeros(len(sizes), np.int64)
    for left, right in _pairs(order, away):
        both = np.maximum(_positive(left, right), _positive(-left, -right))
        peak = np.maximum(peak, both.max(axis=1, initial=0))
    return peak
