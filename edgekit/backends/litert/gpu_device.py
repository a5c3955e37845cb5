"""Is a GPU here for LiteRT, and does it take this file: both are found out by doing it, in a worker.

one RELU --accelerator--> facts of the device, or why there is none
.tflite  --accelerator--> nothing, or the operators that it refuses
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit import drafts
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.accelerator import OTHER, PRECISION, RUNTIME, accelerated
from edgekit.backends.litert.gpu_kernels import NUMBERS_RULE
from edgekit.backends.litert.tables import parse
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.errors import BackendCrashError, MissingBackendError, TargetRefusalError
from edgekit.ir.graph import is_float32
from edgekit.spec import SOFTWARE, Availability, Precision, Rejection, RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_FACTS = "edgekit.backends.litert.gpu_device:device_facts"
_TRY = "edgekit.backends.litert.gpu_device:tried"

LIMITS = {"exact": 1e-3, "rounded": 0.1}
"""Part of the range that is no rounding any more: of float32; of float16, or of integers, on noise."""

WHOLE = (
    "some operators must stay in float32, and LiteRT computes a whole graph in one type: the GPU computes "
    "in float32, float16 is the form of the constants alone"
)


def options_for(precision: Precision, options: RunOptions, model: ir.Model) -> RunOptions:
    """``options`` with the type that a GPU computes ``model`` in; those of a CPU as they are.

    LiteRT has one type for all of a graph: where a node must stay in float32, all of them compute in it, and
    float16 is the form of the constants alone.
    """
    if options.device == "cpu" or precision is not Precision.FP16:
        return options
    settings = {**dict(options.settings), PRECISION: "f32" if float32_nodes(model) else "f16"}
    return replace(options, settings=tuple(sorted(settings.items())))


def float32_nodes(model: ir.Model) -> tuple[str, ...]:
    """The nodes of a float16 model that compute in float32, between two casts."""
    return tuple(
        node.name or node.op_type
        for node in model.graph
        if node.op_type != "Cast"
        and any(value is not None and is_float32(value) for value in (*node.outputs, *node.inputs[:1]))
    )


def gpu_here(version: str) -> Availability:
    """Whether the accelerator finds a GPU, and which."""
    from edgekit.backends.worker import call_in_worker

    try:
        facts = call_in_worker(_FACTS, {}, subject=RUNTIME, doing="looking for the GPU")
    except (MissingBackendError, BackendCrashError, TargetRefusalError) as error:
        reason = f"{error.what}: {error.why}" if error.why else error.what
        return Availability(False, version, reason, error.remedy)
    return Availability(True, version, software=facts.get(SOFTWARE, ""))


def refused_on_gpu(path: Path, options: RunOptions) -> tuple[Rejection, ...]:
    """What speaks against the file where it was tried; native code that dies of it is an answer, too."""
    from edgekit.backends.worker import call_in_worker

    arguments = {"path": str(path), "settings": options.settings}
    try:
        away = call_in_worker(_TRY, arguments, subject=path.name, doing="running it on the GPU")
    except TargetRefusalError as error:
        return error.rejections or (Rejection("", "gpu", error.what, OTHER),)
    except BackendCrashError as error:
        return (Rejection("", "gpu", error.what, OTHER),)
    return tuple(
        Rejection(
            node=name,
            rule=NUMBERS_RULE,
            reason=f"{RUNTIME} is off by {part:.2g} of the range that LiteRT's CPU kernels give",
            remedy=OTHER,
        )
        for name, part in away.items()
    )


def device_facts() -> dict[str, str]:
    """Called in a worker: facts of a session of one operator."""
    tensors = tuple(Tensor(name, "float32", (1, 4)) for name in ("x", "y"))
    graph = Graph(tensors, (Operator("RELU", (0,), (1,)),), (0,), (1,), ("x",), ("y",))
    with drafts.temporary() as folder:
        path = folder / "relu.tflite"
        path.write_bytes(flatbuffer.pack(graph))
        return accelerated(path, RunOptions(device="gpu")).facts


def tried(path: str, settings: list[list[str]]) -> dict[str, float]:
    """Called in a worker: the file on the GPU and on the CPU, with the same random values (seed 0).

    Returns:
        Largest difference as a part of the range, of each output where that is more than ``LIMITS`` say.

    Raises:
        TargetRefusalError, MissingBackendError, ModelFileError: as ``accelerator.accelerated``.
    """
    from edgekit.backends.litert.engine import LiteRtEngine
    from edgekit.backends.litert.gpu_engine import LiteRtGpuEngine

    options = RunOptions(device="gpu", settings=tuple((name, value) for name, value in settings))
    gpu = LiteRtGpuEngine(Path(path), options, [], [])
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.standard_normal(shape).astype(dtype) if dtype == "float32" else np.zeros(shape, dtype)
        for name, (shape, dtype) in gpu.takes().items()
    }
    got = gpu.run(feeds)
    wanted = LiteRtEngine(Path(path), RunOptions(), list(feeds), list(got)).run(feeds)
    graph = parse(Path(path).read_bytes(), name=Path(path).name)[0][0]
    rounds = any(each.name == "QUANTIZE" for each in graph.operators)
    exact = gpu.facts["precision"] == "f32" and not rounds
    limit = LIMITS["exact" if exact else "rounded"]
    found = {name: _away(got[name], wanted[name]) for name in wanted}
    return {name: part for name, part in found.items() if part > limit}


def _away(got: Array, wanted: Array) -> float:
    """Part of the range; 0 where what is wanted is not finite, or is no number."""
    if wanted.dtype.kind == "b" or not wanted.size:
        return 0.0
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    if not np.isfinite(b).all():
        return 0.0
    return float(np.abs(a - b).max()) / (float(np.ptp(b)) or max(float(np.abs(b).max()), 1.0))
