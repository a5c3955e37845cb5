"""Kernels that are wrong -> trials: the reference with one thing changed, beside the artifact.

T1 only kernels whose own error is more than rounding makes (``look.WRONG_DB``), at most MOST: those in
   front, because what comes behind may be wrong by them, and those with the least signal to noise
T2 what sums of two integer products reach, of the same kernels, by the arithmetic of
   ``quantization.saturation``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.pipeline.debug.looking import Looking, Seen
from edgekit.quantization import saturation
from edgekit.quantization.plan import QuantOperator, QuantPlan, QuantWeight
from edgekit.spec import QuantParams
from edgekit.validation import segments
from edgekit.validation.diagnose.changes import Segment
from edgekit.validation.diagnose.evidence import Evidence, ProductSums, Trial
from edgekit.validation.diagnose.look import WRONG_DB
from edgekit.validation.diagnose.observed import Observed
from edgekit.validation.diagnose.try_changes import try_changes
from edgekit.validation.layers import KernelEvidence

MOST = 8  # kernels: one or two models of ONNX Runtime each


def tried(looking: Looking, evidence: Evidence) -> Evidence:
    """The evidence with its trials and sums of products; itself where no kernel is wrong."""
    wrong = _wrong(evidence)
    if not wrong:
        return evidence
    seen = next(looking.batches())
    names = [kernel.name for kernel in evidence.kernels]
    pieces = {piece.name: piece for piece in segments.segments(looking.reference, names)}
    params = {kernel.name: kernel.params for kernel in evidence.kernels if kernel.params is not None}
    trials: list[Trial] = []
    for kernel in wrong:
        trials += _of_kernel(kernel, pieces[kernel.name], looking.reference, seen, params)
    return replace(evidence, trials=tuple(trials), products=_products(looking.reference, wrong))


def _wrong(evidence: Evidence) -> list[KernelEvidence]:
    """T1, in order of computation."""
    found = [kernel for kernel in evidence.kernels if kernel.own.sqnr_db < WRONG_DB]
    worst = sorted(found, key=lambda kernel: kernel.own.sqnr_db)[: MOST // 2]
    chosen = {kernel.name for kernel in (*found[: MOST - MOST // 2], *worst)}
    return [kernel for kernel in found if kernel.name in chosen]


def _of_kernel(
    kernel: KernelEvidence,
    piece: segments.Segment,
    reference: ir.Model,
    seen: Seen,
    params: Mapping[str, QuantParams],
) -> tuple[Trial, ...]:
    model = segments.extracted(reference, piece) if piece.nodes else _identity(reference, piece.name)
    fed = frozenset(value.name or "" for value in reference.graph.inputs)
    names = piece.inputs if piece.nodes else (piece.name,)
    # an input that the artifact rounds is an end too; in front of its own end it is what was fed
    inputs = {
        name: seen.candidate[name] if name in seen.candidate and piece.nodes else seen.feeds[name]
        for name in names
    }
    segment = Segment(
        model=model,
        params={name: params[name] for name in names if name in params},
        weight=kernel.weight,
        fed=fed,
    )
    observed = [Observed(inputs, seen.candidate[kernel.name])]
    return try_changes(kernel.name, segment, observed, params=kernel.params, open_model=open_model)


def _identity(reference: ir.Model, name: str) -> ir.Model:
    """A model that gives one input of ``reference`` as it is."""
    source = segments.values(reference)[name]
    value = ir.Value(name=name, type=source.type, shape=source.shape)
    node = ir.node("Identity", [value], name=f"{name}_identity")
    result = node.outputs[0]
    result.name, result.type, result.shape = f"{name}_same", source.type, source.shape
    imports = dict(reference.graph.opset_imports)
    return ir.Model(
        ir.Graph([value], [result], nodes=[node], opset_imports=imports, name="input"), ir_version=10
    )


def _products(reference: ir.Model, kernels: list[KernelEvidence]) -> tuple[ProductSums, ...]:
    """T2."""
    operators = {}
    for kernel in kernels:
        weight = kernel.weight
        if weight is None or weight.params is None or not kernel.integer or weight.params.dtype != "int8":
            continue
        head = next((node for node in kernel.segment if weight.name in node.inputs), None)
        if head is None or head.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        stored = replace(weight.params, axis=weight.axis if len(weight.params.scale) > 1 else None)
        operators[kernel.name] = QuantOperator(
            head.name, head.op_type, (head.name,), (), kernel.name, weight=QuantWeight(weight.name, stored)
        )
    plan = QuantPlan("", tuple(operators.values()), {})
    ends = {operator.name: name for name, operator in operators.items()}
    return tuple(
        ProductSums(ends[pair.operator], pair.smallest, pair.largest)
        for pair in saturation.find(reference, plan)
    )
