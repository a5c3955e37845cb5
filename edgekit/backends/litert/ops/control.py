"""edgekit.If, edgekit.Loop (``close_bodies``) -> IF, WHILE and their subgraphs.

    WHILE(number, going, states..., captured..., rows..., count)
      condition: number < count and going
      body:      number + 1, going, states, captured as they came, rows with one more, count as it came

W1 count: a constant, a value of the graph, or none
W2 a scan output is a tensor of ``count`` rows of which each iteration writes one; where the condition may end
   the loop earlier, SLICE cuts it to the iterations that ran
W3 captured values are outputs of the body as they are: LiteRT copies none of them
W4 refused: a state that changes its type or shape, scan outputs without a count or too large for one
W5 a branch of an If may give another shape than the other: that size of the output is dynamic
W6 if.cc lets the outputs of a branch share memory with its own, and so loses what was computed before the
   branch ran (SHAPE, and RESHAPE of a constant): such an output goes through a SELECT_V2 of the condition

Source: schema.fbs, WhileOptions and IfOptions; tflite/kernels/while.cc, if.cc, dynamic_update_slice.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from edgekit.backends.litert import close_bodies
from edgekit.backends.litert.close_bodies import FIXED, IF, LOOP, STATES
from edgekit.backends.litert.ops import repeat
from edgekit.backends.litert.ops.terms import Terms
from edgekit.backends.litert.step import Step
from edgekit.backends.litert.tensors import Graph, GraphBuilder, Tensor
from edgekit.backends.litert.units import Program
from edgekit.backends.litert.unroll import goes_on

LARGEST_ROWS_BYTES = 2**28  # of one scan output: a count of "for ever" is no size
LARGEST_COUNT = 2**31 - 1  # DYNAMIC_UPDATE_SLICE and FILL are given int32
_REMEDY = "keep types and shapes fixed inside of the loop, or split the model there"


@dataclass(frozen=True, eq=False)
class Body:
    """A body as it was read, and as it was lowered."""

    program: Program
    graph: Graph


Compile = Callable[[ir.Graph], Body]
Control = Callable[[Step, Compile], None]


def lower_if(step: Step, compiled: Compile) -> None:
    """W5."""
    t = Terms(step)
    bodies = [compiled(step.unit.attributes[name]) for name in close_bodies.BRANCHES]
    for index, out in enumerate(step.unit.outputs):
        types = {body.program.outputs[index].dtype for body in bodies}
        if types != {out.dtype}:
            raise step.refusal("branch-type", f"the branches give {' and '.join(sorted(types))}", _REMEDY)
    condition = t.reshape(step.x(0), ())
    captured = [step.x(index) for index in range(1, len(step.unit.inputs))]
    outputs = [step.output(index) for index in range(len(step.unit.outputs))]
    given = [condition, *captured]
    graphs = tuple(_branch(body.graph, step.builder.tensors[condition]) for body in bodies)
    step.builder.operator("IF", [condition, *given], outputs, graphs=graphs)


def _branch(graph: Graph, condition: Tensor) -> Graph:
    """W6: the branch with the condition as its first input, and outputs that are computed when it runs."""
    builder = GraphBuilder(graph)
    (flag,) = repeat.variable_inputs(builder, [condition])
    builder.inputs = [flag, *graph.inputs]
    early = _computed_early(graph)
    outputs = []
    for index in graph.outputs:
        tensor = builder.tensors[index]
        outputs.append(index)
        if index in early:
            outputs[-1] = builder.tensor(f"{tensor.name}/now", tensor.dtype, tensor.shape, quant=tensor.quant)
            builder.operator("SELECT_V2", [flag, index, index], outputs[-1:])
    return repeat.finished(builder, outputs)


def _computed_early(graph: Graph) -> set[int]:
    """Tensors that LiteRT computes when it prepares the graph: SHAPE, and what follows from it alone."""
    known = {index for index, tensor in enumerate(graph.tensors) if tensor.data is not None}
    early: set[int] = set()
    for op in graph.operators:
        if op.code == "SHAPE" or all(index in known or index in early for index in op.inputs if index >= 0):
            early.update(op.outputs)
    return early


def lower_loop(step: Step, compiled: Compile) -> None:
    """W1 to W4."""
    t = Terms(step)
    source: ir.Graph = step.unit.attributes["body"]
    body = compiled(source)
    states = int(step.attribute(STATES, 0))
    _check_states(step, body.program, states)
    most, count, sure = _count(step, t, goes_on(source))
    going = step.x(1) if step.has(1) else t.const(True, "bool")
    given = [step.x(index) for index in range(FIXED, len(step.unit.inputs))]
    made = [body.graph.tensors[index] for index in body.graph.outputs[1 + states :]]
    rows = [_rows(step, t, row, most=most, count=count) for row in made]
    variables = [t.const(0, "int64"), t.reshape(going, ()), *given, *rows]
    variables += [] if count is None else [count]
    tensors = [step.builder.tensors[index] for index in variables]
    condition = repeat.until(
        tensors, count=None if count is None else len(variables) - 1, most=most, going=None if sure else 1
    )
    once = _once_round(body.graph, tensors[FIXED + len(given) :], states=states)
    results = repeat.repeat(step.builder, variables, condition=condition, body=once)
    for index in range(states):
        step.copy(results[FIXED + index], index=index)
    exact = sure and bool(most)  # W2
    for index, collected in enumerate(results[FIXED + len(given) :][: len(rows)], start=states):
        step.copy(collected if exact else _cut(t, collected, results[repeat.NUMBER], index), index=index)


def _count(step: Step, t: Terms, goes: bool) -> tuple[int | None, int | None, bool]:
    """W1: a number, a tensor, or neither; and whether the loop never ends earlier."""
    operand, first = step.unit.operand(0), step.unit.operand(1)
    begins = first is None or (first.const is not None and bool(first.const.reshape(-1)[0]))
    if operand is None:
        return None, None, False
    if operand.const is not None:
        return max(0, int(operand.const.reshape(-1)[0])), None, goes and begins
    tensor = t.maximum(t.reshape(step.x(0), ()), t.like(0, step.x(0)))
    return None, tensor, goes and begins


def _check_states(step: Step, program: Program, states: int) -> None:
    """W4."""
    pairs = zip(program.inputs[FIXED : FIXED + states], program.outputs[1 : 1 + states], strict=True)
    for before, after in pairs:
        if before.dtype != after.dtype:
            raise step.refusal(
                "loop-type", f"state {before.key!r} is {before.dtype} and becomes {after.dtype}", _REMEDY
            )
        if before.shape != after.shape or None in before.shape:
            raise step.refusal(
                "loop-shape",
                f"state {before.key!r} is of shape {before.shape} and becomes {after.shape}",
                _REMEDY,
            )


def _rows(step: Step, t: Terms, row: Tensor, *, most: int | None, count: int | None) -> int:
    """W2: room for all rows."""
    sizes = [dim for dim in row.shape if isinstance(dim, int)]
    if most is None and count is None:
        raise step.refusal(
            "loop-count", "every iteration gives a row, and nothing says how many run at most", _REMEDY
        )
    if most is not None and most * prod(sizes) * np.dtype(row.dtype).itemsize > LARGEST_ROWS_BYTES:
        raise step.refusal("loop-count", f"every iteration gives a row, and {most} may run", _REMEDY)
    if None in row.shape:
        raise step.refusal("loop-shape", f"a row has the shape {row.shape}", _REMEDY)
    if count is not None:
        count = t.maximum(count, t.like(1, count))  # DYNAMIC_UPDATE_SLICE wants room for one, even in vain
    return repeat.filled(t, (most and max(1, most), *row.shape), t.const(0, row.dtype), first=count)


def _once_round(graph: Graph, more: Sequence[Tensor], *, states: int) -> Graph:
    """The body with the variables behind its inputs: ``more`` are the rows, and the count if it is one."""
    builder = GraphBuilder(graph)
    own = list(graph.inputs)
    going, outputs, made = graph.outputs[0], graph.outputs[1 : 1 + states], graph.outputs[1 + states :]
    added = repeat.variable_inputs(builder, more)
    number = own[repeat.NUMBER]
    rows = [
        repeat.with_row(builder, whole, row, number=number) for whole, row in zip(added, made, strict=False)
    ]
    captured = own[FIXED + states :]  # W3
    more_number = repeat.counted(builder, number)
    return repeat.finished(builder, [more_number, going, *outputs, *captured, *rows, *added[len(made) :]])


def _cut(t: Terms, rows: int, number: int, index: int) -> int:
    """W2: the first ``number`` rows, for output ``index``."""
    shape = t.shape(rows)
    first = t.step.unit.outputs[index].shape[0]
    rest = t.const([-1] * (len(shape) - 1), "int32")
    length = t.reshape(t.cast(number, "int32"), (1,))
    size = t.concat([length, rest], 0) if len(shape) > 1 else length
    begin = t.const([0] * len(shape), "int32")
    whole = (None if isinstance(first, int) else first, *shape[1:])
    return t.step.emit("SLICE", [rows, begin, size], whole)


LOWERINGS: dict[str, Control] = {IF: lower_if, LOOP: lower_loop}
