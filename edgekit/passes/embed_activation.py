"""Output y of logits -> output y of probabilities: Softmax along the classes, or Sigmoid.

    model -> y   becomes   model -> Softmax(axis) -> y

The output keeps its name: metrics and apps ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from edgekit.passes.base import Pass
from edgekit.passes.embed_boundary import Back


@dataclass(frozen=True)
class EmbedActivation(Pass):
    """Give probabilities.

    Attributes:
        output: name of a float32 output.
        activation: which.
        axis: of the classes; a Sigmoid needs none.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"canonical"})

    output: str
    activation: Literal["softmax", "sigmoid"]
    axis: int = -1

    def apply(self, model: ir.Model) -> ir.Model:
        """Append the operator."""
        back = Back(model.graph)
        logits = back.take(self.output)
        softmax = self.activation == "softmax"
        rank = len(logits.shape) if logits.shape is not None else 0
        found = back.node(
            "Softmax" if softmax else "Sigmoid",
            [logits],
            what=f"{self.output}/{self.activation}",
            dtype=ir.DataType.FLOAT,
            attributes={"axis": self.axis % rank if rank else self.axis} if softmax else {},
        )
        found.shape = logits.shape
        back.give(self.output, logits, found)
        return model
