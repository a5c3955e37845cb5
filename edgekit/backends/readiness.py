"""Model x [readiness] -> what a device would take of it; targets qnn-check, coreml-check, nnapi-check.

Nothing of these targets runs here or is claimed to: ``probe`` always says no, ``open`` always raises. The
rules are those that the providers of ONNX Runtime publish (``backends.readiness_rules``), as data in the
target. Where the device loads an ONNX file (QNN takes QDQ), ``compile`` writes it, unproved and marked so.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit.backends import readiness_rules
from edgekit.backends.base import CompileRequest, file_entries
from edgekit.backends.bindings import same_layout
from edgekit.errors import MissingBackendError, TargetRefusalError
from edgekit.ir import io
from edgekit.ir.infer import infer_shapes
from edgekit.ir.pin import pinned
from edgekit.spec import Artifact, Availability, Readiness, Rejection, RunOptions, Session
from edgekit.target import Readiness as Rules
from edgekit.target import Target


class ReadinessCheck:
    """``backends.base.Backend`` for devices that are only asked about."""

    def probe(self, target: Target) -> Availability:
        """No: whatever is installed here, edgekit has no such device."""
        rules = rules_of(target)
        return Availability(False, "", target.marked, rules.needs)

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """Everything that would stay outside of the device."""
        return ready(model, target).blocked

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.onnx`` as the device's provider loads it; the same model gives the same bytes.

        Raises:
            TargetRefusalError: the target writes no file.
        """
        rules = rules_of(request.target)
        if not rules.writes:
            raise TargetRefusalError(
                f"{request.target.name} writes no file",
                why=f"it says what {rules.device} would take, and nothing more",
                remedy="read its row in the report",
            )
        model = pinned(request.model, {}, batch=rules.batch)
        inputs, outputs = io.specs(model)
        written = io.save(model, folder / f"{request.stem}.onnx")
        return Artifact(
            folder=folder,
            files=file_entries(folder, tuple(path.name for path in written)),
            target=request.target.name,
            backend=request.target.backend,
            precision=request.precision,
            options=request.options,
            inputs=tuple(map(same_layout, inputs)),
            outputs=tuple(map(same_layout, outputs)),
            plan_digest=request.plan_digest,
            output_steps=dict(request.output_steps),
            notes=(request.target.marked,),
        )

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Never: there is nothing to open it with.

        Raises:
            MissingBackendError: always.
        """
        del options
        raise MissingBackendError(
            f"{artifact.path.name} is for {artifact.target}, which is a check and is not run here",
            why="edgekit drives no such device, and another runtime's numbers would say nothing about it",
            remedy=f"bring the file to the device; `edgekit targets show {artifact.target}` says what for",
            more="docs/npu.md",
        )


def rules_of(target: Target) -> Rules:
    """The rules of a check target.

    Raises:
        MissingBackendError: the target file names this back end and has no [readiness].
    """
    if target.readiness is None:
        raise MissingBackendError(
            f"target {target.name} has no [readiness]",
            why="its back end only compares a model with that table",
            remedy="write the table, or name another backend",
            more="targets/README.md",
        )
    return target.readiness


def ready(model: ir.Model, target: Target) -> Readiness:
    """What ``target`` would take of ``model``, the open first axis bound as its table says."""
    rules = rules_of(target)
    return readiness_rules.ready(infer_shapes(pinned(model, {}, batch=rules.batch)), rules)
