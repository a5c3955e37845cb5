"""Model of any opset -> the same computation in one opset (21), IR version 10.

C1: the model is at the opset already: nothing happens.
C2: onnxscript's converter knows the way (18 and later, upwards): it keeps tensors and names.
C3: any other: onnx.version_converter, through protobuf.

Source: onnx docs/VersionConverter.md; onnxscript.version_converter. IR version 10 goes with opset 21
(onnx docs/Versioning.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from edgekit.errors import ModelFileError
from edgekit.ir import io
from edgekit.ir.verify import CANONICAL_OPSET
from edgekit.passes.base import Pass

OLDEST_FOR_ONNXSCRIPT = 18  # onnxscript.version_converter: SUPPORTED_MIN_ONNX_OPSET
IR_VERSION = 10  # the first that has opset 21; onnxruntime 1.18 and later read it


@dataclass(frozen=True)
class LiftOpset(Pass):
    """Bring the standard operators to ``version``."""

    requires: ClassVar[frozenset[str]] = frozenset({"functions-inlined"})
    establishes: ClassVar[frozenset[str]] = frozenset({"opset-canonical"})
    version: int = CANONICAL_OPSET

    def apply(self, model: ir.Model) -> ir.Model:
        """Convert; raises ModelFileError where an operator has no counterpart."""
        current = model.opset_imports.get("", model.opset_imports.get("ai.onnx"))
        if current is None:
            model.opset_imports[""] = self.version  # only foreign domains: nothing to convert
        elif current == self.version:
            model.opset_imports[""] = current
        elif OLDEST_FOR_ONNXSCRIPT <= current < self.version:
            from onnxscript.version_converter import convert_version

            convert_version(model, target_version=self.version)
        else:
            model = io.convert_opset(model, self.version)
        model.opset_imports.pop("ai.onnx", None)
        if model.opset_imports.get("") != self.version:
            raise ModelFileError(
                f"the model stays at opset {current}: it cannot be moved to {self.version}",
                why=f"edgekit works on opset {self.version}",
                remedy=f"export the model again with opset {self.version}",
            )
        model.ir_version = IR_VERSION
        return model
