"""Compiled artifacts -> a bundle with golden vectors of this machine, without data and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.bundle.evidence import MachineFacts
from edgekit.bundle.golden import record, tolerance_for
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.pipeline.open import open_artifact
from edgekit.spec import Artifact, Precision

Arrays = Mapping[str, npt.NDArray[Any]]


def cnn(*, batch: int | str = "n", seed: int = 0) -> ir.Model:
    """Conv, Relu, mean, Gemm with drawn weights; ``batch`` may be a number."""
    rng = np.random.default_rng(seed)
    constants = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.3).astype(np.float32), name)
        for name, shape in (("w", (6, 3, 3, 3)), ("b", (6,)), ("v", (5, 6)), ("a", (5,)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="mean"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v", "a"], ["y"], name="dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        constants,
    )
    opset = [helper.make_opsetid("", 21)]
    return ir.serde.deserialize_model(helper.make_model(graph, opset_imports=opset, ir_version=10))


def images(count: int = 4, *, seed: int = 1) -> dict[str, npt.NDArray[np.float32]]:
    """Inputs of ``cnn``."""
    return {"x": np.random.default_rng(seed).random((count, 3, 8, 8), np.float32)}


def compiled(
    model: ir.Model,
    folder: Path,
    target: str,
    *,
    precision: Precision = Precision.FP32,
    plan_digest: str = "",
    output_steps: Mapping[str, float] | None = None,
) -> Artifact:
    """``model`` as the artifact of ``target``."""
    folder.mkdir(parents=True, exist_ok=True)
    held = targets.load(target)
    request = CompileRequest(
        model=model,
        target=held,
        precision=precision,
        options=held.run.options(),
        stem=f"m-{target}-{precision}",
        plan_digest=plan_digest,
        output_steps=output_steps or {},
    )
    return registry.backend(held.backend).compile(request, folder)


def bundle(artifacts: Sequence[Artifact], folder: Path, inputs: Arrays) -> Path:
    """A bundle of ``artifacts``, one for each target."""
    shipped = []
    for artifact in artifacts:
        with open_artifact(artifact) as session:
            golden = record(session, inputs)
            ran = dict(session.facts)
        shipped.append(Shipped(artifact, tolerance_for(artifact.precision), golden, ran=ran))
    content = BundleContent(
        name="m",
        version="1",
        edgekit_version="0",
        model_digest="",
        recipe={},
        ranges={},
        lock=b"",
        golden_inputs=inputs,
        shipped=tuple(shipped),
        machine=MachineFacts(key="k"),
        created="2026-01-01T00:00:00Z",
    )
    return write(content, folder)
