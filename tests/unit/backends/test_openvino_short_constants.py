"""QDQ for OpenVINO with fewer layers: a smaller file, the same integers out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends import openvino_lowering
from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino import OpenVino
from edgekit.backends.openvino_short_constants import with_short_constants
from edgekit.ir.graph import constant, is_onnx
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Precision, Range
from edgekit.target import load

TARGET = load("openvino-cpu")
SEED = 0
TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 4, 9, 9] x) => (float[1, 8, 7, 7] y) <float[8, 4, 3, 3] w, float[8] b>
{ a = Conv(x, w, b) y = Relu(a) }"""


@pytest.fixture
def form() -> ir.Model:
    rng = np.random.default_rng(SEED)
    drawn = {"w": rng.normal(size=(8, 4, 3, 3)), "b": rng.normal(size=8)}
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in drawn.items()]
    model = canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))
    ranges = {"x": Range(-1.0, 3.0), "a": Range(-9.0, 9.0), "y": Range(0.0, 9.0)}
    return apply(model, place(model, TARGET, ranges))


def test_only_zero_points_of_zero_go_and_only_the_bias_becomes_float(form: ir.Model) -> None:
    short = with_short_constants(form)
    points = {
        node.outputs[0].name: constant(node.inputs[2]) if len(node.inputs) > 2 else None
        for node in short.graph
        if is_onnx(node, "DequantizeLinear")
    }
    assert set(points) == {"x_dequantized", "w_dequantized", "y"}  # and not the bias
    assert points["x_dequantized"] == np.rint(255 / 4)
    assert points["w_dequantized"] is points["y"] is None
    assert not [value for value in short.graph.initializers.values() if value.dtype == ir.DataType.INT32]
    again = with_short_constants(short)
    assert [node.op_type for node in again.graph] == [node.op_type for node in short.graph]
    assert any(value.dtype == ir.DataType.INT32 for value in form.graph.initializers.values())  # untouched


def test_the_file_is_smaller_and_computes_the_same(
    form: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_size, short, short_kernels = compiled(form, tmp_path)
    monkeypatch.setattr(openvino_lowering, "with_short_constants", lambda model: model)
    size, found, kernels = compiled(form, tmp_path)
    assert short_size < 0.9 * size
    assert np.array_equal(short, found)
    assert short_kernels == kernels


def compiled(form: ir.Model, folder: Path) -> tuple[int, npt.NDArray[np.float32], str]:
    request = CompileRequest(form, TARGET, Precision.W8A8, TARGET.run.options(), "m")
    artifact = OpenVino().compile(request, folder)
    x = np.random.default_rng(SEED).normal(size=(1, 4, 9, 9)).astype(np.float32)
    with OpenVino().open(artifact, artifact.options) as session:
        found = np.asarray(session.run({"x": x})["y"], np.float32)
        return artifact.size_bytes, found, session.facts["kernels"]
