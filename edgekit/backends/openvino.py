"""Model -> ONNX bytes -> IR (.xml and .bin) -> OpenVINO on the CPU, or on an Intel GPU.

Quantized graphs go in as QDQ: OpenVINO reads the pairs as FakeQuantize with the same scales, and its low
precision transformations choose int8 kernels when the model is compiled. The session's facts name the kernels
that really run. Conversion and checks run in workers: OpenVINO is never loaded into this process.

C1 structural rules of the target (``backends.refusal``)
C2 an operator that the converter does not know
C3 the plug-in cannot compile or run the converted graph
C4 an input or output lost its name in the conversion
C5 activations of 16 bits: the plug-in leaves their rounding and their bounds out, and computes other numbers

Where the target's device is absent, the CPU stands in for C3.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends.base import CompileRequest, file_entries, unhashed
from edgekit.backends.bindings import same_layout, trial_feeds
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.openvino_device import GPU_DRIVER
from edgekit.backends.openvino_keep_rounding import with_rounding
from edgekit.backends.openvino_lowering import lowered, on_stand_in, options_for
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.backends.worker import call_in, call_in_worker, open_in, open_worker
from edgekit.backends.worker_process import EngineError, WorkerProcess
from edgekit.errors import MissingBackendError, missing_extra
from edgekit.ir import external_data, io
from edgekit.ir.graph import is_onnx
from edgekit.spec import Artifact, Availability, Precision, Rejection, RunOptions, Session
from edgekit.target import Target
from edgekit.write_errors import cannot_write, probe

_ENGINE = "edgekit.backends.openvino_engine:OpenVinoEngine"
_CONVERT = "edgekit.backends.openvino_engine:convert"
_ELSEWHERE = "choose another folder with -o"
_DEVICE = "edgekit.backends.openvino_engine:device_facts"
_SIXTEEN = frozenset({ir.DataType.INT16, ir.DataType.UINT16})
_UNKNOWN_OPERATORS = re.compile(r"No conversion rule found for operations: (.+)")


class OpenVino:
    """``backends.base.Backend`` for OpenVINO's plug-ins for CPUs and Intel GPUs."""

    def probe(self, target: Target) -> Availability:
        """Installed, recent enough, and the device is there."""
        version = installed_version("openvino")
        if not version:
            missing = missing_extra("openvino", "openvino", needed_for=f"target {target.name}")
            return Availability(False, "", missing.what, missing.remedy)
        if not satisfies(version, target.runtime):
            return Availability(
                False,
                version,
                f"openvino {version} is installed, {target.name} needs {target.runtime}",
                f'pip install "openvino{target.runtime}"',
            )
        if target.run.device == "cpu":
            return Availability(True, version)
        try:
            call_in_worker(
                _DEVICE, {"device": target.run.device}, subject="OpenVINO", doing="looking for the device"
            )
        except MissingBackendError as error:
            return Availability(False, version, f"{error.what}: {error.why}", error.remedy)
        except EngineError as error:
            return Availability(False, version, error.what, GPU_DRIVER)
        return Availability(True, version)

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """C1 to C5, by converting, compiling and running the model once."""
        found = structural_rejections(model, target) or _sixteen_bits(model)
        if found:
            return found
        with drafts.temporary() as folder:
            return _try(model, folder, target, options=self._trial_options(target))

    def _trial_options(self, target: Target) -> RunOptions:
        """How a model is tried: on the target's device, or on what stands in for it."""
        options = target.run.options()
        return options if self.probe(target).ok else on_stand_in(options)

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.xml`` and ``<stem>.bin``; the same model gives the same bytes.

        Raises:
            TargetRefusalError: ``check`` found something.
            MissingBackendError: openvino is not installed.
            OutputError: ``folder`` cannot be written.
        """
        found = structural_rejections(request.model, request.target) or _sixteen_bits(request.model)
        if found:
            raise refuse(request.target, found)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{request.stem}.", dir=folder) as scratch:
                model = lowered(request.model, request.precision)
                if request.target.keeps_rounding:
                    model = with_rounding(model)
                options = self._trial_options(request.target)
                found = _try(model, Path(scratch), request.target, options=options)
                if found:
                    raise refuse(request.target, found)
                for suffix in ("bin", "xml"):  # the main file last: it never points at missing weights
                    (Path(scratch) / f"model.{suffix}").replace(folder / f"{request.stem}.{suffix}")
        except OSError as error:
            raise cannot_write(folder, error, elsewhere=_ELSEWHERE) from error
        return _artifact(request, folder)

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in a worker; see ``Backend.open``."""
        if options.device == "cpu" and artifact.options.device != "cpu":
            options = on_stand_in(options)
        return open_worker(_ENGINE, artifact, options)


