"""Model -> .pt2 -> PyTorch on an NVIDIA GPU, compiled ahead of time by AOTInductor; target gpu-torch-aoti.

The file holds the exported program, which is compiled where it is first opened, or with the setting
``torch.package = "kernels"`` the kernels for the GPU that is here (``backends.torch_package``).

C1 structural rules of the target (``backends.refusal``)
C2 an operator that has no counterpart in ``backends.torch_operators``
C3 a form of an operator that has none, or an open size that PyTorch fixes: found by exporting, in a worker,
   and only when the model is compiled: PyTorch takes seconds to be imported
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import torch_module
from edgekit.backends.base import CompileRequest, file_entries
from edgekit.backends.bindings import same_layout
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.backends.torch_device import INSTALL, INSTALL_CUDA
from edgekit.backends.torch_package import PACKAGE
from edgekit.backends.worker import call_in_worker, open_worker
from edgekit.backends.worker_process import EngineError
from edgekit.errors import MissingBackendError
from edgekit.ir import io
from edgekit.spec import Artifact, Availability, Rejection, RunOptions, Session
from edgekit.target import Target

_ENGINE = "edgekit.backends.torch_aoti_engine:TorchAotiEngine"
_WRITE = "edgekit.backends.torch_package:write_package"
_DEVICE = "edgekit.backends.torch_device:device_facts"


class TorchAoti:
    """``backends.base.Backend`` for PyTorch's AOTInductor."""

    def probe(self, target: Target) -> Availability:
        """PyTorch is installed, recent enough, and sees the device."""
        version = installed_version("torch")
        if not version:
            return Availability(False, "", "PyTorch is not installed", INSTALL)
        if not satisfies(version, target.runtime):
            return Availability(
                False,
                version,
                f"PyTorch {version} is installed, {target.name} needs {target.runtime}",
                f'pip install "torch{target.runtime}"',
            )
        if version.endswith("+cpu") and target.run.device != "cpu":  # says so without being imported
            return Availability(False, version, f"this PyTorch {version} is built without CUDA", INSTALL_CUDA)
        try:
            call_in_worker(
                _DEVICE, {"device": target.run.device}, subject="PyTorch", doing="looking for the device"
            )
        except MissingBackendError as error:
            reason = f"{error.what}: {error.why}" if error.why else error.what
            return Availability(False, version, reason, error.remedy)
        except EngineError as error:
            return Availability(False, version, error.what, "check the driver with nvidia-smi")
        return Availability(True, version)

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """C1 and C2: needs no PyTorch."""
        return structural_rejections(model, target) or tuple(torch_module.rejections(model))

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.pt2``.

        Raises:
            TargetRefusalError: ``check`` found something.
            MissingBackendError: PyTorch is not installed, or kernels are wanted and no GPU is here.
        """
        target, out = request.target, folder / f"{request.stem}.pt2"
        here = self.probe(target)
        kernels = dict(request.options.settings).get(PACKAGE) == "kernels"
        if not here.version or (kernels and not here.ok):
            raise MissingBackendError(here.reason, why="it writes the file", remedy=here.remedy)
        rejections = self.check(request.model, target)
        notes: tuple[str, ...] = ()
        if not rejections:
            device = target.run.device if kernels else ""
            rejections, facts = self._tried(request.model, out, request.options, device=device)
            notes = _notes(facts)
        if rejections:
            raise refuse(target, rejections)
        inputs, outputs = io.specs(request.model)
        return Artifact(
            folder=folder,
            files=file_entries(folder, (out.name,)),
            target=target.name,
            backend="torch-aoti",
            precision=request.precision,
            options=request.options,
            inputs=tuple(map(same_layout, inputs)),
            outputs=tuple(map(same_layout, outputs)),
            plan_digest=request.plan_digest,
            output_steps=dict(request.output_steps),
            tools={"torch": here.version},
            notes=notes,
        )

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in a worker on exactly the device that ``options`` names; see ``Backend.open``."""
        return open_worker(_ENGINE, artifact, options)

    def _tried(
        self, model: ir.Model, out: Path, options: RunOptions, *, device: str
    ) -> tuple[tuple[Rejection, ...], dict[str, str]]:
        """C3: what speaks against the model, and facts of what was written to ``out``."""
        with drafts.temporary() as folder:
            source = io.save(model, folder / "model.onnx")[0]
            arguments = {
                "source": str(source),
                "out": str(out),
                "settings": dict(options.settings),
                "device": device,
            }
            try:
                facts: dict[str, str] = call_in_worker(
                    _WRITE, arguments, subject="PyTorch", doing="exporting the model"
                )
            except EngineError as error:
                remedy = "choose another target, or fix the input's sizes with --input"
                return (Rejection("", "export", error.why.splitlines()[0], remedy),), {}
        return (), facts


def _notes(facts: dict[str, str]) -> tuple[str, ...]:
    if "gpu" in facts:
        return (f"kernels for {facts['gpu']} (compute capability {facts['capability']})",)
    return ("holds the program: compiled for the GPU when it is first opened there",)
