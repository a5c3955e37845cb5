"""The ONNX form that is compiled -> what its numbers are; a source that came quantized, as it came.

Apart from ``variant``, which makes the forms that a float model can take: `edgekit compile` makes none, and
importing what does (calibration, placing, restoration) would take longer than a small model takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx_ir as ir

from edgekit.ir.digest import digest
from edgekit.ir.graph import constant, is_onnx, walk
from edgekit.ir.pin import pinned
from edgekit.pipeline.model import Canonical
from edgekit.quantization.unsigned import with_unsigned_activations
from edgekit.spec import Precision, Rejection
from edgekit.target import Target

_SIXTEEN = frozenset({ir.DataType.INT16, ir.DataType.UINT16})


@dataclass(frozen=True)
class Variant:
    """A model that is ready for a back end, and what its numbers are.

    Attributes:
        plan_digest: "" where nothing is quantized.
        output_steps: one quantization step of each quantized output, by name.
        left_float: operators that the plan leaves float, with the reason.
        quantized: how many operators the plan quantizes.
        notes: what the user should know about the numbers.
        origin: what the model follows from, with the target; "" = only its digest tells.
    """

    model: ir.Model
    precision: Precision
    plan_digest: str = ""
    output_steps: Mapping[str, float] = field(default_factory=dict)
    left_float: tuple[Rejection, ...] = ()
    quantized: int = 0
    notes: tuple[str, ...] = ()
    origin: str = ""

    def with_sizes(self, sizes: Mapping[str, int]) -> Variant:
        """The same with open sizes bound to numbers (``ir.pin``); itself where ``sizes`` is empty.

        Raises:
            InputError: no input has an open size of such a name.
        """
        if not sizes:
            return self
        bound = ",".join(f"{name}={size}" for name, size in sorted(sizes.items()))
        return replace(
            self, model=pinned(self.model, sizes), origin=f"{self.origin} {bound}" if self.origin else ""
        )

    @cached_property
    def digest(self) -> str:
        """``ir.digest`` of the model: what a release's provenance names."""
        return digest(self.model)


def as_it_came(canonical: Canonical, target: Target) -> Variant:
    """The variant of a source that came quantized: nothing is decided anew.

    Where every kernel of the target takes unsigned activations, signed ones are written so: the same numbers.
    """
    static = [kernel.activation for kernel in target.kernel if kernel.activation.startswith(("u8:", "s8:"))]
    unsigned = bool(static) and all(scheme.startswith("u8:") for scheme in static)
    return Variant(
        model=with_unsigned_activations(canonical.model) if unsigned else canonical.model,
        precision=came_as(canonical),
        plan_digest=f"source-{canonical.digest[:16]}",
        output_steps=canonical.output_steps,
        quantized=quantized_operators(canonical.model),
        origin=canonical.origin,
    )


def came_as(canonical: Canonical) -> Precision:
    """What a quantized source is; int8 weights alone are ``dynamic`` where the file says so."""
    found = precision_of(canonical.model)
    dynamic = found is Precision.W8 and canonical.said_precision == Precision.DYNAMIC
    return Precision.DYNAMIC if dynamic else found


def precision_of(model: ir.Model) -> Precision:
    """What a quantized model is: w8a8 or w8a16 where activations have scales, else what its weights are."""
    if any(is_onnx(node, "DynamicQuantizeLinear") for node in walk(model)):
        return Precision.DYNAMIC
    stored = [node.inputs[0] for node in walk(model) if is_onnx(node, "DequantizeLinear")]
    if not stored or any(constant(value) is None for value in stored):
        wide = any(value is not None and value.dtype in _SIXTEEN for value in stored)
        return Precision.W8A16 if wide else Precision.W8A8
    small = {ir.DataType.INT4, ir.DataType.UINT4}
    return (
        Precision.W4 if any(value is not None and value.dtype in small for value in stored) else Precision.W8
    )


def quantized_operators(model: ir.Model) -> int:
    """How many operators read dequantized values alone (constants aside), or dequantized weights."""
    reads = _reads_integers if precision_of(model).is_static else _reads_integer_weights
    return sum(
        1 for node in walk(model) if not is_onnx(node, "QuantizeLinear", "DequantizeLinear") and reads(node)
    )


def _reads_integer_weights(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    return is_onnx(node, "MatMulInteger", "ConvInteger") or any(
        producer is not None and is_onnx(producer, "DequantizeLinear") for producer in producers
    )


def _reads_integers(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None and constant(value) is None]
    return bool(producers) and all(
        producer is not None and is_onnx(producer, "DequantizeLinear") for producer in producers
    )
