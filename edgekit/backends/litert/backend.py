"""Model -> <stem>.tflite -> LiteRT; targets litert-cpu, litert-arm64, gpu-litert.

C1 structural rules of the target (``backends.refusal``): opset, domain
C2 an operator without a lowering, or one that its lowering refuses (``lower``)
C3 the file that was written does not load: a defect of edgekit, reported as such; nothing is left behind
C4 for a GPU: an operator that its accelerator does not take, or computes wrongly (``gpu_kernels``)
C5 for a GPU that is here: the file is run on it and on the CPU, and what the accelerator refuses all the same
   is named, or how far off it is
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends.base import CompileRequest, IoForm, ModelInfo, file_entries
from edgekit.backends.installed import installed_version, satisfies
from edgekit.backends.litert import flatbuffer, layout, lower, metadata, units
from edgekit.backends.litert.accelerator import PRECISION
from edgekit.backends.litert.gpu_device import WHOLE, gpu_here, options_for, refused_on_gpu
from edgekit.backends.litert.gpu_forms import PINNED, is_open, wants_fixed_batch, with_gpu_forms
from edgekit.backends.litert.gpu_kernels import NUMBERS_RULE, gpu_rejections
from edgekit.backends.litert.half import has_half, widened, with_half_constants
from edgekit.backends.litert.io_types import with_integer_io
from edgekit.backends.litert.layouts import Layout
from edgekit.backends.litert.operands import Operand
from edgekit.backends.litert.ops import hybrid
from edgekit.backends.litert.runtime_versions import first_runtime
from edgekit.backends.litert.sparse import with_sparse_filters
from edgekit.backends.litert.tensors import Tensor
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.backends.requantized_bytes import with_requantized_bytes
from edgekit.errors import EdgekitError
from edgekit.ir.pin import pinned
from edgekit.ir.quiet import quiet
from edgekit.passes.fold_constants import FoldConstants
from edgekit.spec import (
    GPU_FALLBACK,
    Artifact,
    Availability,
    FileEntry,
    IoBinding,
    Precision,
    Rejection,
    RunOptions,
    Session,
    TensorSpec,
)
from edgekit.target import Target
from edgekit.write_errors import cannot_write

_ENGINE = "edgekit.backends.litert.engine:LiteRtEngine"
_GPU_ENGINE = "edgekit.backends.litert.gpu_engine:LiteRtGpuEngine"
_ELSEWHERE = "choose another folder with -o"
_DISTRIBUTION = "ai-edge-litert"


@dataclass(frozen=True)
class Compiled:
    """A model as TFLite, in memory.

    Attributes:
        lowered: the graph, or the reasons why there is none.
        inputs: one binding per model input.
        outputs: one binding per model output.
        transposes: values for which a TRANSPOSE was written.
        notes: for the report.
    """

    lowered: lower.Lowered
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    transposes: tuple[str, ...]
    notes: tuple[str, ...]


def translate(
    model: ir.Model,
    io: IoForm | None = None,
    *,
    precision: Precision = Precision.FP32,
    device: str = "cpu",
) -> Compiled:
    """``model`` as a TFLite graph; needs no runtime and writes nothing.

    Args:
        model: canonical, float or QDQ.
        io: element type and layout of the graph's inputs and outputs; float32 and free by default.
        precision: dynamic and w8 keep integer weights before float activations (``ops.hybrid``).
        device: a GPU's accelerator reads no sparse filters, and gets forms of its own (``gpu_forms``).
    """
    io = io or IoForm()
    model = with_requantized_bytes(model, "behind")
    dtypes = {value.name: units.dtype_of(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    half = has_half(model)
    if half:
        model = widened(model)
    program = hybrid.with_integer_weights(units.read(model), model, precision)
    plan = layout.decide(program, free_io=io.layout == "auto")
    lowered = lower.lower(program, plan)
    notes = [*program.notes, *lowered.notes]
    if plan.transposes:
        notes.append(f"{len(plan.transposes)} transposes remain, of: {', '.join(plan.transposes)}")
    if io.dtype != "float32" and not lowered.rejections:
        graph, rejections = with_integer_io(lowered.graph, io.dtype)
        lowered = replace(lowered, graph=graph, rejections=rejections)
    if half:
        graph = with_half_constants(lowered.graph)
    else:
        graph = with_sparse_filters(lowered.graph) if device == "cpu" else with_gpu_forms(lowered.graph)
    return Compiled(
        replace(lowered, graph=graph),
        tuple(
            _binding(operand, where, graph.tensors[index], dtypes[operand.key])
            for operand, where, index in zip(program.inputs, plan.inputs, graph.inputs, strict=True)
        ),
        tuple(
            _binding(operand, where, graph.tensors[index], dtypes[operand.key])
            for operand, where, index in zip(program.outputs, plan.outputs, graph.outputs, strict=True)
        ),
        plan.transposes,
        tuple(notes),
    )


def for_device(
    model: ir.Model, io: IoForm | None, *, precision: Precision = Precision.FP32, device: str
) -> tuple[ir.Model, Compiled]:
    """``translate``, and for a GPU with the batch pinned to 1 where its accelerator takes no open one.

    Returns:
        The model that was translated, and what came of it.
    """
    compiled = translate(model, io, precision=precision, device=device)
    graph = compiled.lowered.graph
    if device == "cpu" or compiled.lowered.rejections or not is_open(graph):
        return model, compiled
    if not wants_fixed_batch(graph) and not gpu_rejections(graph, model):
        return model, compiled
    with quiet():
        fixed = FoldConstants().apply(pinned(model, {}, batch=1))
    compiled = translate(fixed, io, precision=precision, device=device)
    return fixed, replace(compiled, notes=(*compiled.notes, PINNED))


def _binding(operand: Operand, where: Layout, stored: Tensor, dtype: str) -> IoBinding:
    integer = operand.dtype == "float32" and stored.dtype != "float32"
    return IoBinding(
        reference=TensorSpec(operand.key, dtype, operand.shape),
        name=operand.key,
        dtype=stored.dtype if integer else operand.dtype,
        shape=where.shape(operand.shape),
        permutation=() if where.is_identity else where.perm,
        quant=stored.quant if integer else None,
    )


class LiteRt:
    """``backends.base.Backend`` for LiteRT (TFLite)."""

    def probe(self, target: Target) -> Availability:
        """Installed, recent enough, and for a GPU: one operator really ran there."""
        version = installed_version(_DISTRIBUTION)
        if not version:
            return Availability(False, "", "ai-edge-litert is not installed", 'pip install "edgekit[litert]"')
        if not satisfies(version, target.runtime):
            return Availability(
                False,
                version,
                f"ai-edge-litert {version} is installed, {target.name} needs {target.runtime}",
                f'pip install "ai-edge-litert{target.runtime}"',
            )
        return Availability(True, version) if target.run.device == "cpu" else gpu_here(version)

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """C1, C2, C4, and C5 where the GPU is here."""
        found = structural_rejections(model, target)
        if found:
            return found
        model, compiled = for_device(model, None, device=target.run.device)
        found = _rejections(compiled, model, target.run.options())
        if found or target.run.device == "cpu" or not self.probe(target).ok:
            return found
        with drafts.temporary() as folder:
            path = folder / "model.tflite"
            path.write_bytes(packed(compiled, None))
            return refused_on_gpu(path, target.run.options())

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write ``<stem>.tflite``; the same model gives the same bytes.

        Raises:
            TargetRefusalError: ``check`` found something.
            MissingBackendError: ai-edge-litert is not installed.
            OutputError: ``folder`` cannot be written.
        """
        target = request.target
        model, compiled = for_device(
            request.model, request.io, precision=request.precision, device=target.run.device
        )
        options = options_for(request.precision, request.options, request.model)
        rejections = structural_rejections(model, target) or _rejections(compiled, model, options)
        if rejections:
            raise refuse(target, rejections)
        name = f"{request.stem}.tflite"
        inputs, outputs, notes = compiled.inputs, compiled.outputs, compiled.notes
        if dict(options.settings).get(PRECISION) == "f32" and request.precision is Precision.FP16:
            notes = (*notes, WHOLE)
        content = parts_of(compiled, request.info)
        del compiled  # its weights: the runtime is about to pack its own copy
        entry = _write(content, folder / name)
        if target.run.device != "cpu" and self.probe(target).ok:  # C5
            rejections = refused_on_gpu(folder / name, options)
            if rejections:
                (folder / name).unlink()
                raise refuse(target, rejections)
        return Artifact(
            folder=folder,
            files=(entry,),
            target=target.name,
            backend="litert",
            precision=request.precision,
            options=options,
            inputs=inputs,
            outputs=outputs,
            plan_digest=request.plan_digest,
            output_steps=dict(request.output_steps),
            tools={
                _DISTRIBUTION: installed_version(_DISTRIBUTION),
                "flatbuffers": installed_version("flatbuffers"),
            },
            notes=notes,
        )

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open in a worker; see ``Backend.open``. A CPU that stands in for a GPU has none of its settings."""
        from edgekit.backends.worker import open_worker

        if options.device == "cpu":
            if artifact.options.device != "cpu":
                options = replace(options, settings=())
            return open_worker(_ENGINE, artifact, options)
        return open_worker(_GPU_ENGINE, artifact, options)


def _rejections(compiled: Compiled, model: ir.Model, options: RunOptions) -> tuple[Rejection, ...]:
    """C2 and C4; where operators may run on the CPU, only those that would be computed wrongly."""
    found = compiled.lowered.rejections
    if found or options.device == "cpu":
        return found
    found = gpu_rejections(compiled.lowered.graph, model)
    if dict(options.settings).get(GPU_FALLBACK) == "allow":
        return tuple(each for each in found if each.rule == NUMBERS_RULE)
    return found


def packed(compiled: Compiled, info: ModelInfo | None) -> bytes:
    """``parts_of``, joined."""
    return b"".join(parts_of(compiled, info))


def parts_of(compiled: Compiled, info: ModelInfo | None) -> list[flatbuffer.Part]:
    """The whole file: graph, least runtime, metadata, and the files that belong to the model.

    Raises:
        TargetRefusalError: metadata that does not fit the graph.
        MissingBackendError: ai-edge-litert is not installed.
    """
    graph = compiled.lowered.graph
    least = flatbuffer.OFFSETS_SINCE if flatbuffer.has_offsets(graph) else "1.5"
    runtime = first_runtime(graph, at_least=least)
    entries = {metadata.MIN_RUNTIME_ENTRY: metadata.min_runtime_entry(runtime)}
    if info is not None:
        entries[metadata.ENTRY] = metadata.metadata(info, compiled.inputs, compiled.outputs)
    content = flatbuffer.parts(graph, metadata=entries)
    if info is None or not info.files:
        return content
    return [*content, metadata.zip_behind(sum(map(len, content)), info.files)]


def _write(content: list[flatbuffer.Part], path: Path) -> FileEntry:
    """Write beside the final place, let the runtime load it (C3), then rename; ``content`` is used up.

    A second thread hashes the file meanwhile: neither needs the other, nor the interpreter's lock.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=".edgekit-", suffix=".tflite", dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error, elsewhere=_ELSEWHERE) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(content)
        content.clear()
        with ThreadPoolExecutor(max_workers=1) as second:
            hashed = second.submit(file_entries, path.parent, (Path(temporary).name,))
            verify_loads(Path(temporary), path.name)
        (entry,) = hashed.result()
        Path(temporary).replace(path)
    except OSError as error:
        raise cannot_write(path, error, elsewhere=_ELSEWHERE) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return replace(entry, path=path.name)


def verify_loads(path: Path, name: str) -> None:
    """C3: the interpreter takes the file.

    Raises:
        EdgekitError: it does not.
        MissingBackendError: ai-edge-litert is not installed.
    """
    from edgekit.backends.litert.engine import LiteRtEngine
    from edgekit.errors import ModelFileError

    try:
        LiteRtEngine(path, RunOptions(), [], [])
    except ModelFileError as error:
        raise EdgekitError(
            f"LiteRT refuses {name}, which edgekit has just written",
            why=error.why,
            remedy="report it with the model; the file was not kept",
        ) from error
