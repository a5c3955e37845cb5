"""Model -> .onnx -> ONNX Runtime on the CPU or a GPU; onnxruntime-cpu, portable, gpu-cuda, gpu-webgpu.

The artifact is the graph as it is: ONNX Runtime fuses and selects kernels when it loads; only integer weights
are written with other operators (``backends.onnxruntime_lowering``). Whether it can is found out by loading,
in a worker, because only the runtime knows its kernels:

C1 structural rules of the target (``backends.refusal``)
C2 the session cannot be made: unknown operator, wrong types, no kernel (NOT_IMPLEMENTED)
C3 the first run fails: QLinearConv, for one, refuses per-channel activation zero points only there
C4 on a GPU: nodes that its provider leaves to the CPU, each by name, unless the options allow it
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import worker_pool
from edgekit.backends.base import CompileRequest, file_entries, unhashed
from edgekit.backends.bindings import same_layout, trial_feeds
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.onnxruntime_float_weights import with_float_weights
from edgekit.backends.onnxruntime_lowering import lowered, options_for, saturating
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.backends.worker import open_worker
from edgekit.backends.worker_process import EngineError
from edgekit.errors import MissingBackendError, TargetRefusalError
from edgekit.ir import io
from edgekit.ir.verify import is_quantized
from edgekit.spec import (
    SOFTWARE,
    Artifact,
    Availability,
    FileEntry,
    Precision,
    Rejection,
    RunOptions,
    Session,
)
from edgekit.target import Target

_ENGINE = "edgekit.backends.onnxruntime_engine:OnnxRuntimeEngine"
_CHECK = {"cuda": "check the driver with nvidia-smi", "gpu": "check the driver with vulkaninfo"}
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-webgpu")

_NO_FLOAT16 = "requires f16 but the device does not support it"  # the plug-in says so when it first runs

# How ONNX Runtime 1.31 names the node in its messages (graph.cc, session_state.cc, inference_session.cc).
_NODE_IN_MESSAGE = (
    re.compile(r"node with name '([^']+)'"),
    re.compile(r"in node \(([^)]+)\)"),
    re.compile(r"In Node, \(\"([^\"]+)\""),
    re.compile(r"[Nn]ode ?\(([^)]+)\)"),
    re.compile(r"Name:'([^']+)'"),
)


class OnnxRuntime:
    """``backends.base.Backend`` for ONNX Runtime."""

    engine: ClassVar[str] = _ENGINE

    def probe(self, target: Target) -> Availability:
        """Installed, recent enough, and for a GPU: one operator really ran there."""
        version = installed_version(*_DISTRIBUTIONS)
        if not version:
            return Availability(False, "", "onnxruntime is not installed", "pip install onnxruntime")
        if not satisfies(version, target.runtime):
            return Availability(
                False,
                version,
                f"onnxruntime {version} is installed, {target.name} needs {target.runtime}",
                f'pip install "onnxruntime{target.runtime}"',
            )
        if target.run.device == "cpu":
            return Availability(True, version)
        try:
            with open_model(_one_relu(), target.run.options()) as session:
                session.run({"x": np.zeros((1, 4), np.float32)})
                return Availability(True, version, software=session.facts.get(SOFTWARE, ""))
        except MissingBackendError as error:
            reason = f"{error.what}: {error.why}" if error.why else error.what
            return Availability(False, version, reason, error.remedy)
        except EngineError as error:
            return Availability(False, version, error.what, _CHECK[target.run.device])

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """C1 to C3. Where the target's device is absent, the CPU provider stands in for C2 and C3."""
        precision = Precision.W8A8 if is_quantized(model) else Precision.FP32
        options = options_for(precision, target.run.options(), model=model)
        options = replace(target.run.options(), settings=options.settings)
        return structural_rejections(model, target) or self._tried(model, target, options)

    def _tried(self, model: ir.Model, target: Target, options: RunOptions) -> tuple[Rejection, ...]:
        """C2 and C3."""
        if options.device != "cpu" and not self.probe(target).ok:
            options = replace(options, device="cpu")
        try:
            with open_model(model, options, engine=self.engine) as session:
                feeds = trial_feeds(session.inputs)
                if feeds is not None:
                    session.run(feeds)
        except TargetRefusalError as error:  # C4
            return tuple(error.rejections)
        except EngineError as error:
            return (_rejection(error.why),)
        return ()

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.onnx``; the same model gives the same bytes.

        Raises:
            TargetRefusalError: ``check`` found something.
            OutputError: ``folder`` cannot be written.
        """
        target = request.target
        model = lowered(request.model, request.precision, device=target.run.device)
        options = options_for(request.precision, request.options, model=request.model)
        rejections = structural_rejections(request.model, target) or self._tried(
            model, target, replace(target.run.options(), settings=options.settings)
        )
        if rejections:
            raise refuse(request.target, rejections)
        written = io.save(model, folder / f"{request.stem}.onnx")
        return _artifact(
            model,
            folder,
            file_entries(folder, tuple(path.name for path in written)),
            target=request.target.name,
            precision=request.precision,
            options=options,
            plan_digest=request.plan_digest,
            output_steps=dict(request.output_steps),
            notes=() if target.architecture == "aarch64" else _notes(model),
        )

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in a worker on exactly the device that ``options`` names; see ``Backend.open``."""
        return open_worker(self.engine, artifact, options)


