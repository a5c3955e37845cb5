"""Float model x QuantPlan x data -> per operator the mean error of each output channel, added to its bias.

    correction[c] = mean(float output[..., c] - integer output[..., c])        over samples and positions

B1: the output is that of the head, in front of the fused activation: there a bias acts.
B2: later operators see earlier corrections, in one pass: in the integer graph each output is moved, within
    the batch, to the mean that the float graph has on that batch, and what it was moved by is averaged over
    the batches. (With batch 1 and no positions to average over, an operator then sees exact inputs: the
    correction is that of its own error alone.)
B3: an operator without a place for a bias (MatMul without an Add) gets no correction; a Conv or Gemm without
    a bias gets one.
B4: an operator that a plan leaves float loses its correction: the error is not made.
B5: a correction below half a step of the bias rounds to nothing and is dropped with all of its operator.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
section 4.2 and appendix D (empirical form).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgekit.errors import DataError
from edgekit.ir.graph import is_onnx, rank
from edgekit.ir.set_aside import computed
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import bias_params
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.quantization.restore.stream import (
    Floats,
    OpenModel,
    new_value,
    reduced,
    whole_batches,
)
from edgekit.spec import Array, BatchStream, Progress, RunOptions, Silent

BATCH = 16  # samples whose mean stands for that of all in B2; statistics need some, memory is two batches


def corrections(
    model: ir.Model,
    plan: QuantPlan,
    *,
    open_model: OpenModel,
    batches: BatchStream,
    count: int,
    progress: Progress | None = None,
) -> dict[str, tuple[float, ...]]:
    """What to add to the bias of each weighted operator, in real units per output channel.

    Args:
        model: the float model of ``plan``; untouched.
        plan: with static activations; corrections that it has are not counted on.
        open_model: opens a model in a runtime.
        batches: batch size -> a pass over the data.
        count: how many samples to look at.
        progress: advanced by samples; the caller has opened the stage.

    Raises:
        DataError: no samples.
        InputError: the plan is for another model.
    """
    plain = without_corrections(plan, model)
    operators = [each for each in plain.operators if _takes_bias(model, each)]
    if not operators:
        return {}
    float_graph = _with_means(model, operators)
    integer_graph, moved = _moved_to_means(apply(model, plain), operators)
    total = {name: np.zeros(0) for name in moved}
    seen = 0
    known = computed(_with_outputs(float_graph, model, open_model, batches, count), of=model)
    with open_model(integer_graph, RunOptions()) as other:
        for many, feeds in known:
            shifts = other.run(feeds)
            for name, output in moved.items():
                shift = shifts[output].astype(np.float64).ravel() * many
                total[name] = shift if seen == 0 else total[name] + shift
            seen += many
            (progress or Silent()).advance(many)
    if not seen:
        raise DataError(
            "the data for bias correction has no samples",
            why="mean errors come from data",
            remedy="check the calibration data and its split",
        )
    found = {name: sums / seen for name, sums in total.items()}
    return {
        operator.name: tuple(found[operator.name].tolist())
        for operator in operators
        if _is_felt(found[operator.name], operator, plain)
    }


def _with_outputs(
    graph: ir.Model, model: ir.Model, open_model: OpenModel, batches: BatchStream, count: int
) -> Iterator[tuple[int, dict[str, Array]]]:
    """(samples, what ``graph`` takes and gives), batch by batch."""
    with open_model(graph, RunOptions()) as session:
        for feeds, many in whole_batches(model, batches, count=count, size=BATCH):
            yield many, {**feeds, **session.run(feeds)}


def corrected(plan: QuantPlan, found: Mapping[str, tuple[float, ...]]) -> QuantPlan:
    """``plan`` with the corrections of its operators; those of other operators are dropped (B4)."""
    return replace(
        plan,
        operators=tuple(
            _corrected(operator, plan, found[operator.name])
            if operator.name in found and operator.weight is not None
            else operator
            for operator in plan.operators
        ),
    )


def without_corrections(plan: QuantPlan, model: ir.Model) -> QuantPlan:
    """``plan`` as ``place`` made it: no corrections, and no bias that ``model`` does not have."""
    return replace(
        plan,
        operators=tuple(
            replace(
                each,
                correction=(),
                bias=each.bias if each.bias and each.bias.name in model.graph.initializers else None,
            )
            for each in plan.operators
        ),
    )


def _corrected(operator: QuantOperator, plan: QuantPlan, correction: tuple[float, ...]) -> QuantOperator:
    bias = operator.bias
    if bias is None and operator.weight is not None:
        scale = plan.activations[operator.inputs[0]].scale[0]
        params = bias_params(scale, operator.weight.params, channels=len(correction))
        bias = QuantWeight(f"{operator.name}_correction", params)  # B3
    return replace(operator, bias=bias, correction=correction)


def _takes_bias(model: ir.Model, operator: QuantOperator) -> bool:
    """B3."""
    node = next(node for node in model.graph if node.name == operator.name)
    has_place = operator.bias is not None or is_onnx(node, "Conv", "Gemm")
    return operator.weight is not None and has_place and bool(rank(node.outputs[0]))


def _is_felt(correction: Floats, operator: QuantOperator, plan: QuantPlan) -> bool:
    """B5."""
    if operator.weight is None:
        return False
    scale = plan.activations[operator.inputs[0]].scale[0] * np.asarray(operator.weight.params.scale)
    return bool(np.isfinite(correction).all() and (np.abs(correction) > 0.5 * scale).any())


def _channel_axis(node: ir.Node) -> int:
    """Of the output: (n, channels, ...) of a Conv or Gemm, (..., channels) of a MatMul."""
    return -1 if is_onnx(node, "MatMul") else 1


def _with_means(model: ir.Model, operators: list[QuantOperator]) -> ir.Model:
    """``model`` that gives the mean of each operator's output and nothing else."""
    clone = model.clone()
    nodes = {node.name: node for node in clone.graph}
    names = tuple(f"edgekit_mean_{number}" for number in range(len(operators)))
    values = [
        reduced(
            clone.graph,
            "ReduceMean",
            nodes[operator.name].outputs[0],
            axis=_channel_axis(nodes[operator.name]),
            name=name,
        )
        for name, operator in zip(names, operators, strict=True)
    ]
    clone.graph.outputs.clear()
    clone.graph.outputs.extend(values)
    return clone


