"""ONNX file -> facts, costs and quantization. Nothing is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir import cost, digest, schemes
from edgekit.ir.contents import LayerCost
from edgekit.ir.external import external_files
from edgekit.ir.graph import has_subgraphs, walk
from edgekit.ir.io import specs
from edgekit.ir.quiet import quiet
from edgekit.ir.traffic import traffic
from edgekit.ir.verify import FLOAT, is_quantized, verify
from edgekit.passes.base import run
from edgekit.passes.fold_constants import FoldConstants
from edgekit.passes.infer_shapes import InferShapes
from edgekit.passes.inline_functions import InlineFunctions
from edgekit.passes.lift_constants import LiftConstants
from edgekit.passes.lift_opset import LiftOpset
from edgekit.pipeline.inspect.figures import notes, with_layers
from edgekit.pipeline.result import InspectResult

_FOLDING = (LiftOpset(), InferShapes(), FoldConstants(), InferShapes())


def inspect_model(model: ir.Model, path: Path) -> InspectResult:
    """Look into ``model``, which was read from ``path``.

    Raises:
        ModelFileError: it is not well-formed, or an input or output has no known type or rank.
    """
    verify(model, FLOAT, after="reading", error=ModelFileError)
    inputs, outputs = specs(model)
    quantized = is_quantized(model)
    sized, computed = _sized(model)
    layers = cost.layers(sized)
    moved = _moved(sized)
    outside = external_files(path)
    facts = {
        "opset": ", ".join(
            f"{domain} {number}".strip() for domain, number in sorted(model.opset_imports.items())
        ),
        "made by": f"{model.producer_name or ''} {model.producer_version or ''}".strip(),
        "external data": ", ".join(outside),
        "moves": moved,
        "digest": digest.digest(model),
    }
    said = notes(inputs, layers)
    bodies = any(has_subgraphs(node) for node in walk(sized))
    if bodies:
        said = (*said, "the body of an If, Loop or Scan is counted once, however often it runs")
    result = InspectResult(
        path=path,
        kind="ONNX model, quantized" if quantized else "ONNX model, float",
        facts={name: value for name, value in facts.items() if value},
        inputs=inputs,
        outputs=outputs,
        operators=_counts(model),
        size_bytes=sum(file.stat().st_size for file in (path, *(path.parent / name for name in outside))),
        # a QDQ graph computes in floats on paper only: its activations say nothing about a kernel's memory
        peak_bytes=None if quantized or bodies else cost.peak_activation_bytes(computed),
        quantization=schemes.quantization(sized) if quantized else None,
        notes=said,
    )
    return with_layers(result, layers)


def _moved(sized: ir.Model) -> str:
    """Bytes of one inference, every operator by itself (``ir.traffic``); "" where a size is unknown."""
    found = [traffic(node) for node in walk(sized)]
    sizes = [each.moved_bytes for each in found]
    counts = [each.operations for each in found]
    known = sum(size for size in sizes if size is not None)
    if None in sizes or None in counts or not known:
        return ""
    intensity = sum(count for count in counts if count is not None) / known
    return f"{known:,} bytes in an inference, no operator fused; {intensity:.2g} operations per byte"


def layers_of(model: ir.Model) -> tuple[LayerCost, ...]:
    """What every operator of ``model`` costs, open sizes as 1; the model is not changed."""
    return cost.layers(with_sizes(model))


def with_sizes(model: ir.Model) -> ir.Model:
    """A clone in which every size is known that can be, open ones as 1; the model is not changed."""
    return _sized(model)[0]


def _sized(model: ir.Model) -> tuple[ir.Model, ir.Model]:
    """Clones with all sizes that can be known: functions inlined, constants in one form, open sizes as 1.

    Inference follows some shape arithmetic only; where it does not, the arithmetic is computed.

    Returns:
        The graph with every operator of the file, and the same without the operators that were computed.
    """
    with quiet():
        sized = cost.with_open_sizes(LiftConstants().apply(InlineFunctions().apply(model.clone())))
    computed, unknown = sized, _unknown(sized)
    while unknown:  # every round may know the sizes that the next one computes with
        try:
            computed = run(computed, _FOLDING, rules=FLOAT, known=InlineFunctions.establishes)
        except ModelFileError:  # an opset that cannot be lifted: the figures stay unknown, and notes say so
            break
        _say_shapes_of_constants(computed)
        if _unknown(computed) >= unknown:
            break
        unknown = _unknown(computed)
    return (sized if computed is sized else cost.with_shapes_of(sized, computed)), computed


def _say_shapes_of_constants(model: ir.Model) -> None:
    """A value that became a constant may still have the open shape that it was inferred with."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.shape = ir.Shape(value.const_value.numpy().shape)


def _unknown(model: ir.Model) -> int:
    return sum(layer.output_bytes is None or layer.macs is None for layer in cost.layers(model))


def _counts(model: ir.Model) -> dict[str, int]:
    """Operator -> how often, constants left out; an operator of another domain with its domain."""
    names = (
        node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"
        for node in walk(model)
        if node.op_type != "Constant"
    )
    return dict(sorted(Counter(names).items()))
