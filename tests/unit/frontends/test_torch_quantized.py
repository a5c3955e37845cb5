"""Models that come quantized keep their scales bit for bit; the ONNX graph computes the same to one step.

PT2E of torchao and fake-quantized modules of torch.ao; seeds 0. The reference is the quantized torch model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.errors import ExportError
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.source import load
from edgekit.frontends.torch import load_module
from edgekit.frontends.torch_quantized import freeze, integer_weights
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
MODULE: Any = torch.nn.Module

X = TensorSpec("x", "float32", ("batch", 3, 8, 8))
IMAGES = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)


class Net(MODULE):  # type: ignore[misc]  # torch may be absent, then nothing here runs
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.linear = torch.nn.Linear(128, 5)

    def forward(self, x: Any) -> Any:
        return self.linear(torch.max_pool2d(torch.relu(self.conv(x)), 2).flatten(1))


def pt2e(*, reduce_range: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's own, on import and on every call
        quantizers = pytest.importorskip("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
        steps = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
        shapes = {"x": {0: torch.export.Dim("batch")}}
        with quiet():
            graph = torch.export.export(
                Net().eval(), (torch.from_numpy(IMAGES),), dynamic_shapes=shapes
            ).module()
            config = quantizers.get_default_x86_inductor_quantization_config(reduce_range=reduce_range)
            prepared = steps.prepare_pt2e(graph, quantizers.X86InductorQuantizer().set_global(config))
            prepared(torch.from_numpy(IMAGES))
            return steps.convert_pt2e(prepared)


def export(module: Any, **changes: Any) -> Loaded:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is an Enum subclass")
        return load_module(module, SourceRequest("model.py:build", Path(), inputs=(X,), **changes))


def assert_within_a_step(loaded: Loaded, step: float) -> None:
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    assert loaded.reference is not None
    (want,) = loaded.reference.run({"x": IMAGES}).values()
    (have,) = session.run(None, {"x": IMAGES})
    assert np.abs(want - have).max() <= step * (1 + 1e-6)  # the step itself is rounded


def constants(model: ir.Model, kind: str) -> list[tuple[Any, Any]]:
    """Scale and zero point of every node of one kind, in the graph's order."""
    found = []
    for node in model.graph:
        if node.op_type == kind:
            _, scale, zero_point = (value.const_value if value else None for value in node.inputs)
            assert scale is not None
            assert zero_point is not None
            found.append((scale.numpy(), zero_point.numpy()))
    return found


@dataclass(frozen=True)
class Reduced:
    id: str
    reduce_range: bool
    clips: int


@pytest.mark.parametrize(
    "case", [Reduced("whole-range", False, 0), Reduced("0-to-127", True, 2)], ids=lambda case: case.id
)
def test_pt2e_keeps_its_scales(case: Reduced) -> None:
    converted = pt2e(reduce_range=case.reduce_range)
    nodes = [
        node
        for node in converted.graph.nodes
        if "quantized_decomposed.quantize_per_tensor" in str(node.target)
    ]
    weights = [
        (converted.get_buffer(f"_scale_{i}"), converted.get_buffer(f"_frozen_param{i}")) for i in (0, 1)
    ]
    loaded = export(converted)
    assert [(float(s), int(z)) for s, z in constants(loaded.model, "QuantizeLinear")] == [
        (float(np.float32(node.args[1])), node.args[2]) for node in nodes
    ]
    dequantized = [node for node in loaded.model.graph if node.op_type == "DequantizeLinear"]
    of_weights = [
        node for node in dequantized if node.inputs[0] is not None and node.inputs[0].is_initializer()
    ]
    for node, (scale, integers) in zip(of_weights, weights, strict=True):
        stored, stored_scale = (v.const_value for v in node.inputs[:2] if v is not None)
        assert stored is not None
        assert stored_scale is not None
        np.testing.assert_array_equal(stored.numpy(), integers.numpy())
        np.testing.assert_array_equal(stored_scale.numpy(), scale.numpy())
    assert sum(node.op_type == "Clip" for node in loaded.model.graph) == case.clips
    assert loaded.notes == ("the model came quantized: 4 tensors keep their own scales",)
    # One step of the last quantized tensor, through weights of the linear layer.
    assert_within_a_step(loaded, float(constants(loaded.model, "QuantizeLinear")[-1][0]))


def test_a_saved_pt2e_program_is_the_same_model(tmp_path: Path) -> None:
    converted = pt2e(reduce_range=False)
    with quiet():
        shapes = {"x": {0: torch.export.Dim("batch")}}
        program = torch.export.export(converted, (torch.from_numpy(IMAGES),), dynamic_shapes=shapes)
        torch.export.save(program, tmp_path / "m.pt2")
    loaded = load(SourceRequest("m.pt2", tmp_path))
    assert [spec.name for spec in io.specs(loaded.model)[1]] == ["output"]
    assert constants(loaded.model, "QuantizeLinear") == constants(export(converted).model, "QuantizeLinear")


