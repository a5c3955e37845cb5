"""ONNX file -> facts, costs and quantization. Nothing is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir import cost, digest, schemes
from edgekit.ir.external import external_files
from edgekit.ir.graph import has_subgraphs, walk
from edgekit.ir.io import specs
from edgekit.ir.quiet import quiet
from edgekit.ir.verify import FLOAT, is_quantized, verify
from edgekit.passes.inline_functions import InlineFunctions
from edgekit.passes.lift_constants import LiftConstants
from edgekit.pipeline.inspect.figures import notes, with_layers
from edgekit.pipeline.result import InspectResult


def inspect_model(model: ir.Model, path: Path) -> InspectResult:
    """Look into ``model``, which was read from ``path``.

    Raises:
        ModelFileError: it is not well-formed, or an input or output has no known type or rank.
    """
    verify(model, FLOAT, after="reading", error=ModelFileError)
    inputs, outputs = specs(model)
    quantized = is_quantized(model)
    sized = cost.with_open_sizes(_plain(model))
    layers = cost.layers(sized)
    outside = external_files(path)
    facts = {
        "opset": ", ".join(
            f"{domain} {number}".strip() for domain, number in sorted(model.opset_imports.items())
        ),
        "made by": f"{model.producer_name or ''} {model.producer_version or ''}".strip(),
        "external data": ", ".join(outside),
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
        peak_bytes=None if quantized or bodies else cost.peak_activation_bytes(sized),
        quantization=schemes.quantization(sized) if quantized else None,
        notes=said,
    )
    return with_layers(result, layers)


def _plain(model: ir.Model) -> ir.Model:
    """A clone with the bodies of functions in place of their calls, and constants in one form."""
    with quiet():
        return LiftConstants().apply(InlineFunctions().apply(model.clone()))


def _counts(model: ir.Model) -> dict[str, int]:
    """Operator -> how often, constants left out; an operator of another domain with its domain."""
    names = (
        node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"
        for node in walk(model)
        if node.op_type != "Constant"
    )
    return dict(sorted(Counter(names).items()))
