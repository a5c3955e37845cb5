"""ReduceX, ArgMax, ArgMin -> MEAN, SUM, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, ARG_MAX, ARG_MIN.

    ReduceL1 = sum |x|        ReduceL2 = sqrt(sum x^2)        ReduceSumSquare = sum x^2
    ReduceLogSum = log(sum x) ReduceLogSumExp = m + log(sum exp(x - m)), m = max x

Axes are renumbered into the stored layout.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.backends.litert.layouts import Layout
from edgekit.backends.litert.ops.terms import Terms, static
from edgekit.backends.litert.parameters import axis_of, reduced_axes
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Shape


def _layout(step: Step) -> Layout:
    layout = step.ports.inputs[0]
    if layout is None:
        raise step.refusal(
            "constant-input", "its input is a constant", "fold constants first (edgekit export)"
        )
    return layout


def _reduce(step: Step, tensor: int, code: str, *, keeps_scale: bool = False) -> None:
    """The reduction that makes the result; ``tensor`` is stored as input 0."""
    axes = reduced_axes(step.unit, step.operand(0).rank)
    if not axes:
        step.copy(tensor)
        return
    stored = sorted(_layout(step).axis(axis) for axis in axes)
    options = {"keepDims": bool(step.attribute("keepdims", 1))}
    step.result(
        code,
        [tensor, step.integers("axes", stored)],
        options=options,
        scale_of=tensor if keeps_scale else None,
    )


def _kept(step: Step, tensor: int, code: str) -> int:
    """A reduction on the way, with the axes kept at size 1."""
    axes = reduced_axes(step.unit, step.operand(0).rank)
    stored = sorted(_layout(step).axis(axis) for axis in axes)
    shape: Shape = tuple(1 if i in stored else dim for i, dim in enumerate(step.shape(tensor)))
    return step.emit(code, [tensor, step.integers("axes", stored)], shape, options={"keepDims": True})


def _simple(code: str, *, keeps_scale: bool = False) -> Callable[[Step], None]:
    return lambda step: _reduce(step, step.x(0), code, keeps_scale=keeps_scale)


def _after(*before: str) -> Callable[[Step], None]:
    """Elementwise operators, then SUM."""

    def lowering(step: Step) -> None:
        tensor = step.x(0)
        for code in before:
            tensor = step.emit(code, [tensor], step.shape(tensor))
        _reduce(step, tensor, "SUM")

    return lowering


def _summed_then(finish: str, *before: str) -> Callable[[Step], None]:
    """Elementwise operators, SUM, then one elementwise operator."""

    def lowering(step: Step) -> None:
        tensor = step.x(0)
        for code in before:
            tensor = step.emit(code, [tensor], step.shape(tensor))
        if reduced_axes(step.unit, step.operand(0).rank):
            tensor = _kept(step, tensor, "SUM")
        step.result(finish, [tensor], shape=step.shape(tensor))

    return lowering


def lower_log_sum_exp(step: Step) -> None:
    """ReduceLogSumExp, without overflow."""
    x = step.x(0)
    if not reduced_axes(step.unit, step.operand(0).rank):
        step.copy(x)
        return
    largest = _kept(step, x, "REDUCE_MAX")
    shifted = step.emit("SUB", [x, largest], step.shape(x))
    total = _kept(step, step.emit("EXP", [shifted], step.shape(x)), "SUM")
    log = step.emit("LOG", [total], step.shape(total))
    step.result("ADD", [log, largest], shape=step.shape(log))


def _arg(code: str) -> Callable[[Step], None]:
    """The first index; the last one is counted from the other end of the reversed axis."""

    def lowering(step: Step) -> None:
        layout = _layout(step)
        axis = axis_of(step.unit, step.operand(0).rank, default=0)
        tensor = step.x(0)
        stored = layout.axis(axis)
        shape = tuple(dim for i, dim in enumerate(step.shape(tensor)) if i != stored)
        options = {"outputType": step.out.dtype}
        if not step.attribute("select_last_index", 0):
            step.result(code, [tensor, step.integers("axis", [stored])], options=options, shape=shape)
            return
        t = Terms(step)
        (size,) = static(step.shape(tensor)[stored : stored + 1], step.unit.op)
        inputs = [t.reverse(tensor, stored), step.integers("axis", [stored])]
        behind = step.emit(code, inputs, shape, dtype=step.out.dtype, options=options)
        t.finish(t.sub(t.const(size - 1, step.out.dtype), behind))

    return lowering


def _extreme(code: str, logical: str) -> Callable[[Step], None]:
    """REDUCE_MAX or REDUCE_MIN; of booleans REDUCE_ANY or REDUCE_ALL."""

    def lowering(step: Step) -> None:
        kernel = logical if step.operand(0).dtype == "bool" else code
        _reduce(step, step.x(0), kernel, keeps_scale=kernel == code)

    return lowering


LOWERINGS: dict[str, Callable[[Step], None]] = {
    "ArgMax": _arg("ARG_MAX"),
    "ArgMin": _arg("ARG_MIN"),
    "ReduceL1": _after("ABS"),
    "ReduceL2": _summed_then("SQRT", "SQUARE"),
    "ReduceLogSum": _summed_then("LOG"),
    "ReduceLogSumExp": lower_log_sum_exp,
    "ReduceMax": _extreme("REDUCE_MAX", "REDUCE_ANY"),
    "ReduceMean": _simple("MEAN"),
    "ReduceMin": _extreme("REDUCE_MIN", "REDUCE_ALL"),
    "ReduceProd": _simple("REDUCE_PROD"),
    "ReduceSum": _simple("SUM"),
    "ReduceSumSquare": _after("SQUARE"),
}
