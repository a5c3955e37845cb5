"""Model -> .onnx -> onnxruntime-web (WebAssembly), run in Node; target wasm.

The file is what the CPU provider of ONNX Runtime takes: onnxruntime-web is that provider, compiled for
WebAssembly. It is compiled everywhere; whether it loads is asked of onnxruntime-web where Node and the
package are here, and of the CPU provider elsewhere. Sessions run on onnxruntime-web or not at all.

C1 structural rules of the target (``backends.refusal``)
C2 the session cannot be made, C3 the first run fails: as ``backends.onnxruntime``
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import onnx_ir as ir

from edgekit.backends import node_process
from edgekit.backends.base import CompileRequest
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.onnxruntime import OnnxRuntime
from edgekit.errors import MissingBackendError
from edgekit.spec import Artifact, Availability, Rejection, RunOptions, Session
from edgekit.target import Target


class OnnxRuntimeWeb(OnnxRuntime):
    """``backends.base.Backend`` for onnxruntime-web in Node."""

    engine: ClassVar[str] = "edgekit.backends.onnxruntime_web_engine:OnnxRuntimeWebEngine"

    def probe(self, target: Target) -> Availability:
        """Node and the package are here, and it is recent enough."""
        try:
            found = node_process.find()
        except MissingBackendError as error:
            return Availability(False, "", error.what, error.remedy, compiles=True)
        if not satisfies(found.version, target.runtime):
            reason = f"onnxruntime-web {found.version} is installed, {target.name} needs {target.runtime}"
            return Availability(False, found.version, reason, node_process.INSTALL, compiles=True)
        return Availability(True, found.version)

    def _tried(self, model: ir.Model, target: Target, options: RunOptions) -> tuple[Rejection, ...]:
        """C2 and C3, on the CPU provider where onnxruntime-web is not here."""
        if not self.probe(target).ok:
            return OnnxRuntime()._tried(model, target, options)
        return super()._tried(model, target, options)

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.onnx``; the same model gives the same bytes."""
        written = super().compile(request, folder)
        tools = {"onnxruntime": installed_version("onnxruntime")}
        # no note about saturation: WebAssembly has no pair sums of 16 bits (i32x4.dot_i16x8_s adds in 32)
        return replace(written, backend=request.target.backend, tools=tools, notes=())

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in Node, behind a worker; see ``Backend.open``."""
        node_process.find()
        return super().open(artifact, options)
