"""L10 of ``onnxruntime_lowering``: what NVIDIA GPUs get of a quantized model, run on the CPU.

Tolerance: 1e-3 steps of the output, which is what float32 rounds: with float biases ONNX Runtime's CPU fuses
other kernels, and adds up in another order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.onnxruntime_engine import save_optimized
from edgekit.backends.onnxruntime_lowering import lowered, options_for
from edgekit.calibration.collect import collect
from edgekit.ir import io
from edgekit.ir.graph import constant, is_onnx
from edgekit.passes import canonicalize
from edgekit.passes.dequantized_constant import dequantizer, reals
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Array, Precision, RunOptions, Silent
from tests.gpu.models import CNN, HEAD, Floats, floats

IMAGE = floats(4, 3, 16, 16)


def int32_behind_dequantize(model: ir.Model) -> list[str]:
    found = (node for node in model.graph if is_onnx(node, "DequantizeLinear"))
    arrays = ((node.name or "", constant(node.inputs[0])) for node in found)
    return [name for name, array in arrays if array is not None and array.dtype == np.int32]


@pytest.fixture(scope="module")
def quantized() -> ir.Model:
    weights = {"w1": floats(8, 3, 3, 3), "b1": floats(8), "w2": floats(5, 8, seed=1), "b2": floats(5)}
    tensors = [ir.tensor(array, name=name) for name, array in weights.items()]
    model = canonicalize(ir.from_onnx_text(HEAD + CNN, initializers=tensors))
    found = collect(
        model,
        open_model=open_model,
        batches=lambda size: ({"image": IMAGE[start : start + size]} for start in range(0, 4, size)),
        count=4,
        method="minmax",
        progress=Silent(),
        seed=0,
    )
    return apply(model, place(model, targets.load("gpu-cuda"), dict(found.tensors)))


def outputs(model: ir.Model) -> Floats:
    with open_model(model, RunOptions()) as session:
        return session.run({"image": IMAGE})["logits"].astype(np.float32)


@pytest.mark.parametrize("name", ["gpu-cuda", "gpu-tensorrt"])
def test_no_int32_is_left_and_the_numbers_are_the_same(
    quantized: ir.Model, name: str, tmp_path: Path
) -> None:
    target = targets.load(name)
    request = CompileRequest(quantized, target, Precision.W8A8, target.run.options(), "m")
    artifact = registry.backend(target.backend).compile(request, tmp_path)
    written = io.load(artifact.path)
    assert int32_behind_dequantize(quantized)  # else there is nothing to see
    assert not int32_behind_dequantize(written)
    wanted = outputs(quantized)
    step = float(np.ptp(wanted)) / 255
    np.testing.assert_allclose(outputs(written), wanted, atol=1e-3 * step, rtol=0)


BETWEEN_INTEGERS = """
g (float[n, 3, 8, 8] x) => (float[n, 8, 8, 8] y)
<float s = {0.03}, int8 z = {0}, int8[8, 3, 3, 3] w, float[8] sw, float[8] b>
{
  q = QuantizeLinear(x, s, z)
  d = DequantizeLinear(q, s, z)
  v = DequantizeLinear <axis = 0> (w, sw)
  c = Conv <pads = [1, 1, 1, 1]> (d, v, b)
  p = QuantizeLinear(c, s, z)
  y = DequantizeLinear(p, s, z)
}
"""


@pytest.mark.parametrize("left_out", [True, False])
def test_onnx_runtime_makes_no_int32_of_them_again(tmp_path: Path, left_out: bool) -> None:
    """The sabotage: with all its optimizers it does, which left the biases to the CPU on an H100."""
    weights = {"w": np.ones((8, 3, 3, 3), np.int8), "sw": np.full(8, 0.1, np.float32), "b": floats(8)}
    tensors = [ir.tensor(array, name=name) for name, array in weights.items()]
    model = ir.from_onnx_text(HEAD + BETWEEN_INTEGERS, initializers=tensors)
    told = options_for(Precision.W8A8, targets.load("gpu-cuda").run.options()).settings if left_out else ()
    settings = {key: value for key, value in told if key.startswith("optimization.")}
    options = RunOptions(settings=(*settings.items(), ("graph_optimization_level", "basic")))
    (source,) = io.save(model, tmp_path / "m.onnx")
    save_optimized(source, tmp_path / "o.onnx", options)
    assert bool(int32_behind_dequantize(io.load(tmp_path / "o.onnx"))) is not left_out


def test_a_cpu_keeps_its_int32(quantized: ir.Model) -> None:
    assert int32_behind_dequantize(lowered(quantized, Precision.W8A8))


@pytest.mark.parametrize(
    ("kind", "axis", "scales", "zeros"),
    [("int32", 1, 3, None), ("int8", 0, 2, 2), ("int8", None, None, 3), ("int8", None, None, None)],
)
def test_reals_are_what_the_runtime_computes(
    kind: str, axis: int | None, scales: int | None, zeros: int | None
) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {"q": rng.integers(-99, 99, (2, 3)).astype(kind)}
    arrays["s"] = np.asarray(rng.uniform(0.1, 1, scales), np.float32)
    if zeros is not None:
        arrays["z"] = np.asarray(zeros if scales is None else rng.integers(-9, 9, scales), kind)
    types = ", ".join(
        f"{'float' if name == 's' else kind}{list(array.shape) or ''} {name}"
        for name, array in arrays.items()
    )
    at = "" if axis is None else f" <axis = {axis}>"
    text = f"""g (float[1] x) => (float[2, 3] y) <{types}>
    {{ r = DequantizeLinear{at} ({", ".join(arrays)}) y = Mul(r, x) }}"""
    model = ir.from_onnx_text(HEAD + text, initializers=[ir.tensor(a, name=n) for n, a in arrays.items()])
    node = dequantizer(model.graph[0].outputs[0])
    assert node is not None
    with open_model(model, RunOptions()) as session:
        wanted = session.run({"x": np.ones(1, np.float32)})["y"]
    np.testing.assert_array_equal(reals(node), wanted)