def fake_quantized(qconfig: Any, change: Callable[[Any], Any] = lambda module: module) -> Any:
    quantization = torch.ao.quantization
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated in favour of torchao
        module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 5)
        )
        wrapped = quantization.QuantWrapper(module).train()
        wrapped.qconfig = qconfig
        torch.manual_seed(0)
        quantization.prepare_qat(wrapped, inplace=True)
        wrapped(torch.from_numpy(IMAGES))
        change(wrapped)
        return wrapped


@dataclass(frozen=True)
class Config:
    id: str
    name: str
    version: int
    weights: str


@pytest.mark.parametrize(
    "case",
    [
        Config("x86-per-channel-fused", "x86", 1, "int8"),
        Config("qnnpack-per-tensor", "qnnpack", 1, "int8"),
        Config("x86-branches-on-its-buffers", "x86", 0, "int8"),
    ],
    ids=lambda case: case.id,
)
def test_fake_quantizers_become_integers_with_the_trained_scales(case: Config) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        qconfig = torch.ao.quantization.get_default_qat_qconfig(case.name, version=case.version)
    module = fake_quantized(qconfig)
    trained = module.module[0].weight_fake_quant.scale.clone().numpy()
    loaded = export(module)
    convs = [node for node in loaded.model.graph if node.op_type == "Conv"]
    weight = convs[0].inputs[1]
    assert weight is not None
    dequantize = weight.producer()
    assert dequantize is not None
    stored, scale = (value.const_value for value in dequantize.inputs[:2] if value is not None)
    assert stored is not None
    assert scale is not None
    assert stored.numpy().dtype == case.weights
    np.testing.assert_array_equal(scale.numpy().ravel(), trained.ravel())
    assert "fake quantizers keep the scales" in loaded.notes[0]
    assert not [v for v in loaded.model.graph.initializers.values() if not v.uses()]  # no float weights left
    assert_within_a_step(loaded, float(constants(loaded.model, "QuantizeLinear")[-1][0]))


class Fake(MODULE):  # type: ignore[misc]  # as above
    """What a FakeQuantize module looks like from outside."""

    def __init__(self, low: int, high: int, *, qscheme: str = "torch.per_tensor_affine", on: int = 1) -> None:
        super().__init__()
        self.fake_quant_enabled = torch.tensor([on])
        self.scale, self.zero_point = torch.tensor([0.01]), torch.tensor([0])
        self.quant_min, self.quant_max, self.qscheme = low, high, qscheme

    def forward(self, x: Any) -> Any:
        raise AssertionError("it is frozen before it runs")


@dataclass(frozen=True)
class Width:
    id: str
    low: int
    high: int
    kinds: list[str]


@pytest.mark.parametrize(
    "case",
    [
        Width("int4-in-int8", -8, 7, ["Clip", "QuantizeLinear", "DequantizeLinear"]),
        Width("int16", -(2**15), 2**15 - 1, ["QuantizeLinear", "DequantizeLinear"]),
        Width("int32", -(2**31), 2**31 - 1, ["Mul", "Round", "Clip", "Cast", "DequantizeLinear"]),
    ],
    ids=lambda case: case.id,
)
def test_integers_of_other_widths(case: Width) -> None:
    loaded = export(Fake(case.low, case.high))
    assert [node.op_type for node in loaded.model.graph if node.op_type in case.kinds] == case.kinds
    assert_within_a_step(loaded, 0.0)


@dataclass(frozen=True)
class Refused:
    id: str
    fake: Callable[[], Any]
    text: str


@pytest.mark.parametrize(
    "case",
    [
        Refused("too-wide", lambda: Fake(0, 2**40), "quantizes to an integer from 0 to 1099511627776"),
        Refused("float-zero-points", lambda: Fake(0, 255, qscheme="float_qparams"), "no integers"),
    ],
    ids=lambda case: case.id,
)
def test_what_onnx_has_no_integers_for_is_refused(case: Refused) -> None:
    with pytest.raises(ExportError, match=case.text):
        freeze(case.fake())


def test_16_bits_need_the_opset_that_has_them() -> None:
    with pytest.raises(ExportError, match="quantizes to int16, which ONNX has since opset 21") as refused:
        export(Fake(-(2**15), 2**15 - 1), opset=18)
    assert refused.value.remedy == "leave --opset out"


def test_a_fake_quantizer_that_is_off_does_nothing() -> None:
    module = Fake(0, 255, on=0)
    assert len(freeze(module)) == 1
    x = torch.ones(2)
    assert module(x) is x


def test_weights_are_rounded_by_torchs_formula_and_nothing_else_is_touched() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y)'
        "<float[2] w = {-0.25, 200.0}, float s = {0.1}, int8 z = {0}>"
        "{ q = QuantizeLinear(w, s, z)\n d = DequantizeLinear(q, s, z)\n y = Mul(x, d) }"
    )
    integer_weights(model)
    assert [node.op_type for node in model.graph] == ["DequantizeLinear", "Mul"]
    assert sorted(model.graph.initializers) == ["q", "s", "z"]
    stored = model.graph.initializers["q"].const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), np.array([-2, 127], np.int8))  # ties go to even
