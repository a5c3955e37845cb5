"""Model x rule table -> the model, or the list of rules that it breaks.

A rule is (id, what it looks at, predicate, message). A table per stage says what a model of that stage is:

| stage | means |
|---|---|
| FLOAT | any model that was read: the graph is well-formed (F1 to F5) |
| CANONICAL | FLOAT, and what ``passes.canonicalize`` promises (C1 to C6) |
| QDQ | FLOAT, and quantization as every runtime reads it (Q1 to Q8) |
| CANONICAL_QDQ | CANONICAL, of a model that came quantized: Q1 to Q8 but Q6 (integers may be outputs) |

A broken rule is a bug of the pass that ran before (exit code 1), except for FLOAT on a file
that was just read, where the file is at fault: ``verify(..., error=ModelFileError)``.

Source: onnx IR.md ("Names Within a Graph", "Nodes"), QuantizeLinear-21, DequantizeLinear-21.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.errors import EdgekitError
from edgekit.ir.graph import constant, graphs, int_attribute, is_onnx, rank, shape_of, subgraphs, walk
from edgekit.spec import Rejection

CANONICAL_OPSET = 21  # QuantizeLinear and DequantizeLinear with all integer types and blocks


class BrokenRuleError(EdgekitError):
    """A model breaks the rules of its stage: a pass did something that it must not do."""


@dataclass(frozen=True)
class Rule:
    """One thing that holds for a model of a stage.

    Attributes:
        id: short and stable; tests and messages name it.
        broken: model -> (name of the node or value, what is wrong with it) for each breach.
        remedy: what to do about it.
    """

    id: str
    broken: Callable[[ir.Model], Iterator[tuple[str, str]]]
    remedy: str = "report it as a bug of edgekit, with the model"


RuleTable = tuple[Rule, ...]


def breaches(model: ir.Model, rules: RuleTable) -> tuple[Rejection, ...]:
    """Every breach of every rule, in the order of the table."""
    return tuple(
        Rejection(subject, rule.id, reason, rule.remedy)
        for rule in rules
        for subject, reason in rule.broken(model)
    )


def verify(
    model: ir.Model,
    rules: RuleTable,
    *,
    after: str = "reading",
    error: type[EdgekitError] = BrokenRuleError,
) -> None:
    """Raise ``error`` with the first breaches, if there are any.

    Args:
        model: what to look at.
        rules: FLOAT, CANONICAL, QDQ or CANONICAL_QDQ.
        after: the pass that just ran, for the message.
        error: the class to raise.
    """
    if rules is FLOAT and is_well_formed(model):
        return
    found = breaches(model, rules)
    if not found:
        return
    shown = "; ".join(f"{item.node}: {item.reason} [{item.rule}]" for item in found[:3])
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    raise error(
        f"the model breaks {len(found)} rule(s) after {after}: {shown}{more}",
        why="later stages rely on these rules",
        remedy=found[0].remedy,
    )


# --- FLOAT ---------------------------------------------------------------------------------------------


def _undefined_reads(model: ir.Model) -> Iterator[tuple[str, str]]:
    for graph in graphs(model):
        known = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
        known |= {id(output) for node in graph for output in node.outputs}
        for output in graph.outputs:
            if id(output) not in known:
                yield output.name or "?", "is an output that nothing computes"
    everything = {
        id(value)
        for graph in graphs(model)
        for value in (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))
    }
    for node in walk(model):
        for value in node.inputs:
            if value is not None and id(value) not in everything:
                yield node.name or node.op_type, f"reads {value.name!r}, which nothing computes"


def _not_sorted(model: ir.Model) -> Iterator[tuple[str, str]]:
    for graph in graphs(model):
        place = {id(node): index for index, node in enumerate(graph)}
        for index, node in enumerate(graph):
            for value in node.inputs:
                producer = None if value is None else value.producer()
                if producer is not None and place.get(id(producer), -1) >= index:
                    yield node.name or node.op_type, f"reads {value.name!r} before it is computed"  # type: ignore[union-attr]  # a producer means a value


def _duplicate_values(model: ir.Model) -> Iterator[tuple[str, str]]:
    for graph in graphs(model):
        names: Counter[str] = Counter(value.name for node in graph for value in node.outputs if value.name)
        names.update({value.name for value in graph.inputs if value.name} | set(graph.initializers))
        yield from ((name, f"is defined {count} times") for name, count in names.items() if count > 1)


def _no_opset(model: ir.Model) -> Iterator[tuple[str, str]]:
    imported = set(model.opset_imports)
    functions = {key[0] for key in model.functions}
    for node in walk(model):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in imported and domain not in functions:
            yield node.name or node.op_type, f"is of domain {domain!r}, which the model does not import"


def _empty_initializers(model: ir.Model) -> Iterator[tuple[str, str]]:
    for graph in graphs(model):
        for name, value in graph.initializers.items():
            if value.const_value is None:
                yield name, "is an initializer without data"


FLOAT: RuleTable = (
    Rule("F1-defined", _undefined_reads, "export the model again"),
    Rule("F2-sorted", _not_sorted, "export the model again: ONNX wants nodes in order of computation"),
    Rule("F3-single-assignment", _duplicate_values, "export the model again: every value needs its own name"),
    Rule("F4-domain", _no_opset, "export the model again: every operator domain needs an opset_import"),
    Rule("F5-data", _empty_initializers, "export the model again with its weights"),
)


def is_well_formed(model: ir.Model) -> bool:
    """F1 to F5 in one walk: they hold, if it says so. It says no to every subgraph: the rules look at those.

    FLOAT is held after each of 34 passes, and five walks each time took as long as the passes.
    """
    graph = model.graph
    domains = {*model.opset_imports, *(key[0] for key in model.functions)}
    values = [*graph.inputs, *graph.initializers.values()]
    names = {value.name for value in graph.inputs} | set(graph.initializers)
    computed = {id(value) for value in values}
    for value in graph.initializers.values():
        if value.const_value is None:
            return False
    for node in graph:
        if subgraphs(node) or ("" if node.domain == "ai.onnx" else node.domain) not in domains:
            return False
        for read in node.inputs:
            if read is not None and id(read) not in computed:
                return False
        for made in node.outputs:
            if made.name and made.name in names:
                return False
            names.add(made.name)
            computed.add(id(made))
    return all(id(value) in computed for value in graph.outputs)


# --- CANONICAL -----------------------------------------------------------------------------------------


def _names_missing(model: ir.Model) -> Iterator[tuple[str, str]]:
    node_names: Counter[str] = Counter()
    value_names: Counter[str] = Counter()
    for node in walk(model):
        node_names[node.name or ""] += 1
        value_names.update(value.name or "" for value in node.outputs)
    value_names.update(name for graph in graphs(model) for name in graph.initializers)
    if value_names[""]:
        # An optional output that is not wanted has no name and no reader; any other needs one.
        unnamed = [
            v for n in walk(model) for v in n.outputs if not v.name and (v.uses() or v.is_graph_output())
        ]
        yield from (("?", f"value {value} has no name") for value in unnamed)
    for kind, names in (("node", node_names), ("value", value_names)):
        for name, count in names.items():
            if name and count > 1:
                yield name, f"is the name of {count} {kind}s"
    if node_names[""]:
        yield "?", f"{node_names['']} nodes have no name"


def _wrong_opset(model: ir.Model) -> Iterator[tuple[str, str]]:
    version = model.opset_imports.get("")
    if version != CANONICAL_OPSET:
        yield model.graph.name or "graph", f"has opset {version}, not {CANONICAL_OPSET}"


def _has_functions(model: ir.Model) -> Iterator[tuple[str, str]]:
    for key in model.functions:
        yield "::".join(part for part in key if part), "is a function that was not inlined"


def _leftovers(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in walk(model):
        if is_onnx(node, "Constant") and not node.outputs[0].is_graph_output():
            yield node.name or "Constant", "is a Constant node; constants are initializers"
        if is_onnx(node, "Dropout") and len(node.inputs) < 3:
            yield node.name or "Dropout", "is a Dropout, which does nothing at inference"


def _initializer_inputs(model: ir.Model) -> Iterator[tuple[str, str]]:
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            yield value.name or "?", "is an initializer and an input"


def _has_metadata(model: ir.Model) -> Iterator[tuple[str, str]]:
    holders: tuple[ir.Model | ir.Graph | ir.Node, ...] = (model, *graphs(model), *walk(model))
    for holder in holders:
        if holder.doc_string or holder.metadata_props:
            name = "model" if isinstance(holder, ir.Model) else holder.name
            yield name or "?", "carries a doc string or metadata, so its bytes are not reproducible"


CANONICAL: RuleTable = (
    *FLOAT,
    Rule("C1-names", _names_missing),
    Rule("C2-opset", _wrong_opset),
    Rule("C3-inlined", _has_functions),
    Rule("C4-constants", _leftovers),
    Rule("C5-inputs", _initializer_inputs),
    Rule("C6-metadata", _has_metadata),
)


_INTEGER_OPERATORS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "MatMulNBits",
        "QGemm",
        "QAttention",
    }
)


def is_quantized(model: ir.Model) -> bool:
    """Whether the model holds quantized values: quantizers, or operators that compute on integers.

    True of QDQ and QOperator models (``QLinear...``) and of those that quantize while they run.
    """
    return any(
        node.op_type in _INTEGER_OPERATORS or node.op_type.startswith(("QLinear", "DynamicQuantize"))
        for node in walk(model)
    )


# --- QDQ -----------------------------------------------------------------------------------------------

_ZERO_POINT_TYPES = frozenset(
    {ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT8, ir.DataType.UINT8}
    | {ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT32}
)


def _quantizers(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in walk(model) if is_onnx(node, "QuantizeLinear", "DequantizeLinear"))


def _parameters_not_constant(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in _quantizers(model):
        if len(node.inputs) < 3 or any(constant(value) is None for value in node.inputs[1:3]):
            yield node.name or "?", "has a scale or zero point that is not a constant"


def _bad_scales(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in _quantizers(model):
        scale = constant(node.inputs[1])
        if scale is None:
            continue
        real = np.asarray(scale, np.float64)
        if not np.all(np.isfinite(real)) or not np.all(real > 0):
            yield node.name or "?", "has a scale that is not finite and positive"


def _vector_activations(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in _quantizers(model):
        if constant(node.inputs[0]) is not None:
            continue
        if any(np.ndim(array) != 0 for array in map(constant, node.inputs[1:3]) if array is not None):
            yield node.name or "?", "quantizes an activation with a vector, which QLinearConv refuses"


def _axis_mismatch(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in _quantizers(model):
        scale, shape = constant(node.inputs[1]), shape_of(node.inputs[0])
        if scale is None or scale.ndim != 1 or shape is None:
            continue
        axis = int_attribute(node, "axis", 1)
        if not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
            yield node.name or "?", f"has {scale.size} scales along axis {axis} of shape {shape}"


def _type_mismatch(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in _quantizers(model):
        if len(node.inputs) < 3 or node.inputs[2] is None or node.inputs[0] is None:
            continue
        kind = node.inputs[2].dtype
        if kind not in _ZERO_POINT_TYPES:
            yield node.name or "?", f"has a zero point of type {kind}"
        elif node.op_type == "DequantizeLinear" and node.inputs[0].dtype not in (None, kind):
            yield node.name or "?", f"reads {node.inputs[0].dtype} with a zero point of type {kind}"


def _quantize_without_reader(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in walk(model):
        if not is_onnx(node, "QuantizeLinear"):
            continue
        output = node.outputs[0]
        readers = [use.node for use in output.uses()]
        if (
            output.is_graph_output()
            or not readers
            or not all(is_onnx(r, "DequantizeLinear") for r in readers)
        ):
            yield node.name or "?", "is not followed by DequantizeLinear alone"


def _pair_mismatch(model: ir.Model) -> Iterator[tuple[str, str]]:
    for node in walk(model):
        source = node.inputs[0].producer() if is_onnx(node, "DequantizeLinear") and node.inputs[0] else None
        if source is None or not is_onnx(source, "QuantizeLinear"):
            continue
        for mine, other in zip(node.inputs[1:3], source.inputs[1:3], strict=True):
            left, right = constant(mine), constant(other)
            if left is not None and right is not None and not np.array_equal(left, right):
                yield node.name or "?", f"undoes {source.name!r} with other parameters"
                break


def _bias_scale(model: ir.Model) -> Iterator[tuple[str, str]]:
    """A real bias is s_input * s_weight * integer, or the integer accumulator cannot take it."""
    for node in walk(model):
        if not is_onnx(node, "Conv", "Gemm") or len(node.inputs) < 3 or rank(node.inputs[2]) is None:
            continue
        scales = [_dequantize_scale(value) for value in node.inputs[:3]]
        if any(scale is None for scale in scales):
            continue
        data, weight, bias = (np.asarray(scale, np.float64) for scale in scales)
        if not np.allclose(data * weight, bias, rtol=1e-6, atol=0.0):
            yield node.name or "?", "has a bias scale that is not input scale times weight scale"


def _dequantize_scale(value: ir.Value | None) -> np.ndarray | None:
    producer = None if value is None else value.producer()
    if producer is None or not is_onnx(producer, "DequantizeLinear"):
        return None
    return constant(producer.inputs[1])


QDQ: RuleTable = (
    *FLOAT,
    Rule("Q1-constant", _parameters_not_constant),
    Rule("Q2-scale", _bad_scales),
    Rule("Q3-per-tensor", _vector_activations),
    Rule("Q4-axis", _axis_mismatch),
    Rule("Q5-type", _type_mismatch),
    Rule("Q6-pair", _quantize_without_reader),
    Rule("Q7-same", _pair_mismatch),
    Rule("Q8-bias", _bias_scale),
)

_QUANTIZE_AGAIN = "quantize the float model again, with static quantization (onnxruntime: quantize_static)"

CANONICAL_QDQ: RuleTable = (
    *CANONICAL,
    Rule("Q1-constant", _parameters_not_constant, _QUANTIZE_AGAIN),
    Rule("Q2-scale", _bad_scales, _QUANTIZE_AGAIN),
    Rule("Q3-per-tensor", _vector_activations, "quantize activations with one scale per tensor"),
    Rule("Q4-axis", _axis_mismatch, _QUANTIZE_AGAIN),
    Rule("Q5-type", _type_mismatch, "quantize to int8 or uint8"),
    Rule("Q7-same", _pair_mismatch, _QUANTIZE_AGAIN),
    Rule("Q8-bias", _bias_scale, _QUANTIZE_AGAIN),
)


def canonical_rules(model: ir.Model) -> RuleTable:
    """The table of a canonical model: CANONICAL, or CANONICAL_QDQ where it is quantized."""
    return CANONICAL_QDQ if is_quantized(model) else CANONICAL
