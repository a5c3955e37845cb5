"""w8 and w4 of a small model: integers in the file, float's own kernels in the runtime, and the same numbers.

    y = x @ (scale * W_int) of both forms: within 1e-5 of the output's range

Weights and inputs: normal, seed 0.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.backends import registry, small_weights
from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino_small_weights import with_foldable_weights
from edgekit.backends.small_weights import SMALL_BYTES, is_small
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.weights import place_weights
from edgekit.spec import Artifact, Precision
from edgekit.target import load

SEED, TOLERANCE = 0, 1e-5
TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 64] x) => (float[n, 64] y) <float[64, 96] v, float[96] b, float[96, 64] w>
{ a = MatMul(x, v) c = Add(a, b) d = Tanh(c) y = MatMul(d, w) }"""
RUNTIMES = ("onnxruntime-cpu", "openvino-cpu")


def canonical() -> ir.Model:
    rng = np.random.default_rng(SEED)
    drawn = {"v": rng.normal(size=(64, 96)), "b": rng.normal(size=96), "w": rng.normal(size=(96, 64))}
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in drawn.items()]
    return canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))


def compiled(name: str, precision: Precision, folder: Path) -> Artifact:
    target, model = load(name), canonical()
    form = model if precision is Precision.FP32 else apply(model, place_weights(model, target, precision))
    request = CompileRequest(form, target, precision, target.run.options(), f"m-{name}-{precision}")
    return registry.backend(target.backend).compile(request, folder)


def outputs(artifact: Artifact) -> npt.NDArray[np.float32]:
    x = np.random.default_rng(SEED).normal(size=(5, 64)).astype(np.float32)
    with registry.backend(artifact.backend).open(artifact, artifact.options) as session:
        return np.asarray(session.run({"x": x})["y"], np.float32)


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_weights, "SMALL_BYTES", 0)


@pytest.mark.parametrize("precision", [Precision.W8, Precision.W4])
@pytest.mark.parametrize("name", RUNTIMES)
def test_the_numbers_are_those_of_integer_weights(
    name: str, precision: Precision, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    small = compiled(name, precision, tmp_path)
    size, found = small.size_bytes, outputs(small)
    request.getfixturevalue("nothing_is_small")
    other = outputs(compiled(name, precision, tmp_path))
    assert np.abs(found - other).max() <= TOLERANCE * np.ptp(other)
    real = compiled(name, Precision.FP32, tmp_path)
    assert real.size_bytes - size > 2.5 * 2 * 64 * 96  # of 4 bytes each 1 or a half is left, and layers


@pytest.mark.parametrize("precision", [Precision.W8, Precision.W4])
def test_openvino_runs_the_kernels_of_float(
    precision: Precision, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folded, plain = (
        weights_read(compiled("openvino-cpu", each, tmp_path)) for each in (precision, Precision.FP32)
    )
    assert folded == plain
    request.getfixturevalue("nothing_is_small")
    kept = weights_read(compiled("openvino-cpu", precision, tmp_path))
    assert kept != plain  # the sabotage: compressed weights stay integers


def weights_read(artifact: Artifact) -> Counter[str]:
    """Element types of the weights of every product that OpenVINO runs."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    settings = dict(artifact.options.settings)
    runtime = core.compile_model(core.read_model(artifact.path), "CPU", settings).get_runtime_model()
    products = [
        node
        for node in runtime.get_ordered_ops()
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    ]
    assert products
    return Counter(node.inputs()[1].get_element_type().get_type_name() for node in products)


def test_small_is_the_sum_of_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model = canonical()
    form = apply(model, place_weights(model, load("openvino-cpu"), Precision.W8))
    limit = 4 * 2 * 64 * 96
    for bytes_, wanted in ((limit, True), (limit - 1, False)):
        monkeypatch.setattr(small_weights, "SMALL_BYTES", bytes_)
        assert is_small(form) is wanted
    assert not is_small(model)  # nothing is integer
    assert limit < SMALL_BYTES


def test_a_weight_with_a_zero_point_is_left_as_it_is() -> None:
    """F2."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 2] x) => (float[n, 2] y) <int8[2, 2] w = {1, 2, 3, 4}, float s = {0.5}, int8 z = {1}>
{ d = DequantizeLinear(w, s, z) y = MatMul(x, d) }"""
    model = ir.from_onnx_text(text)
    assert [node.op_type for node in with_foldable_weights(model).graph] == ["DequantizeLinear", "MatMul"]
