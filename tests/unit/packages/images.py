"""A bundle of a small image model on ONNX Runtime and LiteRT: uint8 pictures, four steps, int8 inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.bundle.golden import prepared
from edgekit.bundle.processing import InputProcessing, OutputProcessing, Processing, RawTensor
from edgekit.preprocess import Layout, Normalize, Resize, Scale
from tests.unit.packages.bundles import bundle_of

AROUND = Processing(
    inputs=(
        InputProcessing(
            name="image",
            raw=RawTensor(dtype="uint8", shape=(None, None, 3), layout="HWC", color="RGB"),
            steps=(
                Resize(op="resize", size=(8, 8)),
                Scale(op="scale", by=1 / 255),
                Normalize(op="normalize", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)),
                Layout(op="layout", to="NCHW"),
            ),
        ),
    ),
    outputs=(OutputProcessing(name="scores", labels="files/labels.txt"),),
)
LABELS = ("cat", "dog", "bird")


def pictures(count: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """(count, 6, 7, 3): no square, so that exchanged axes are seen."""
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 7, 3), np.uint8)


def image_onnx(*, seed: int = 0, batch: int | str = "batch") -> bytes:
    """Conv 3x3 (3 -> 4), Relu, GlobalAveragePool, Flatten, Gemm (4 -> 3)."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "d"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "image",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])],
        [weight("w", 4, 3, 3, 3), weight("b", 4), weight("v", 3, 4), weight("d", 3)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def image_bundle(
    folder: Path,
    *targets: str,
    name: str = "image-model",
    precision: str = "w8a8",
    io_dtype: str = "float32",
    batch: int | str = "batch",
    seed: int = 0,
) -> Path:
    """The bundle at ``folder``/b of the model on ``targets``."""
    (folder / "w").mkdir(parents=True, exist_ok=True)
    model = folder / "w" / "float.onnx"
    model.write_bytes(image_onnx(seed=seed, batch=batch))
    if precision == "w8a8":
        data = prepared({"image": pictures(32, seed=1)}, AROUND)
        model = edgekit.quantize(
            model, calibration_data=dict(data), out=folder / "w" / "int8.onnx", precision=precision
        )
    artifacts = [
        edgekit.compile(model, target=target, out=folder / "w" / target, io_dtype=io_dtype)  # type: ignore[arg-type]
        for target in targets
    ]
    return bundle_of(
        folder / "b",
        *artifacts,
        name=name,
        labels="\n".join(LABELS).encode(),
        inputs={"image": pictures(2, seed=2)},
        processing=AROUND,
    )


@cache
def litert_is_here() -> bool:
    """Whether the artifacts for LiteRT can be made and run."""
    from importlib.util import find_spec

    return find_spec("ai_edge_litert") is not None
