"""Twenty equal layers -> a file, its copy, and one with twenty-two: a tenth more work of the same kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, ROWS = 20, 256, 64


def files(folder: Path, *, slow_down: float) -> tuple[Path, Path, Path, dict[str, object]]:
    """Write them; returns the file, its copy, the slower one, and how they were made."""
    more = round(LAYERS * (1 + slow_down))
    paths = [folder / name for name in ("model.onnx", "copy.onnx", "slower.onnx")]
    for path, layers in zip(paths, (LAYERS, LAYERS, more), strict=True):
        onnx.save(_model(layers), path)
    return paths[0], paths[1], paths[2], {"layers": LAYERS, "slower": more, "width": WIDTH, "rows": ROWS}


def _model(layers: int) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights, nodes, held = [], [], "x"
    for index in range(layers):
        weight = rng.normal(0, (2 / WIDTH) ** 0.5, (WIDTH, WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [held, f"w{index}"], [f"m{index}"]))
        held = "y" if index == layers - 1 else f"r{index}"
        nodes.append(helper.make_node("Relu", [f"m{index}"], [held]))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, WIDTH])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
