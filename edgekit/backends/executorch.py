"""Model -> .pte -> ExecuTorch with its XNNPACK delegate; target executorch-xnnpack.

The program is exported by PyTorch from the canonical graph, float or QDQ, which came from the PyTorch source
(or any other) with its parity proved: so the scales are those of the one calibration, and compiling needs no
PyTorch source. Integers inside equal those of the plan on every other target.

C1 structural rules of the target (``backends.refusal``)
C2 an operator that has no counterpart in ``backends.executorch_operators``
C3 a form that PyTorch or ExecuTorch cannot export: found in a worker, and only when the model is compiled
C4 XNNPACK's delegate leaves operators to ExecuTorch's portable kernels, and nobody has allowed it: likewise
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import torch_module
from edgekit.backends.base import CompileRequest, file_entries
from edgekit.backends.bindings import same_layout
from edgekit.backends.executorch_file import XNNPACK, Calls
from edgekit.backends.executorch_operators import OPERATORS
from edgekit.backends.executorch_program import INSTALL
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.backends.worker import call_in_worker, open_worker
from edgekit.backends.worker_process import EngineError
from edgekit.errors import MissingBackendError
from edgekit.ir import io
from edgekit.spec import PORTABLE, Artifact, Availability, Rejection, RunOptions, Session
from edgekit.target import Target

_ENGINE = "edgekit.backends.executorch_engine:ExecuTorchEngine"
_WRITE = "edgekit.backends.executorch_program:write_program"


class ExecuTorch:
    """``backends.base.Backend`` for ExecuTorch."""

    def probe(self, target: Target) -> Availability:
        """ExecuTorch and PyTorch are installed, and recent enough. Importing them would take seconds."""
        version = installed_version("executorch")
        if not version:
            return Availability(False, "", "executorch is not installed", INSTALL)
        if not installed_version("torch"):
            return Availability(False, "", "PyTorch is not installed, which ExecuTorch needs", INSTALL)
        if not satisfies(version, target.runtime):
            return Availability(
                False,
                version,
                f"executorch {version} is installed, {target.name} needs {target.runtime}",
                f'pip install "executorch{target.runtime}"',
            )
        return Availability(True, version)

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """C1 and C2: needs no PyTorch."""
        return structural_rejections(model, target) or tuple(
            torch_module.rejections(model, operators=OPERATORS)
        )

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.pte``; the same model gives the same bytes.

        Raises:
            TargetRefusalError: C1 to C4.
            MissingBackendError: ExecuTorch or PyTorch is not installed.
        """
        target, out = request.target, folder / f"{request.stem}.pte"
        here = self.probe(target)
        if not here.ok:
            raise MissingBackendError(here.reason, why="it writes the file", remedy=here.remedy)
        rejections = self.check(request.model, target)
        notes: tuple[str, ...] = ()
        if not rejections:
            rejections, notes = _written(request.model, out, request.options)
        if rejections:
            raise refuse(target, rejections)
        inputs, outputs = io.specs(request.model)
        return Artifact(
            folder=folder,
            files=file_entries(folder, (out.name,)),
            target=target.name,
            backend="executorch",
            precision=request.precision,
            options=request.options,
            inputs=tuple(map(same_layout, inputs)),
            outputs=tuple(map(same_layout, outputs)),
            plan_digest=request.plan_digest,
            output_steps=dict(request.output_steps),
            tools={"executorch": here.version, "torch": installed_version("torch")},
            notes=notes,
        )

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in a worker; a file whose operators XNNPACK does not compute is an error there."""
        return open_worker(_ENGINE, artifact, options)


def _written(
    model: ir.Model, out: Path, options: RunOptions
) -> tuple[tuple[Rejection, ...], tuple[str, ...]]:
    """C3 and C4, and notes of what was written to ``out``."""
    settings = dict(options.settings)
    with drafts.temporary() as folder:
        source = io.save(model, folder / "model.onnx")[0]
        arguments = {"source": str(source), "out": str(out), "settings": settings}
        try:
            facts = call_in_worker(_WRITE, arguments, subject="ExecuTorch", doing="exporting the model")
        except EngineError as error:
            remedy = "choose another target, or fix the input's sizes with --input"
            return (Rejection("", "export", error.why.splitlines()[0], remedy),), ()
    calls = Calls(facts["delegates"], facts["kernels"])
    outside = tuple(_outside(name, many) for name, many in calls.kernels.items())
    if outside and settings.get(PORTABLE) != "allow":
        out.unlink()
        return outside, ()
    done = f"XNNPACK computes {calls.delegates.get(XNNPACK, 0)} part(s)"
    return (), (f"{done}; outside of it: {calls.portable or 'nothing'}",)


def _outside(kernel: str, many: int) -> Rejection:
    """C4."""
    calls = "1 call" if many == 1 else f"{many} calls"
    return Rejection(
        node=kernel,
        rule="outside-delegate",
        reason=f"XNNPACK's delegate does not take it ({calls}): it would run in a portable kernel, slowly",
        remedy="replace the operator in the model, or write allow_fallback = true in its [[target]] table",
    )
