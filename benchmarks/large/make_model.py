"""(width, folder) -> large.onnx with external data, written layer by layer, and data for it.

    image (batch, 3, 32, 32) -> 4 x 4 patches of d / 4 channels
        -> 4 x [3 x 3 convolution, BatchNormalization, Relu] -> 1 x 1 convolution to d
        -> 16 tokens -> 11 x [attention, feed-forward of 4 d] -> mean
        -> 6 x [dense 4 d, Relu, dense d] -> 100

Nearly all of its 182 d^2 weights lie in the layers; d = 2048 makes 3.06 GB of float32. It is written as
exporters write it, and canonicalization has to change it: the convolutions take their BatchNormalizations in,
the dense layers of the end (MatMul with (in, out) weights, and Add), a quarter of it all, become Gemm.

One layer's weights are in memory at a time. They are random, with a seed: scaled so that values neither
vanish nor explode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

CONVOLUTIONS, BLOCKS, DENSE = 4, 11, 6
SIDE, PATCH, CLASSES, HEAD = 32, 8, 100, 64
TOKENS = (SIDE // PATCH) ** 2
SAMPLES = 256  # with 8 a layer's patches are few, and what grows with samples is not seen
WIDTH = 2048  # 3.0 GB

Floats = npt.NDArray[np.float32]


@dataclass
class _Writer:
    """Collects the graph; weights go to ``data`` at once."""

    data: BinaryIO
    location: str
    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        import onnx
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        if array.nbytes < 1024:
            self.weights.append(helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True))
            return name
        self.data.write(b"\0" * (-self.data.tell() % 4096))
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", self.location),
            ("offset", self.data.tell()),
            ("length", array.nbytes),
        ):
            tensor.external_data.add(key=key, value=str(value))
        self.data.write(np.ascontiguousarray(array).data)
        self.weights.append(tensor)
        return name

    def normal(self, name: str, *shape: int, inputs: int) -> str:
        """Random weights of a layer of so many ``inputs``."""
        array = self.rng.standard_normal(shape, np.float32)
        array *= np.float32(inputs**-0.5)
        return self.weight(name, array)

    def near(self, name: str, size: int, value: float) -> str:
        return self.weight(name, (value + 0.1 * self.rng.standard_normal(size)).astype(np.float32))

    def node(self, kind: str, *inputs: str, name: str, **attributes: object) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def shape(self, name: str, *sizes: int) -> str:
        return self.weight(name, np.array(sizes, np.int64))


def write(folder: Path, *, width: int, seed: int = 0) -> Path:
    """``folder/large.onnx`` and ``large.onnx.data``; gives the former."""
    import onnx
    from onnx import helper

    path = folder / "large.onnx"
    location = f"{path.name}.data"
    with (folder / location).open("wb") as data:
        made = _Writer(data, location, np.random.default_rng(seed))
        _graph(made, width)
    kind = onnx.TensorProto.FLOAT
    made.nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        made.nodes,
        "large",
        [helper.make_tensor_value_info("image", kind, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", kind, ["batch", CLASSES])],
        made.weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def write_data(folder: Path, *, samples: int = SAMPLES, seed: int = 1) -> Path:
    """``folder/images.npz``: what the model is calibrated on."""
    path = folder / "images.npz"
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((samples, 3, SIDE, SIDE), np.float32)
    np.savez(path, image=image, labels=rng.integers(0, CLASSES, samples))
    return path


def _graph(made: _Writer, width: int) -> str:
    x = made.node(
        "Conv",
        "image",
        made.normal("patch_w", width // 4, 3, PATCH, PATCH, inputs=3 * PATCH**2),
        made.near("patch_b", width // 4, 0.0),
        name="patch",
        strides=[PATCH, PATCH],
    )
    for index in range(CONVOLUTIONS):
        x = _convolution(made, x, f"conv{index}", width // 4)
    x = made.node("Conv", x, made.normal("wide_w", width, width // 4, 1, 1, inputs=width // 4), name="wide")
    x = made.node("Reshape", x, made.shape("rows", 0, width, TOKENS), name="flatten")
    x = made.node("Transpose", x, name="tokens", perm=[0, 2, 1])
    for index in range(BLOCKS):
        x = _block(made, x, f"block{index}", width)
    x = made.node("ReduceMean", x, name="mean", axes=[1], keepdims=0)
    for index in range(DENSE):
        y = _dense(made, x, f"dense{index}_up", width, 4 * width)
        y = made.node("Relu", y, name=f"dense{index}_relu")
        y = _dense(made, y, f"dense{index}_down", 4 * width, width)
        x = made.node("Add", x, y, name=f"dense{index}_sum")
    return _dense(made, x, "classes", width, CLASSES)


def _convolution(made: _Writer, x: str, name: str, width: int) -> str:
    weight = made.normal(f"{name}_w", width, width, 3, 3, inputs=9 * width)
    y = made.node("Conv", x, weight, name=name, pads=[1, 1, 1, 1])
    statistics = [
        made.near(f"{name}_{each}", width, value)
        for each, value in (("scale", 1.0), ("bias", 0.0), ("average", 0.0), ("variance", 1.0))
    ]
    return made.node(
        "Relu", made.node("BatchNormalization", y, *statistics, name=f"{name}_bn"), name=f"{name}_r"
    )


def _block(made: _Writer, x: str, name: str, width: int) -> str:
    heads = width // HEAD
    y = _normalized(made, x, f"{name}_ln1", width)
    parts = []
    for part, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        z = _dense(made, y, f"{name}_{part}", width, width)
        z = made.node(
            "Reshape", z, made.shape(f"{name}_{part}_heads", 0, TOKENS, heads, HEAD), name=f"{name}_{part}_s"
        )
        parts.append(made.node("Transpose", z, name=f"{name}_{part}_t", perm=perm))
    q, k, v = parts
    scale = made.weight(f"{name}_scale", np.array(HEAD**-0.5, np.float32))
    score = made.node("Mul", made.node("MatMul", q, k, name=f"{name}_qk"), scale, name=f"{name}_scaled")
    score = made.node("Softmax", score, name=f"{name}_softmax", axis=-1)
    y = made.node(
        "Transpose", made.node("MatMul", score, v, name=f"{name}_av"), name=f"{name}_back", perm=[0, 2, 1, 3]
    )
    y = made.node("Reshape", y, made.shape(f"{name}_tokens", 0, TOKENS, width), name=f"{name}_joined")
    x = made.node("Add", x, _dense(made, y, f"{name}_o", width, width), name=f"{name}_sum1")
    y = _normalized(made, x, f"{name}_ln2", width)
    y = made.node("Relu", _dense(made, y, f"{name}_up", width, 4 * width), name=f"{name}_relu")
    return made.node("Add", x, _dense(made, y, f"{name}_down", 4 * width, width), name=f"{name}_sum2")


def _normalized(made: _Writer, x: str, name: str, width: int) -> str:
    scale, bias = made.near(f"{name}_w", width, 1.0), made.near(f"{name}_b", width, 0.0)
    return made.node("LayerNormalization", x, scale, bias, name=name, axis=-1)


def _dense(made: _Writer, x: str, name: str, inputs: int, outputs: int) -> str:
    y = made.node("MatMul", x, made.normal(f"{name}_w", inputs, outputs, inputs=inputs), name=name)
    return made.node("Add", y, made.near(f"{name}_b", outputs, 0.0), name=f"{name}_plus")
