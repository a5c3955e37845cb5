"""Kernel that is wrong x its segment of the reference -> Trials: what the reference computes when changed.

    c   what the artifact holds at the kernel's end
    e'  what the changed segment computes from the artifact's own inputs
    own error of the trial  c - e'

Where e' is what the artifact computes, the change is what is wrong with the artifact: whatever wrote it, and
whether or not its graph can be read. All changes of a kernel run in one graph, which shares its inputs.

C1 e' is limited to what the artifact's integers can hold: saturation is no error of the change
C2 a change that does not compute (another shape, no kernel) is no trial
C3 what costs much is tried where nothing else explains the artifact
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import EdgekitError
from edgekit.spec import Array, QuantParams, RunOptions
from edgekit.validation.diagnose.changes import CHANGES, LAST, Change, Segment, change_nothing
from edgekit.validation.diagnose.evidence import Trial
from edgekit.validation.diagnose.fit_gains import fit_gains
from edgekit.validation.diagnose.observed import Observed, OpenModel
from edgekit.validation.layers import Error, limits

ENOUGH_DB = 10.0  # nearer by that: a tenth of the noise is left, and something is explained


def try_changes(
    kernel: str,
    segment: Segment,
    observed: Sequence[Observed],
    *,
    params: QuantParams | None,
    open_model: OpenModel,
) -> tuple[Trial, ...]:
    """One trial for each change of ``segment`` that computes an output of the right shape.

    Args:
        kernel: name of the value at its end.
        segment: of the reference; untouched.
        observed: batches.
        params: of the artifact's tensor at the end; None = float.
        open_model: opens a model in a runtime that computes in float32.
    """
    runs = _Runs(kernel, observed, params, open_model)
    tried = runs.trials([change for make in CHANGES for change in make(segment)])
    tried += fit_gains(kernel, segment, observed, params=params, open_model=open_model)
    if not tried or _unexplained(tried):
        tried += runs.trials([change for make in LAST for change in make(segment)])
    return tried


def _unexplained(tried: Sequence[Trial]) -> bool:
    """Whether the artifact is as far from everything that was tried as it is from the reference (C3)."""
    unchanged = [trial.own.sqnr_db for trial in tried if trial.change == change_nothing.KIND]
    return max(trial.own.sqnr_db for trial in tried) < (unchanged or [-math.inf])[0] + ENOUGH_DB


@dataclass(frozen=True, eq=False)
class _Runs:
    """One kernel, as it was observed."""

    kernel: str
    observed: Sequence[Observed]
    params: QuantParams | None
    open_model: OpenModel

    def trials(self, found: Sequence[Change]) -> tuple[Trial, ...]:
        errors = _errors(found, self.observed, self.params, self.open_model)
        step = None if self.params is None or len(self.params.scale) != 1 else self.params.scale[0]
        return tuple(
            Trial(self.kernel, change.kind, change.says, error.finish(step), change.value)
            for change, error in zip(found, errors, strict=True)
            if error is not None
        )


def _errors(
    found: Sequence[Change], observed: Sequence[Observed], params: QuantParams | None, open_model: OpenModel
) -> list[Error | None]:
    """Of all changes in one graph; where that does not run, of each half (C2)."""
    if not found:
        return []
    try:
        with open_model(merged([change.model for change in found]), RunOptions()) as session:
            errors: list[Error | None] = [Error() for _ in found]
            for batch in observed:
                wanted = {spec.name: batch.inputs[spec.name] for spec in session.inputs}
                results = session.run(wanted)
                for index, error in enumerate(errors):
                    computed = results[output_name(index)]
                    if error is None or computed.shape != batch.output.shape:
                        errors[index] = None
                    else:
                        _add(error, computed, batch.output, params)
            return errors
    except EdgekitError:
        if len(found) == 1:
            return [None]
        half = len(found) // 2
        parts = (found[:half], found[half:])
        return [error for part in parts for error in _errors(part, observed, params, open_model)]


def _add(error: Error, computed: Array, seen: Array, params: QuantParams | None) -> None:
    truth: npt.NDArray[Any] = computed.astype(np.float64)
    if params is not None and len(params.scale) == 1:
        truth = np.clip(truth, *limits(params))
    candidate = seen.astype(np.float64)
    error.add(truth, candidate, candidate - truth)


def output_name(index: int) -> str:
    """Of change number ``index`` in the merged graph."""
    return f"edgekit_change_{index}"


def merged(models: Sequence[ir.Model]) -> ir.Model:
    """One model that computes the one output of every model of ``models`` from the inputs that they share."""
    first = models[0]
    inputs = {value.name: _like(value) for value in first.graph.inputs}
    nodes: list[ir.Node] = []
    initializers: dict[str, ir.Value] = {}
    outputs = []
    for index, model in enumerate(models):
        known: dict[ir.Value, ir.Value] = {value: inputs[value.name] for value in model.graph.inputs}
        for name, value in model.graph.initializers.items():
            known[value] = _initializer(value, f"{name}_{index}", initializers)
        for node in model.graph:
            made = _copied(node, known, index)
            nodes.append(made)
        result = known[model.graph.outputs[0]]
        end = ir.node("Identity", [result], name=output_name(index))
        end.outputs[0].name, end.outputs[0].type = output_name(index), result.type
        nodes.append(end)
        outputs.append(end.outputs[0])
    graph = ir.Graph(
        list(inputs.values()),
        outputs,
        nodes=nodes,
        initializers=list(initializers.values()),
        opset_imports=dict(first.opset_imports),
        name="changes",
    )
    return ir.Model(graph, ir_version=first.ir_version)


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)


def _initializer(value: ir.Value, name: str, made: dict[str, ir.Value]) -> ir.Value:
    """The same tensor under another name, stored once for all changes that share it."""
    tensor = value.const_value
    key = str(id(tensor))
    if key not in made:
        made[key] = ir.Value(name=name, shape=value.shape, type=value.type, const_value=tensor)
    return made[key]


def _copied(node: ir.Node, known: dict[ir.Value, ir.Value], index: int) -> ir.Node:
    inputs = [None if value is None else known[value] for value in node.inputs]
    made = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        attributes=list(node.attributes.values()),
        num_outputs=len(node.outputs),
        name=f"{node.name}_{index}",
    )
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.name, new.type = f"{old.name}_{index}" if old.name else "", old.type
        known[old] = new
    return made
