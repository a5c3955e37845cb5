"""This machine -> its roof: what its runtimes reach at best, by element type, and how fast its memory is.

    one model (a 3x3 convolution, two matrix products) --compile, profile--> operations / time of each kernel
    peak of a type = the best kernel of all runtimes, at its fastest of all tries

It is measured through the same runtimes and profilers as the operators that are held against it, so that a
kernel of theirs cannot be above it but by noise. Kept by machine, threads and versions: some seconds once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit import drafts, settings
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.worker import WorkerSession
from edgekit.errors import EdgekitError
from edgekit.measure import bandwidth
from edgekit.measure.machine import facts
from edgekit.measure.roofline import Roof
from edgekit.passes import canonicalize
from edgekit.pipeline.cache import Cache
from edgekit.pipeline.file_costs import costs, operators_of
from edgekit.pipeline.open import open_artifact
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Artifact, Precision, Progress, Range, from_json, to_json
from edgekit.target import Target

_TARGETS = ("onnxruntime-cpu", "openvino-cpu", "litert-cpu")
_PACKAGES = ("onnxruntime", "openvino", "ai-edge-litert", "numpy")
_BF16 = ("INFERENCE_PRECISION_HINT", "bf16")
_RUNS = 25  # of a model of 2 ms to 30 ms
_CHANNELS, _SIDE = 256, 28  # 462 million MACs in the convolution: its data fit a second-level cache in part
_ROWS, _WIDTH = 512, 1024  # 537 million MACs in each product


def roof(*, threads: int, progress: Progress, cache: Cache | None = None, fresh: bool = False) -> Roof:
    """The roof with ``threads`` threads, from the cache where it is there.

    Args:
        threads: inside an operator.
        progress: told what goes on.
        cache: where it is kept; by default the user's.
        fresh: measure again, and keep the better of both figures.
    """
    kept = cache or Cache(settings.cache_dir())
    machine = facts()
    key = {"machine": machine.key, "threads": threads, "versions": _versions()}

    def measure() -> dict[str, object]:
        progress.stage("measure the machine's peak")
        return dict(to_json(measured(threads=threads, memory_bytes=machine.memory_bytes)))

    found = from_json(Roof, kept.value("roof", key, measure))
    if not fresh:
        return found
    again = kept.value("roof", {**key, "again": True}, measure)
    return _better(found, from_json(Roof, again))


def measured(*, threads: int, memory_bytes: int) -> Roof:
    """Measure it now."""
    best: dict[str, float] = {}
    how: dict[str, str] = {}
    with drafts.temporary("edgekit-roof-") as folder:
        for artifact in _artifacts(folder):
            for dtype, gops, words in _rates(artifact, threads=threads):
                if gops > best.get(dtype, 0.0):
                    best[dtype], how[dtype] = gops, words
    curve = bandwidth.measured(threads=threads, memory_bytes=memory_bytes)
    how["bandwidth"] = "NumPy copies and reads, the faster of the two, by size of the working set"
    return Roof(best, curve, threads, how)


def _artifacts(folder: Path) -> Iterator[Artifact]:
    """The model for every runtime that is here: float, int8, and bfloat16 where the CPU has it."""
    model = canonicalize(heavy_model())
    ranges = {value.name: Range(-4.0, 4.0) for node in model.graph for value in node.outputs if value.name}
    ranges |= {value.name: Range(-1.0, 1.0) for value in model.graph.inputs if value.name}
    for name in _TARGETS:
        target = targets.load(name)
        if not registry.availability(target).ok:
            continue
        plain = _compiled(model, target, Precision.FP32, folder)
        if plain is None:
            continue
        yield plain
        if target.backend == "openvino" and set(facts().features) & {"avx512_bf16", "amx_bf16"}:
            options = replace(plain.options, settings=(*plain.options.settings, _BF16))
            yield replace(plain, options=options)
        whole = _compiled(apply(model, place(model, target, ranges)), target, Precision.W8A8, folder)
        if whole is not None:
            yield whole


def _compiled(model: ir.Model, target: Target, precision: Precision, folder: Path) -> Artifact | None:
    stem = f"roof-{target.name}-{precision}"
    try:
        return registry.backend(target.backend).compile(
            CompileRequest(model, target, precision, target.run.options(), stem), folder
        )
    except EdgekitError:  # a runtime that cannot take it has no say in what the machine can do
        return None


def _rates(artifact: Artifact, *, threads: int) -> list[tuple[str, float, str]]:
    """Element type, billions of operations per second, and how it was measured, for each heavy kernel."""
    rng = np.random.default_rng(0)
    try:
        with open_artifact(artifact, threads=threads) as session:
            if not isinstance(session, WorkerSession):
                return []
            feeds = {
                spec.name: rng.uniform(-1, 1, tuple(int(d or 1) for d in spec.shape)).astype(np.float32)
                for spec in session.inputs
                if all(isinstance(dim, int) for dim in spec.shape)
            }
            found = session.profile(feeds, runs=_RUNS)
            said = f"{session.facts['runtime']} {session.facts['version']}"
    except EdgekitError:
        return []
    if found is None:
        return []
    kernels = [kernel for kernel in found.kernels if kernel.multiplies and kernel.precision]
    counted = costs(kernels, operators_of(artifact))
    return [
        (
            kernel.precision,
            cost.operations / min(kernel.us) / 1e3,
            f"{said}, {kernel.operator} {kernel.kernel}",
        )
        for kernel, cost in zip(kernels, counted, strict=True)
        if cost.operations and min(kernel.us, default=0.0) > 0
    ]


def heavy_model() -> ir.Model:
    """Image (1, 256, 28, 28) -> 3x3 convolution; rows (512, 1024) -> two matrix products."""
    rng = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> ir.Value:
        array = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        return ir.Value(
            name=name,
            shape=ir.Shape(shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )

    def value(name: str, *shape: int) -> ir.Value:
        return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))

    image, rows = value("image", 1, _CHANNELS, _SIDE, _SIDE), value("rows", _ROWS, _WIDTH)
    kernel = constant("kernel", _CHANNELS, _CHANNELS, 3, 3)
    first, second = constant("first", _WIDTH, _WIDTH), constant("second", _WIDTH, _WIDTH)
    convolved = value("convolved", 1, _CHANNELS, _SIDE, _SIDE)
    once, twice = value("once", _ROWS, _WIDTH), value("twice", _ROWS, _WIDTH)
    nodes = [
        ir.node(
            "Conv",
            [image, kernel],
            attributes={"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]},
            outputs=[convolved],
            name="convolution",
        ),
        ir.node("MatMul", [rows, first], outputs=[once], name="product_1"),
        ir.node("MatMul", [once, second], outputs=[twice], name="product_2"),
    ]
    graph = ir.Graph(
        [image, rows],
        [convolved, twice],
        nodes=nodes,
        initializers=[kernel, first, second],
        opset_imports={"": 21},
        name="heavy",
    )
    return ir.Model(graph, ir_version=10)


def _better(one: Roof, other: Roof) -> Roof:
    """The higher of both figures, type by type and size by size."""
    gops = {**one.gops}
    how: dict[str, str] = {**one.how}
    for dtype, rate in other.gops.items():
        if rate > gops.get(dtype, 0.0):
            gops[dtype], how[dtype] = rate, other.how.get(dtype, "")
    theirs: Mapping[int, float] = dict(other.bandwidth)
    curve = tuple((size, max(rate, theirs.get(size, 0.0))) for size, rate in one.bandwidth)
    return Roof(gops, curve, one.threads, how)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found
