"""What each runtime says that it ran: integer kernels as such, and a silent fall-back to float."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import onnxruntime_engine, registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime_profile import row_of
from edgekit.backends.worker import WorkerSession
from edgekit.passes import canonicalize
from edgekit.pipeline.came import Variant
from edgekit.pipeline.coverage import measure, silent_fallbacks
from edgekit.quantization.apply import apply
from edgekit.quantization.weights import place_weights
from edgekit.spec import Executed, Precision, RunOptions

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
two (float[1, 32, 4, 4] x) => (float[1, 8, 4, 4] y)
<float s = {0.05}, uint8 z = {128}, float ws = {0.01}, int8 wz = {0},
 int8[16, 32, 1, 1] w1, float[8, 16, 1, 1] w2>
{
    xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    w1d = DequantizeLinear(w1, ws, wz)
    [first] h = Conv(xd, w1d)
    hq = QuantizeLinear(h, s, z)
    hd = DequantizeLinear(hq, s, z)
    [second] p = Conv(hd, w2)
    pq = QuantizeLinear(p, s, z)
    y = DequantizeLinear(pq, s, z)
}
"""


def model(*, broken: bool) -> ir.Model:
    """Two 1x1 convolutions, 32x16x16 and 16x8x16 MACs; ``broken``: the weights of the second are float."""
    text = TEXT if broken else TEXT.replace("w2)", "w2d)").replace("[second]", W2D + "[second]")
    found = ir.from_onnx_text(text)
    rng = np.random.default_rng(0)
    for name, shape in (("w1", (16, 32, 1, 1)), ("w2", (8, 16, 1, 1))):
        whole = name == "w1" or not broken
        array = rng.integers(-99, 99, shape).astype(np.int8) if whole else rng.random(shape, np.float32)
        value = next(v for node in found.graph for v in node.inputs if v is not None and v.name == name)
        value.const_value = ir.tensor(array, name=name)
        value.shape, value.type = ir.Shape(shape), ir.TensorType(value.const_value.dtype)
        found.graph.register_initializer(value)
    return found


W2D = "w2d = DequantizeLinear(w2, ws, wz)\n    "


def ran(graph: ir.Model, folder: Path, name: str) -> tuple[Executed, ...]:
    target = targets.load(name)
    backend = registry.backend(target.backend)
    options = target.run.options()
    artifact = backend.compile(CompileRequest(graph, target, Precision.W8A8, options, "m"), folder)
    with backend.open(artifact, options) as session:
        assert isinstance(session, WorkerSession)
        session.time_ms({"x": np.ones((1, 32, 4, 4), np.float32)}, runs=1)
        rows = session.executed()
    assert rows is not None
    return rows


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu", "litert-cpu"])
def test_integer_kernels_are_seen_on(name: str, tmp_path: Path) -> None:
    graph = model(broken=False)
    rows = ran(graph, tmp_path, name)
    found = measure(Variant(graph, Precision.W8A8), rows, device="cpu")
    assert found is not None
    assert (found.share, found.by, found.elsewhere) == (1.0, "MACs", ())
    assert not silent_fallbacks(found, target=name, name="w8a8")


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu"])
def test_a_silent_fall_back_is_found_on(name: str, tmp_path: Path) -> None:
    graph = model(broken=True)
    rows = ran(graph, tmp_path, name)
    found = measure(Variant(graph, Precision.W8A8), rows, device="cpu")
    assert found is not None
    assert found.share == pytest.approx(512 / 640)
    assert [(each.node, each.precision) for each in found.elsewhere] == [("second", "float32")]
    (finding,) = silent_fallbacks(found, target=name, name="w8a8")
    assert "1 operator runs elsewhere than asked: second" in finding


def test_a_kernel_on_another_provider_is_on_another_device() -> None:
    row = row_of("conv_kernel_time", {"op_name": "Conv", "provider": "CPUExecutionProvider"})
    assert (row["device"], row["names"], row["multiplies"]) == ("cpu", ["conv"], True)
    row = row_of(
        "conv_token_3_kernel_time",
        {
            "op_name": "Conv",
            "provider": "CUDAExecutionProvider",
            "input_type_shape": [{"float16": [1]}],
        },
    )
    assert (row["device"], row["names"], row["precision"]) == ("cuda", ["conv"], "float16")


def perceptron() -> ir.Model:
    """x (1, 512) through two constant matrices, 512x640 and 640x8: too large to be folded into floats."""
    rng = np.random.default_rng(0)
    kind = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", shape=ir.Shape([1, 512]), type=kind)
    last, nodes, weights = x, [], []
    for index, shape in enumerate(((512, 640), (640, 8))):
        array = rng.normal(size=shape).astype(np.float32)
        weight = ir.Value(name=f"w{index}", const_value=ir.tensor(array, name=f"w{index}"))
        node = ir.node("MatMul", [last, weight], name=f"product{index}")
        last = node.outputs[0]
        last.name, last.shape, last.type = f"y{index}", ir.Shape([1, shape[1]]), kind
        nodes.append(node)
        weights.append(weight)
    graph = ir.Graph([x], [last], nodes=nodes, initializers=weights, opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("precision", [Precision.DYNAMIC, Precision.W8])
@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu", "litert-cpu"])
def test_integer_weights_alone_run_as_asked_on(name: str, precision: Precision, tmp_path: Path) -> None:
    target = targets.load(name)
    graph = canonicalize(perceptron())
    plan = place_weights(graph, target, precision)
    made = Variant(apply(graph, plan), precision, left_float=plan.left_float)
    backend = registry.backend(target.backend)
    request = CompileRequest(made.model, target, precision, target.run.options(), "m", plan.digest)
    artifact = backend.compile(request, tmp_path)
    with backend.open(artifact, artifact.options) as session:
        assert isinstance(session, WorkerSession)
        session.time_ms({"x": np.ones((1, 512), np.float32)}, runs=1)
        rows = session.executed()
    found = measure(made, rows, device="cpu")
    assert found is not None
    assert (found.share, found.operators, found.elsewhere) == (1.0, 2, ())


def test_of_onnx_runtime_one_session_at_a_time_holds_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: with the engine's own session left open, a first one lives when the second is opened."""
    opened: list[weakref.ref[Any]] = []
    alive: list[int] = []
    real = onnxruntime_engine._session

    def counted(*given: Any, **named: Any) -> Any:
        alive.append(sum(each() is not None for each in opened))
        session, facts = real(*given, **named)
        opened.append(weakref.ref(session))
        return session, facts

    monkeypatch.setattr(onnxruntime_engine, "_session", counted)
    path = tmp_path / "m.onnx"
    ir.save(model(broken=False), path)
    engine = onnxruntime_engine.OnnxRuntimeEngine(path, RunOptions(), ["x"], ["y"])
    feeds = {"x": np.random.default_rng(0).random((1, 32, 4, 4), np.float32)}
    engine.bind(feeds)
    engine.invoke()
    before = engine.fetch()["y"]
    assert engine.executed()
    engine.bind(feeds)
    engine.invoke()
    np.testing.assert_array_equal(engine.fetch()["y"], before)
    assert alive == [0, 0, 0]
