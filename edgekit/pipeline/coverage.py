"""Variant + what a runtime executed -> CoverageRow: how much runs as the plan wants it, and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from edgekit.ir.graph import is_onnx, walk
from edgekit.ir.macs import multiplies
from edgekit.pipeline.came import Variant
from edgekit.pipeline.inspect.onnx_file import layers_of
from edgekit.spec import Executed
from edgekit.validation.coverage import Coverage, Layer, coverage
from edgekit.validation.resources import nodes_in_words

_FOLLOWED = 4  # a kernel fuses an operator with an addition, an activation and a quantizer at most


def measure(variant: Variant, executed: Sequence[Executed] | None, *, device: str) -> Coverage | None:
    """None where the runtime does not say what it ran, or nothing in the model multiplies."""
    if executed is None:
        return None
    planned = {each.node for each in variant.left_float}
    nodes = {node.name: node for node in walk(variant.model) if node.name}
    layers = [
        Layer(each.name, tuple(aliases(nodes.get(each.name))), each.macs, each.name in planned)
        for each in layers_of(variant.model)
        if each.macs != 0
    ]
    return coverage(executed, layers, precision=variant.precision, device=device)


def silent_fallbacks(found: Coverage | None, *, target: str, name: str) -> tuple[str, ...]:
    """A finding where operators run elsewhere and nobody decided it."""
    silent = tuple(each for each in found.elsewhere if each.silent) if found else ()
    if not silent:
        return ()
    count = f"{len(silent)} operators run" if len(silent) > 1 else "1 operator runs"
    return (f"{target}: in {name} {count} elsewhere than asked: {nodes_in_words(silent)}",)


def aliases(node: ir.Node | None) -> Iterator[str]:
    """Names of what follows ``node`` without a branch, its own output first."""
    for _ in range(_FOLLOWED):
        if node is None or not node.outputs:
            return
        output = node.outputs[0]
        if output.name:
            yield output.name
        readers = [reader for reader, _ in output.uses()]
        node = readers[0] if len(readers) == 1 and not multiplies(readers[0]) else None
        if node is not None and is_onnx(node, "QuantizeLinear"):  # the end of a fused kernel
            yield from (value.name for value in node.outputs if value.name)
            return