def _moved_to_means(model: ir.Model, operators: list[QuantOperator]) -> tuple[ir.Model, dict[str, str]]:
    """B2: the integer model with the wanted means as inputs; and operator name -> output of what moved."""
    graph = model.graph
    nodes = {node.name: node for node in graph}
    moved, outputs = {}, []
    for number, operator in enumerate(operators):
        value = nodes[operator.name].outputs[0]
        readers = tuple(value.uses())
        axis = _channel_axis(nodes[operator.name])
        mean = reduced(graph, "ReduceMean", value, axis=axis, name=f"edgekit_own_mean_{number}")
        wanted = ir.Value(name=f"edgekit_mean_{number}", shape=mean.shape, type=mean.type)
        graph.inputs.append(wanted)
        shift = ir.node("Sub", [wanted, mean], name=f"edgekit_shift_{number}")
        shift.outputs[0].name, shift.outputs[0].shape = f"edgekit_shift_{number}", mean.shape
        shift.outputs[0].type = mean.type
        producer = mean.producer()
        if producer is not None:
            graph.insert_after(producer, shift)
        shifted = new_value(graph, "Add", [shift.outputs[0], value], f"edgekit_moved_{number}")
        shifted.shape = value.shape
        for node, index in readers:
            node.replace_input_with(index, shifted)
        moved[operator.name] = f"edgekit_shift_{number}"
        outputs.append(shift.outputs[0])
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    return model, moved
