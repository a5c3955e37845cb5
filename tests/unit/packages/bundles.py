"""A small bundle for tests of packages: y = x @ w + b on the real ONNX Runtime, without a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.base import file_entries
from edgekit.bundle.evidence import MachineFacts
from edgekit.bundle.golden import prepared, record, tolerance_for
from edgekit.bundle.processing import InputProcessing, OutputProcessing, Processing, RawTensor
from edgekit.bundle.sign import Signer
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.pipeline.open import open_artifact
from edgekit.preprocess import Scale
from edgekit.spec import Artifact, IoBinding, Precision, RunOptions, TensorSpec

AROUND = Processing(
    inputs=(
        InputProcessing(
            name="x", raw=RawTensor(dtype="float32", shape=(4,)), steps=(Scale(op="scale", by=0.5),)
        ),
    ),
    outputs=(OutputProcessing(name="y"),),
)
INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}


def linear_onnx(batch: int | str = "batch", *, seed: int = 0) -> bytes:
    """y = x @ w + b, 4 -> 3."""
    rng = np.random.default_rng(seed)
    w: npt.NDArray[Any] = rng.standard_normal((4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [
            numpy_helper.from_array(w, "w"),
            numpy_helper.from_array(np.arange(3, dtype=np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def binding(name: str, width: int, batch: int | str = "batch") -> IoBinding:
    spec = TensorSpec(name, "float32", (batch, width))
    return IoBinding(spec, name, "float32", spec.shape)


def onnx_artifact(
    folder: Path, *, target: str = "onnxruntime-cpu", batch: int | str = "batch", device: str = "cpu"
) -> Artifact:
    """The linear model as a compiled artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{target}.onnx").write_bytes(linear_onnx(batch))
    return Artifact(
        folder=folder,
        files=file_entries(folder, [f"{target}.onnx"]),
        target=target,
        backend="onnxruntime",
        precision=Precision.FP32,
        options=RunOptions(device=device),
        inputs=(binding("x", 4, batch),),
        outputs=(binding("y", 3, batch),),
    )


HOSTILE = ("</script>'\"; process.exit(0); //", "y*/ int main(){return 0;} /*\\\n#include <x>")


def hostile_artifact(folder: Path) -> tuple[Artifact, dict[str, npt.NDArray[Any]]]:
    """y = x + x under names that would be code wherever they are pasted into code; and its inputs."""
    x, y = HOSTILE
    graph = helper.make_graph(
        [helper.make_node("Add", [x, x], [y])],
        "hostile",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hostile.onnx").write_bytes(model.SerializeToString())
    artifact = Artifact(
        folder=folder,
        files=file_entries(folder, ["hostile.onnx"]),
        target="onnxruntime-cpu",
        backend="onnxruntime",
        precision=Precision.FP32,
        options=RunOptions(),
        inputs=(binding(x, 4),),
        outputs=(binding(y, 4),),
    )
    return artifact, {x: INPUTS["x"]}


def bundle_of(
    folder: Path,
    *artifacts: Artifact,
    name: str = "linear",
    version: str = "1.2.0",
    labels: bytes = b"",
    run: bool = True,
    inputs: dict[str, npt.NDArray[Any]] | None = None,
    processing: Processing | None = None,
    signer: Signer | None = None,
) -> Path:
    """A bundle of ``artifacts`` at ``folder``, with golden outputs from their real runtimes."""
    around = processing or AROUND
    fed = INPUTS if inputs is None else inputs

    def golden(artifact: Artifact) -> dict[str, npt.NDArray[Any]] | None:
        if not run or artifact.options.device != "cpu":
            return None
        with open_artifact(artifact) as session:
            return record(session, prepared(fed, around))

    return write(
        BundleContent(
            name=name,
            version=version,
            edgekit_version="0.1",
            model_digest="m" * 8,
            recipe={"schema": 1},
            ranges={},
            lock=b"lock\n",
            golden_inputs=fed,
            processing=around,
            associated={"labels.txt": labels} if labels else {},
            shipped=tuple(
                Shipped(each, tolerance_for(each.precision), golden(each), around) for each in artifacts
            ),
            machine=MachineFacts(key="k"),
            created="2026-01-01T00:00:00Z",
        ),
        folder,
        signer=signer,
    )