def _sixteen_bits(model: ir.Model) -> tuple[Rejection, ...]:
    """C5. Source: measured on 2026.4; a QDQ pair of int16 with ends at -32.8 and 32.8 let -139.5 through."""
    return tuple(
        Rejection(
            node=node.name or node.op_type,
            rule="16-bit",
            reason="OpenVINO's CPU plug-in leaves quantization to 16 bits out, its bounds too",
            remedy="quantize to 8 bits (--precision w8a8), or choose litert-cpu, which has kernels for 16",
        )
        for node in model.graph.all_nodes()
        if is_onnx(node, "QuantizeLinear") and _SIXTEEN.intersection(each.dtype for each in _typed(node))
    )


def _typed(node: ir.Node) -> tuple[ir.Value, ...]:
    """The values that say what a QuantizeLinear gives: its output, and its zero point."""
    return tuple(value for value in (*node.outputs, *node.inputs[2:]) if value is not None)


def _try(model: ir.Model, folder: Path, target: Target, *, options: RunOptions) -> tuple[Rejection, ...]:
    """Convert ``model`` to ``folder/model.xml`` and run it once; what went wrong with it, or nothing.

    Raises:
        OutputError: the model is not to blame: its files cannot be written.
    """
    found = _tried(model, folder, target, options=options)
    if found:
        probe(folder, external_data.size_bytes(model), elsewhere=_ELSEWHERE)
    return found


def _tried(model: ir.Model, folder: Path, target: Target, *, options: RunOptions) -> tuple[Rejection, ...]:
    """In one process, a fresh one: see ``convert``. Loading OpenVINO is half of what a small model takes."""
    io.save_to_map(model, folder / "model.onnx")
    with contextlib.closing(WorkerProcess("the model (openvino)")) as process:
        try:
            paths = {"onnx_path": str(folder / "model.onnx"), "xml_path": str(folder / "model.xml")}
            converted: dict[str, str] = call_in(process, _CONVERT, paths, doing="converting it")
        except EngineError as error:
            return _conversion_rejections(error.why, model)
        found = _lost_names(model, converted["names"].split("\n"))
        if found:
            return found
        inputs, outputs = io.specs(model)
        trial = Artifact(
            folder=folder,
            files=unhashed((folder / "model.xml", folder / "model.bin")),
            target=target.name,
            backend="openvino",
            precision=Precision.FP32,
            options=options,
            inputs=tuple(map(same_layout, inputs)),
            outputs=tuple(map(same_layout, outputs)),
        )
        try:
            with open_in(process, _ENGINE, trial, trial.options) as session:
                feeds = trial_feeds(session.inputs)
                if feeds is not None:
                    session.run(feeds)
        except EngineError as error:  # C3
            return (
                Rejection(
                    node="",
                    rule="load",
                    reason=_gist(error.why),
                    remedy="INFERENCE_PRECISION_HINT = f32 and uint8 activations avoid the known cases",
                ),
            )
    return ()


def _lost_names(model: ir.Model, names: Sequence[str]) -> tuple[Rejection, ...]:
    """C4; ``names`` are those of the converted model."""
    inputs, outputs = io.specs(model)
    return tuple(
        Rejection(
            node="",
            rule="name",
            reason=f"{name!r} has no counterpart in the converted model",
            remedy="an output that is an input, or is listed twice, needs an operator of its own",
        )
        for name in sorted({spec.name for spec in (*inputs, *outputs)} - set(names))
    )


def _conversion_rejections(message: str, model: ir.Model) -> tuple[Rejection, ...]:
    """C2: OpenVINO names operator types ("Det-21, my.Foo"); the rejections name the nodes of those types."""
    found = _UNKNOWN_OPERATORS.search(message)
    if found is None:
        return (
            Rejection(
                node="",
                rule="convert",
                reason=_gist(message),
                remedy="export the model again with a current exporter (`edgekit export`)",
            ),
        )
    kinds = {re.sub(r"-\d+$", "", kind.strip()).rpartition(".")[2] for kind in found.group(1).split(",")}
    return tuple(
        Rejection(
            node=node.name or node.op_type,
            rule="operator",
            reason=f"OpenVINO has no conversion rule for {node.op_type}",
            remedy=f"replace {node.op_type} in the model, or choose another target (`edgekit targets`)",
        )
        for node in model.graph.all_nodes()
        if node.op_type in kinds
    )


def _gist(message: str) -> str:
    """The last telling line of an OpenVINO exception: the first ones only say which C++ file raised."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or ["no message"])[0]


def _artifact(request: CompileRequest, folder: Path) -> Artifact:
    inputs, outputs = io.specs(request.model)
    return Artifact(
        folder=folder,
        files=file_entries(folder, (f"{request.stem}.xml", f"{request.stem}.bin")),
        target=request.target.name,
        backend="openvino",
        precision=request.precision,
        options=options_for(request.model, request.precision, request.options),
        inputs=tuple(map(same_layout, inputs)),
        outputs=tuple(map(same_layout, outputs)),
        plan_digest=request.plan_digest,
        output_steps=dict(request.output_steps),
        tools={"openvino": installed_version("openvino")},
    )
