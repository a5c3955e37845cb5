"""Why OpenVINO refuses 16-bit activations: its CPU plug-in leaves the quantization out, its bounds too.

If a release of OpenVINO makes this red, the refusal (``backends.openvino``, C5) can go. Source: measured on
2026.4; ONNX Runtime computes the file as ONNX defines it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.ir import io

SCALE = {"int16": 0.001, "int8": 0.1}
ENDS = {"int16": (-32.768, 32.767), "int8": (-12.8, 12.7)}
TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 4, 5, 5] x) => (float[1, 4, 5, 5] y) <float[4, 4, 1, 1] w, float s, TYPE z>
{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) c = Conv(d, w)
  r = QuantizeLinear(c, s, z) y = DequantizeLinear(r, s, z) }"""


def outputs(kind: str, folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """What both runtimes give for inputs far outside the ends of ``kind``."""
    openvino, onnxruntime = pytest.importorskip("openvino"), pytest.importorskip("onnxruntime")
    tensors = [
        ir.tensor(np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1), name="w"),
        ir.tensor(np.float32(SCALE[kind]), name="s"),
        ir.tensor(np.zeros((), kind), name="z"),
    ]
    path = folder / f"{kind}.onnx"
    io.save(ir.from_onnx_text(TEXT.replace("TYPE", kind), initializers=tensors), path)
    x = np.random.default_rng(0).normal(0, 60, (1, 4, 5, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {"onnxruntime": session.run(None, {"x": x})[0], "openvino": compiled(x)[0]}


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_the_bounds_of_eight_bits_hold_and_those_of_sixteen_do_not(kind: str, tmp_path: Path) -> None:
    found, (low, high) = outputs(kind, tmp_path), ENDS[kind]
    assert found["onnxruntime"].min() == pytest.approx(low, abs=SCALE[kind])
    assert found["onnxruntime"].max() == pytest.approx(high, abs=SCALE[kind])
    away = float(np.abs(found["openvino"] - found["onnxruntime"]).max())
    if kind == "int8":
        assert away <= SCALE[kind]
    else:
        assert away > 1000 * SCALE[kind], "OpenVINO keeps 16 bits now: see the module"
