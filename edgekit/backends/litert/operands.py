"""What units are made of: operands, fused clamps, and the unit itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.backends.litert.tensors import Shape
from edgekit.spec import Array, QuantParams


@dataclass(frozen=True, eq=False)
class Operand:
    """One input or output of a unit.

    Attributes:
        key: name of the ONNX value whose stored tensor this is.
        shape: logical (ONNX) shape.
        dtype: NumPy name of the stored element type.
        quant: scale(s) and zero point(s) in logical axes, for a quantized tensor.
        const: the elements, in logical layout, if they are known when compiling.
    """

    key: str
    shape: Shape
    dtype: str
    quant: QuantParams | None = None
    const: Array | None = None

    @property
    def runtime(self) -> bool:
        """Whether the elements are only known at run time."""
        return self.const is None

    @property
    def rank(self) -> int:
        """Number of logical axes."""
        return len(self.shape)


@dataclass(frozen=True, slots=True)
class Clamp:
    """min(max(x, low), high), in real values; an infinite bound does nothing."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Unit:
    """One ONNX operator with everything that is fused into it.

    Attributes:
        op: ONNX operator; "domain.Operator" outside the default domain.
        node: name of the ONNX node, for messages.
        attributes: of the ONNX node, as plain values.
        inputs: in the ONNX order; None where an optional input is absent.
        outputs: in the ONNX order.
        clamp: fused Relu or Clip.
    """

    op: str
    node: str
    attributes: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    clamp: Clamp | None = None

    @property
    def is_integer(self) -> bool:
        """Whether it is an int8 kernel: quantized tensors in and out."""
        first = self.inputs[0] if self.inputs else None
        return first is not None and first.quant is not None and self.outputs[0].quant is not None

    def operand(self, index: int) -> Operand | None:
        """Input ``index``, or None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None