def open_model(model: ir.Model, options: RunOptions, *, engine: str = _ENGINE) -> Session:
    """A session of an in-memory model, for calibration and parity: written to a temporary file and loaded.

    Float weights stay float in it, whatever stands in front of them (``onnxruntime_float_weights``).
    The file is gone when this returns; the session has read (or mapped) what it needs.

    Raises:
        EngineError: ONNX Runtime refuses the model; ``why`` holds its message.
        BackendCrashError: its worker died.
        MissingBackendError: ``options`` names a device that is not here.
    """
    if engine == _ENGINE:
        worker_pool.warm(engine)
    model = with_float_weights(model)
    with drafts.temporary() as folder:
        artifact = _artifact(
            model,
            folder,
            unhashed(io.save_to_map(model, folder / "model.onnx")),
            target="onnxruntime-cpu",
            precision=Precision.FP32,
            options=options,
        )
        return open_worker(engine, artifact, options, own=engine != _ENGINE)


def _artifact(
    model: ir.Model,
    folder: Path,
    files: tuple[FileEntry, ...],
    *,
    target: str,
    precision: Precision,
    options: RunOptions,
    plan_digest: str = "",
    output_steps: dict[str, float] | None = None,
    notes: tuple[str, ...] = (),
) -> Artifact:
    inputs, outputs = io.specs(model)
    return Artifact(
        folder=folder,
        files=files,
        target=target,
        backend="onnxruntime",
        precision=precision,
        options=options,
        inputs=tuple(map(same_layout, inputs)),
        outputs=tuple(map(same_layout, outputs)),
        plan_digest=plan_digest,
        output_steps=output_steps or {},
        tools={"onnxruntime": installed_version(*_DISTRIBUTIONS)},
        notes=notes,
    )


def _notes(model: ir.Model) -> tuple[str, ...]:
    found = saturating(model)
    if not found:
        return ()
    where = f"{len(found)} of its integer products, the first in {found[0]}"
    return (f"CPUs without VNNI may saturate in {where}: results differ there",)


def _rejection(message: str) -> Rejection:
    """ONNX Runtime's message -> a rejection that names the node where the message does."""
    hits = (pattern.search(message) for pattern in _NODE_IN_MESSAGE)
    node = next((hit.group(1) for hit in hits if hit), "")
    missing = "NOT_IMPLEMENTED" in message
    if _NO_FLOAT16 in message:
        return Rejection(
            node=node,
            rule="float16",
            reason="this GPU's driver computes no float16 (WebGPU's shader-f16)",
            remedy="take fp32 here, or compile it on a machine whose GPU has it, or on one without a GPU",
        )
    return Rejection(
        node=node,
        rule="kernel" if missing else "load",
        reason=message.splitlines()[0],
        remedy="change the element type of the operator, or replace it"
        if missing
        else "export the model again with a current exporter (`edgekit export`)",
    )


def _one_relu() -> ir.Model:
    """The model max(x, 0) for x: (1, 4) float32: the smallest model that proves a device."""
    x = ir.Value(name="x", shape=ir.Shape((1, 4)), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Relu", [x], name="relu")
    y = node.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape((1, 4)), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 21}, name="probe")
    return ir.Model(graph, ir_version=10)
