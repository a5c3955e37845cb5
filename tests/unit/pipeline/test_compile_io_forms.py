"""`compile` with integer ends and fixed axes, through the whole pipeline and back through `open`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit import api
from edgekit.cli.main import run
from edgekit.errors import ExitCode, TargetRefusalError
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Precision

STEP = 0.05


def quantized(path: Path) -> Path:
    """image -> Q/DQ -> Relu -> Q/DQ -> scores."""
    constants = [
        numpy_helper.from_array(np.asarray(STEP, np.float32), "s"),
        numpy_helper.from_array(np.asarray(100, np.uint8), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s", "z"], ["scores"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", kind, ["batch", 4])],
        [helper.make_tensor_value_info("scores", kind, ["batch", 4])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_the_artifact_takes_integers_and_its_session_floats(dtype: str, tmp_path: Path) -> None:
    model = quantized(tmp_path / "q.onnx")
    line = ["compile", str(model), "--target", "litert-cpu", "-o", str(tmp_path / "out"), "--io-dtype", dtype]
    assert run(line) == ExitCode.OK
    (sidecar,) = (tmp_path / "out").glob("*.json")
    said = json.loads(sidecar.read_text())
    assert [each["dtype"] for each in (*said["inputs"], *said["outputs"])] == [dtype, dtype]
    assert said["inputs"][0]["quant"]["zero_point"] == [100 - 128 if dtype == "int8" else 100]
    values = np.asarray([[-1.0, 0.0, 0.5, 2.0]], np.float32)
    with api.open(sidecar.with_suffix("")) as session:
        found = session.run({"image": values})["scores"]
    assert np.abs(found.astype(np.float64) - np.maximum(values, 0)).max() <= STEP / 2


def test_a_float_model_has_no_integers_to_take(tmp_path: Path) -> None:
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 21]> m (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"""
    )
    ir.save(model, tmp_path / "f.onnx")
    with pytest.raises(TargetRefusalError, match="input 'x' is not quantized"):
        api.compile(tmp_path / "f.onnx", target="litert-cpu", out=tmp_path / "out", io_dtype="int8")


def test_an_unknown_type_is_bad_input(tmp_path: Path) -> None:
    line = ["compile", str(quantized(tmp_path / "q.onnx")), "--target", "litert-cpu", "-o", str(tmp_path)]
    assert run([*line, "--io-dtype", "int4"]) == ExitCode.BAD_INPUT
    assert run([*line, "--io-layout", "nhwc"]) == ExitCode.BAD_INPUT


def test_a_half_float_model_is_called_by_its_name(tmp_path: Path) -> None:
    weights = ", ".join(str(float(i)) for i in range(400))
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["": 21]>
        m (float[1,20] x) => (float[1,20] y) <float[20,20] w = {{{weights}}}> {{ y = MatMul(x, w) }}"""
    )
    ir.save(to_float16(model), tmp_path / "h.onnx")
    made = api.compile(tmp_path / "h.onnx", target="litert-cpu", out=tmp_path / "out")
    assert made.precision is Precision.FP16
    with api.open(made) as session:
        found = session.run({"x": np.eye(1, 20, dtype=np.float32)})["y"]
    np.testing.assert_array_equal(found, np.arange(20, dtype=np.float32)[None])
