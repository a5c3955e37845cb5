"""Float model x sources of rounding -> a graph with the outputs in float, and again for each source alone.

    float part       y = suffix(v)                     shared by all sources: nothing is computed twice
    for source s     y_s = suffix(rounded_s(v))        only the nodes behind s are there again
    outputs          sum y^2, sum (y_s - y)^2, and for class scores how many labels are equal

Only these sums leave the runtime, whatever the size of the activations.

S1: the constants of a kernel (weight and bias) are a source: the head reads what its integers stand for.
S2: an activation is a source: it is rounded and clamped to its integers. Where a kernel computes
    it, everybody reads the rounded value, else only the heads of kernels do (``apply``, A2 and A3).
S3: a kernel that only moves values on one scale adds no rounding of its own: its output is no source, and
    whoever touches it touches its input (``sources``).
    DequantizeLinear is written out: in front of a Conv or Gemm with float weights ONNX Runtime takes it as a
    wish to have those quantized too (core/optimizer/qdq_transformer/weight_bias_quantization.cc, 1.31).
S4: control flow behind a source cannot be copied node by node: an error says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.ir.graph import add_numbered_initializer, constant, has_subgraphs, is_float32, rank
from edgekit.quantization.arithmetic import dequantize, quantize
from edgekit.quantization.bias_place import bias_place
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.quantization.weights import weight_index
from edgekit.spec import Array

# operators whose outputs are values of their input, every one of them
MOVING = frozenset(
    (
        *("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split"),
        *("Concat", "Identity", "Gather", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"),
    )
)
MOST_NODES = 3000  # in one graph: ONNX Runtime then loads it in a second or two
MOST_BYTES = 384 * 2**20  # of weights that copies read: kernels keep a packed form of each
RESULT = "edgekit_alone"


class NotRankedError(InputError):
    """S4: the model is fine, only its roundings cannot be told apart."""


@dataclass(frozen=True)
class Source:
    """One place where a plan rounds.

    Attributes:
        value: name of the activation, or of the weight.
        operators: heads of the kernels that must all be float for it to vanish, in the order of the plan.
        is_weight: S1 or S2.
    """

    value: str
    operators: tuple[str, ...]
    is_weight: bool


@dataclass(frozen=True)
class Column:
    """What one number of the result is: of which source (-1: the float model) and output."""

    source: int
    output: int
    kind: str  # "signal" or "error" (sums of squares), "labels" (how many), "equal" (how many of them)


@dataclass(frozen=True)
class Alone:
    """The graph, and what its result holds.

    Attributes:
        sources: those that this graph knows.
        columns: what each number of output ``RESULT`` is.
        nodes: operators of the model that it computes: those of the float part, and every copy.
    """

    model: ir.Model
    sources: tuple[Source, ...]
    columns: tuple[Column, ...]
    nodes: int


def sources(model: ir.Model, plan: QuantPlan) -> tuple[Source, ...]:
    """Every place where ``plan`` rounds; constants first, then activations (S1 to S3)."""
    types = {node.name: node.op_type for node in model.graph}
    heirs: dict[str, set[str]] = {name: {name} for name in plan.activations}
    inherited: set[str] = set()
    for operator in reversed(plan.operators):
        scales = {plan.activations.get(name) for name in (*operator.inputs, operator.output)}
        if types[operator.name] in MOVING and len(scales) == 1 and len(operator.nodes) == 1:
            inherited.add(operator.output)
            for name in operator.inputs:
                heirs[name] |= heirs[operator.output]
    touching = {
        name: tuple(
            operator.name for operator in plan.operators if {*operator.inputs, operator.output} & heirs[name]
        )
        for name in plan.activations
        if name not in inherited
    }
    weights = [
        Source(operator.weight.name, (operator.name,), is_weight=True)
        for operator in plan.operators
        if operator.weight is not None
    ]
    return (*weights, *(Source(name, heads, is_weight=False) for name, heads in touching.items() if heads))


def alone(model: ir.Model, plan: QuantPlan, found: Sequence[Source]) -> Iterator[Alone]:
    """Graphs that together know all of ``found``, each of a size that loads fast; ``model`` is untouched.

    Raises:
        NotRankedError: S4.
    """
    order = {node.name or "": index for index, node in enumerate(model.graph)}
    waiting = sorted(found, key=lambda item: min(order[head] for head in item.operators))
    while waiting:
        graph = _Instrumented(model, plan)
        while waiting and not graph.is_full:
            graph.add(waiting.pop(0))
        yield graph.finished()


@dataclass
class _Instrumented:
    """Grows by one source after the other."""

    original: ir.Model
    plan: QuantPlan
    sources: list[Source] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    numbers: list[ir.Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = self.original.clone()
        self.graph = self.model.graph
        self._flow = tuple(self.graph)  # the float part
        self._values = {v.name: v for v in (*self.graph.inputs, *(v for n in self._flow for v in n.outputs))}
        self._nodes = {node.name: node for node in self._flow}
        self._operators = {operator.name: operator for operator in self.plan.operators}
        self._made = {operator.output for operator in self.plan.operators}
        self._outputs = [value for value in self.graph.outputs if is_float32(value)]
        self._count, self._bytes = len(self._flow), 0
        self._flat = self._constant(np.array([1, -1]))
        self._one = self._constant(np.array([1]))
        self._labels: dict[int, ir.Value] = {}
        for index, value in enumerate(self._outputs):
            self._power(value, Column(-1, index, "signal"))
            if rank(value) == 2:
                self._labels[index] = self._new("ArgMax", [value], axis=1, keepdims=0)
                self._count_equal(self._labels[index], self._labels[index], Column(-1, index, "labels"))

    @property
    def is_full(self) -> bool:
        return self._count > MOST_NODES or self._bytes > MOST_BYTES

    def add(self, source: Source) -> None:
        """The nodes behind ``source`` once more, on the rounded value."""
        number = len(self.sources)
        self.sources.append(source)
        changed = self._copies(*(self._constants(source) if source.is_weight else self._rounded(source)))
        for index, value in enumerate(self._outputs):
            if value not in changed:
                continue
            self._power(self._new("Sub", [changed[value], value]), Column(number, index, "error"))
            if index in self._labels:
                labels = self._new("ArgMax", [changed[value]], axis=1, keepdims=0)
                self._count_equal(labels, self._labels[index], Column(number, index, "equal"))

    def finished(self) -> Alone:
        """The graph with its one output."""
        result = self._new("Concat", self.numbers, axis=0)
        result.name, result.shape = RESULT, ir.Shape([len(self.numbers)])
        result.type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.outputs.clear()
        self.graph.outputs.append(result)
        return Alone(self.model, tuple(self.sources), tuple(self.columns), self._count)

    # --- what a source changes ------------------------------------------------------------------------

    def _constants(self, source: Source) -> tuple[dict[ir.Value, ir.Value], dict[tuple[str, int], ir.Value]]:
        """S1: what single inputs of the head read instead."""
        operator = self._operators[source.operators[0]]
        return {}, {
            (node.name or "", index): self._stands_for(planned)
            for node, index, planned in self._planned(operator)
            if planned is not None
        }

    def _planned(self, operator: QuantOperator) -> Iterator[tuple[ir.Node, int, QuantWeight | None]]:
        head = self._nodes[operator.name]
        yield head, weight_index(head.op_type), operator.weight
        yield *bias_place([self._nodes[name] for name in operator.nodes]), operator.bias

    def _stands_for(self, planned: QuantWeight) -> ir.Value:
        array = constant(self.graph.initializers[planned.name])
        if array is None:
            raise InputError(
                f"{planned.name!r} is not a constant of this model",
                why="the plan quantizes it as a weight",
                remedy="quantize again from this model",
            )
        rounded = dequantize(quantize(array, planned.params), planned.params)
        return self._constant(rounded)

    def _rounded(self, source: Source) -> tuple[dict[ir.Value, ir.Value], dict[tuple[str, int], ir.Value]]:
        """S2: what readers of a value read instead."""
        value, params = self._values[source.value], self.plan.activations[source.value]
        scale = self._constant(np.asarray(params.scale[0], np.float32))
        zero = self._constant(np.asarray(params.zero_point[0], params.dtype))
        integer = self._new("QuantizeLinear", [value, scale, zero])
        wide = self._new("Cast", [integer], to=int(ir.DataType.FLOAT))
        offset = self._constant(np.asarray(params.zero_point[0], np.float32))
        result = self._new("Mul", [self._new("Sub", [wide, offset]), scale])
        if source.value in self._made:
            return {value: result}, {}
        heads = self._operators
        return {}, {(node.name or "", index): result for node, index in value.uses() if node.name in heads}

    def _copies(
        self, changed: dict[ir.Value, ir.Value], inputs: dict[tuple[str, int], ir.Value]
    ) -> dict[ir.Value, ir.Value]:
        """Every node that reads something changed, again: float value -> its value with the rounding."""
        for node in self._flow:
            read = [
                inputs.get((node.name or "", index), changed.get(value, value) if value is not None else None)
                for index, value in enumerate(node.inputs)
            ]
            if any(value in changed for value in _captured(node)):  # S4
                raise NotRankedError(
                    f"operator {node.name} holds a graph of its own: what rounds before it is not ranked",
                    why="the operators behind each rounding are computed again, and its body cannot be",
                    remedy="name the operators that shall stay float: an override with precision fp32",
                    more="docs/mixed-precision.md",
                )
            if all(new is old for new, old in zip(read, node.inputs, strict=True)):
                continue
            copy = ir.Node(
                node.domain,
                node.op_type,
                read,
                tuple(node.attributes.values()),
                overload=node.overload,
                num_outputs=len(node.outputs),
                version=node.version,
            )
            self._append(copy)
            changed.update(zip(node.outputs, copy.outputs, strict=True))
            self._count += 1
            self._bytes += sum(_constant_bytes(value) for value in node.inputs)
        return changed

    # --- what is counted ------------------------------------------------------------------------------

    def _power(self, value: ir.Value, column: Column) -> None:
        flat = self._new("Reshape", [value, self._flat])
        self.numbers.append(self._new("ReduceSumSquare", [flat, self._one], keepdims=0))
        self.columns.append(column)

    def _count_equal(self, labels: ir.Value, others: ir.Value, column: Column) -> None:
        ones = self._new("Cast", [self._new("Equal", [labels, others])], to=int(ir.DataType.FLOAT))
        self._power(ones, column)  # a one's square is one

    def _new(self, operator: str, inputs: Sequence[ir.Value | None], **attributes: int) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes=dict(attributes))
        self._append(node)
        return node.outputs[0]

    def _constant(self, array: Array) -> ir.Value:
        return add_numbered_initializer(self.graph, "edgekit_constant", array)

    def _append(self, node: ir.Node) -> None:
        """At the end, under names that nobody has."""
        number = len(self.graph)
        node.name = f"edgekit_{number}"
        for index, value in enumerate(node.outputs):
            value.name = f"edgekit_{number}_{index}"
        self.graph.append(node)


def _captured(node: ir.Node) -> Iterator[ir.Value]:
    """What control flow reads: its inputs, and values of the graph around it; nothing for other operators."""
    if not has_subgraphs(node):
        return
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            graphs: Sequence[ir.Graph] = (attribute.as_graph(),)
        elif attribute.type is ir.AttributeType.GRAPHS:
            graphs = attribute.as_graphs()
        else:
            continue
        for graph in graphs:
            yield from graph.outputs
            for inner in ir.traversal.RecursiveGraphIterator(graph):
                yield from (value for value in inner.inputs if value is not None)


def _constant_bytes(value: ir.Value | None) -> int:
    return value.const_value.nbytes if value is not None and value.const_value is not None else 0
