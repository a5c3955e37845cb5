"""Costs of a graph or of a compiled file -> the figures of an InspectResult, and what they do not say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgekit.ir.contents import Contents, LayerCost, total_macs
from edgekit.pipeline.result import InspectResult
from edgekit.spec import TensorSpec

_NAMED = 3  # as many as a sentence bears; the table of layers has them all


def with_contents(result: InspectResult, contents: Contents) -> InspectResult:
    """``result`` with the figures of a compiled file."""
    counts = Counter(layer.operator for layer in contents.layers)
    return replace(
        with_layers(result, contents.layers),
        operators=dict(sorted(counts.items())),
        versions=contents.versions,
        peak_bytes=contents.peak_bytes,
        quantization=contents.quantization,
        notes=(*result.notes, *notes(result.inputs, contents.layers), *contents.notes),
    )


def with_layers(result: InspectResult, layers: tuple[LayerCost, ...]) -> InspectResult:
    """``result`` with the costs of ``layers`` and their sums."""
    return replace(
        result,
        layers=layers,
        parameters=sum(layer.parameters for layer in layers),
        parameter_bytes=sum(layer.parameter_bytes for layer in layers),
        macs=total_macs(layers),
    )


def notes(inputs: Sequence[TensorSpec], layers: Sequence[LayerCost]) -> tuple[str, ...]:
    """Which open sizes were counted as 1, and which operators are missing in the sum."""
    return (*_open_sizes(inputs), *_unknown(layers))


def _open_sizes(inputs: Sequence[TensorSpec]) -> list[str]:
    """The batch on axis 0 goes without saying."""
    found = dict.fromkeys(
        dim if isinstance(dim, str) else f"axis {axis} of {spec.name}"
        for spec in inputs
        for axis, dim in enumerate(spec.shape)
        if axis > 0 and not isinstance(dim, int)
    )
    if not found:
        return []
    return [f"open sizes count as 1 here ({', '.join(found)}): MACs and memory grow with them"]


def _unknown(layers: Sequence[LayerCost]) -> list[str]:
    found = [layer for layer in layers if layer.macs is None]
    if not found:
        return []
    names = ", ".join(f"{layer.name} ({layer.operator})" for layer in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return [f"MACs are at least this: those of {names}{more} are not known"]
