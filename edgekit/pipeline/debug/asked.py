"""Artifact x float model -> the kernels that were to run in integers: what is float elsewhere was meant so.

    target's rules (of the placement)  -  what the search kept in float  -  what the recipe kept in float

Q1 in a bundle: the lock says which candidate it is, and recipe.json holds the user's exceptions
Q2 a file alone: the rules as they are
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir

from edgekit import target as targets
from edgekit.bundle import manifest
from edgekit.errors import EdgekitError
from edgekit.pipeline import lock
from edgekit.pipeline.scheme import Scheme
from edgekit.quantization.overrides import Override, kept_float
from edgekit.quantization.place import place
from edgekit.recipe import OptimizeTable
from edgekit.spec import Artifact, Precision, Range, Rejection
from edgekit.validation import segments
from edgekit.validation.layers import KernelEvidence


def asked_in_integers(
    artifact: Artifact, reference: ir.Model, kernels: tuple[KernelEvidence, ...]
) -> frozenset[str]:
    """Names of the kernels with a weight that were to run in integers; ranges are no matter for that."""
    if not artifact.precision.is_static:
        return frozenset()
    try:
        target = targets.load(artifact.target)
        scheme, kept = _meant(artifact, reference)
    except EdgekitError:  # a target file that is not here, a lock that is damaged: nothing is known
        return frozenset()
    anything = {name: Range(-1.0, 1.0) for name in segments.values(reference)}
    plan = place(
        reference,
        target.placed(scheme.placement),
        anything,
        precision=scheme.precision,
        keep_float={**scheme.keep_float, **kept},
    )
    heads = {operator.name for operator in plan.operators if operator.weight is not None}
    return frozenset(
        kernel.name
        for kernel in kernels
        if kernel.weight is not None and any(node.name in heads for node in kernel.segment)
    )


def _meant(artifact: Artifact, reference: ir.Model) -> tuple[Scheme, dict[str, Rejection]]:
    """Q1, Q2. An exception that matches nothing of this float model is no exception here."""
    bundle = artifact.path.parent.parent
    locked = lock.read(bundle / lock.NAME) if (bundle / manifest.FILE_NAME).is_file() else None
    choice = None if locked is None else locked.targets.get(artifact.target)
    if choice is None or artifact.path.name not in choice.files:
        return Scheme(artifact.precision), {}
    kept: dict[str, Rejection] = {}
    for each in _exceptions(bundle):
        if any(each.matches(node) for node in reference.graph):
            kept |= kept_float(reference, (each,))
    return choice.scheme, kept


def _exceptions(bundle: Path) -> tuple[Override, ...]:
    recipe = json.loads((bundle / manifest.RECIPE).read_text("utf-8"))
    table = OptimizeTable.model_validate(recipe["optimize"])
    return tuple(Override(Precision(each.precision), each.nodes, each.operators) for each in table.override)
