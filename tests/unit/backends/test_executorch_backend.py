"""ExecuTorch: numbers of the plan on its runtime, XNNPACK really computes, and what it leaves is an error.

Two programs are compiled for all of this: PyTorch and ExecuTorch take seconds to be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import executorch as backend_module
from edgekit.backends import executorch_file, executorch_trace, registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.executorch_engine import hold_to_delegate
from edgekit.backends.executorch_file import XNNPACK, Calls
from edgekit.backends.executorch_lowering import LINEAR, LargeBiasError, lowered
from edgekit.backends.executorch_program import checked
from edgekit.backends.executorch_trace import Event
from edgekit.backends.installed import installed_version
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker import WorkerSession
from edgekit.errors import (
    EdgekitError,
    ExitCode,
    InputError,
    MissingBackendError,
    ModelFileError,
    TargetRefusalError,
)
from edgekit.ir.graph import constant
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Artifact, Availability, Precision, Range, RunOptions

TARGET = targets.load("executorch-xnnpack")
HERE = pytest.mark.skipif(
    not (installed_version("executorch") and installed_version("torch")), reason="executorch is not installed"
)
SHAPES = {"w": (8, 3, 3, 3), "b": (8,), "v": (8, 8, 3, 3), "u": (8,), "g": (8, 6), "c": (6,)}
# a residual network: convolutions, an addition, pools, and a dense layer, for a batch of any size
BODY = """
    a = Conv<pads = [1, 1, 0, 0]>(x, w, b)
    r = Relu(a)
    d = Conv<pads = [1, 1, 1, 1]>(r, v, u)
    e = Add(r, d)
    m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(e)
    [pool] p = GlobalAveragePool(m)
    f = Flatten(p)
    h = MatMul(f, g)
    y = Add(h, c)
"""

# what the delegate takes in other words only: a normalization, a square, a mean over all; and what it lacks
MORE = """
    l = LayerNormalization<epsilon = 0.001>(y, c, c)
    q = Pow(x, two)
    s = ReduceMean<keepdims = 0>(q, all)
    i = ArgMax<axis = 1>(y)
"""


def model(*, index: bool) -> ir.Model:
    """The network; ``index``: more outputs, of which XNNPACK cannot compute the largest class."""
    rng = np.random.default_rng(0)
    texts = []
    for name, shape in SHAPES.items():
        values = ", ".join(f"{each:.4f}" for each in (rng.standard_normal(shape) / 3).ravel())
        texts.append(f"float[{', '.join(map(str, shape))}] {name} = {{{values}}}")
    outputs = "float[n, 6] y, float[n, 6] l, float[n] s, int64[n, 1] i" if index else "float[n, 6] y"
    last = MORE if index else ""
    texts += ["float two = {2}", "int64[3] all = {1, 2, 3}"] if index else []
    head = '<ir_version: 10, opset_import: ["" : 21]>'
    return canonicalize(
        ir.from_onnx_text(
            f"{head} g (float[n, 3, 8, 8] x) => ({outputs}) <{', '.join(texts)}> {{ {BODY} {last} }}"
        )
    )


def quantized(form: ir.Model) -> ir.Model:
    """With one range for all activations: wide enough, and no calibration."""
    names = {value.name for node in form.graph for value in node.outputs if value.name} | {"x"}
    ranges = {name: Range(-4.0, 4.0) for name in names}
    return apply(form, place(form, TARGET, ranges, precision=Precision.W8A8, keep_float={}))


def samples(count: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)}


@dataclass(frozen=True)
class Made:
    """A compiled artifact and the model it stands for."""

    form: ir.Model
    artifact: Artifact


def compiled(form: ir.Model, folder: Path, precision: Precision, *, portable: bool) -> Made:
    options = TARGET.run.options(allow_fallback=portable)
    request = CompileRequest(form, TARGET, precision, options, "m")
    return Made(form, registry.backend("executorch").compile(request, folder))


@pytest.fixture(scope="module")
def with_index(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Float, with an operator outside of the delegate; the compiler leaves nothing in the home folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("XDG_CACHE_HOME", raising=False)
        made = compiled(model(index=True), tmp_path_factory.mktemp("float"), Precision.FP32, portable=True)
    assert list(home.rglob("*")) == []
    return made


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Made:
    form = quantized(model(index=False))
    return compiled(form, tmp_path_factory.mktemp("int8"), Precision.W8A8, portable=False)


@HERE
def test_float_computes_what_onnx_does_for_any_batch_and_says_what_lies_outside(with_index: Made) -> None:
    artifact = with_index.artifact
    with (
        registry.backend("executorch").open(artifact, artifact.options) as session,
        open_model(with_index.form, RunOptions()) as wanted,
    ):
        for count in (1, 64, 3):
            got, right = session.run(samples(count)), wanted.run(samples(count))
            for name in ("y", "l", "s"):
                apart = np.abs(got[name].astype(float) - right[name].astype(float))
                assert apart.max() <= 1e-5, name
            np.testing.assert_array_equal(got["i"], right["i"])
        assert int(session.facts["delegates"].removeprefix(XNNPACK)) >= 1
        assert session.facts["outside"] == "aten::argmax.out"
        assert session.facts["threads"] == "1"
        assert isinstance(session, WorkerSession)
        session.time_ms(samples(1), runs=1)
        rows = session.executed() or ()
        assert {(row.operator, row.device) for row in rows if row.device != "cpu"} == {("argmax", "portable")}
        assert {row.precision for row in rows if row.multiplies} == {"float32"}
        with pytest.raises(InputError, match="64 at most"):  # last: what a failed call leaves is not known
            session.run(samples(65))


@HERE
def test_int8_gives_the_integers_of_the_plan_and_xnnpack_runs_integer_kernels(integers: Made) -> None:
    artifact = integers.artifact
    (step,) = {value for name, value in quantization_steps(integers.form).items() if name == "y"}
    with (
        registry.backend("executorch").open(artifact, artifact.options) as session,
        open_model(integers.form, RunOptions()) as wanted,
    ):
        got, right = (each.run(samples(64))["y"].astype(float) for each in (session, wanted))
        apart = np.abs(got - right) / step
        assert apart.max() <= 1.01  # one step; on x86 it is 0
        assert np.unique(np.round(right / step)).size > 10  # the outputs are no constants
        assert isinstance(session, WorkerSession)
        session.time_ms(samples(1), runs=1)
        rows = session.executed() or ()
        profile = session.profile(samples(1), runs=2)
    assert {row.device for row in rows} == {"cpu"}
    assert {row.precision for row in rows if row.multiplies} == {"int8"}
    assert sum(row.multiplies for row in rows) == 3
    assert profile is not None
    assert all(len(each.us) == 2 and not each.outside for each in profile.kernels)
    assert len(profile.kernels) == len(rows)
    assert {each.operator for each in profile.kernels} >= {"Convolution", "Fully Connected"}


def quantization_steps(form: ir.Model) -> Mapping[str, float]:
    """Scale of each DequantizeLinear that gives an output of the model."""
    scales = {}
    for node in form.graph:
        scale = constant(node.inputs[1]) if node.op_type == "DequantizeLinear" else None
        if scale is not None and scale.size == 1:
            scales[node.outputs[0].name or ""] = float(scale.reshape(()))
    return scales


@HERE
def test_a_file_that_xnnpack_does_not_compute_whole_is_not_opened(with_index: Made) -> None:
    """The sabotage: the very file of an allowed fall-back, opened where nobody has allowed it."""
    path = with_index.artifact.path
    assert str(path.parent).encode() not in path.read_bytes()  # nor anything else of this machine
    calls = executorch_file.calls_of(path)
    hold_to_delegate(path, calls, allowed=True)
    with pytest.raises(ModelFileError, match=r"not all of it: aten::argmax\.out"):
        hold_to_delegate(path, calls, allowed=False)


def test_a_file_without_the_delegate_is_not_opened() -> None:
    path = Path("m.pte")
    for allowed in (False, True):  # nothing is left to it: a program of another delegate, or of none
        with pytest.raises(ModelFileError, match=r"computes nothing of it in m\.pte"):
            hold_to_delegate(path, Calls({"OtherBackend": 1}, {}), allowed=allowed)
    hold_to_delegate(path, Calls({XNNPACK: 1}, {}), allowed=False)


@HERE
def test_a_damaged_file_is_named_before_native_code_sees_it(with_index: Made, tmp_path: Path) -> None:
    content, path = with_index.artifact.path.read_bytes(), tmp_path / "m.pte"
    for kept in (b"", content[:7], content[:300], content[:4] + b"XX12" + content[8:], b"\xff" * 400):
        path.write_bytes(kept)
        with pytest.raises(ModelFileError, match=r"m\.pte is not a readable ExecuTorch program"):
            executorch_file.calls_of(path)


def test_what_the_delegate_leaves_is_a_refusal_that_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is played by what it says."""

    def said(_function: str, arguments: Mapping[str, Any], **_words: str) -> dict[str, Any]:
        Path(arguments["out"]).write_bytes(b"program")
        return {"delegates": {XNNPACK: 2}, "kernels": {"aten::argmax.out": 1, "aten::cumsum.out": 2}}

    monkeypatch.setattr(backend_module, "call_in_worker", said)
    monkeypatch.setattr(
        backend_module.ExecuTorch, "probe", lambda _self, _target: Availability(True, "1.5.1")
    )
    form = model(index=True)
    with pytest.raises(TargetRefusalError) as caught:
        compiled(form, tmp_path, Precision.FP32, portable=False)
    assert caught.value.exit_code is ExitCode.TARGET_REFUSES
    assert [each.node for each in caught.value.rejections] == ["aten::argmax.out", "aten::cumsum.out"]
    assert "allow_fallback = true" in caught.value.remedy
    assert not list(tmp_path.iterdir())
    made = compiled(form, tmp_path, Precision.FP32, portable=True)
    assert "aten::cumsum.out x2" in made.artifact.notes[0]


def test_without_the_package_the_line_to_type_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "installed_version", lambda *_names: "")
    found = registry.backend("executorch").probe(TARGET)
    assert not found.ok
    assert found.remedy == 'pip install "edgekit[executorch]"'
    with pytest.raises(MissingBackendError, match="executorch is not installed"):
        compiled(model(index=False), tmp_path, Precision.FP32, portable=False)


def test_an_operator_without_a_counterpart_is_refused_without_pytorch() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Acosh(x) }'
    (found,) = registry.backend("executorch").check(ir.from_onnx_text(text), TARGET)
    assert (found.rule, found.reason) == ("operator", "PyTorch gets no Acosh from edgekit")
    assert registry.backend("executorch").check(quantized(model(index=False)), TARGET) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("executorch.largest", "0"),
        ("executorch.largest", "many"),
        ("executorch.portable", "yes"),
        ("cuda.graph", "1"),
    ],
)
def test_an_unknown_setting_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"unknown setting {name}"):
        checked({name: value})
    assert checked({}) == dict(TARGET.run.options().settings)


def test_allow_fallback_says_so_to_executorch_and_to_nothing_else() -> None:
    settings = dict(TARGET.run.options(allow_fallback=True).settings)
    assert settings == {"executorch.largest": "64", "executorch.portable": "allow"}


def test_biases_and_zero_points_become_what_pytorch_wants_and_the_model_stays() -> None:
    form = quantized(model(index=False))
    before = [node.op_type for node in form.graph]
    found = lowered(form)
    assert [node.op_type for node in form.graph] == before
    for node in found.graph:
        if node.op_type == "DequantizeLinear":
            held, zero = constant(node.inputs[0]), constant(node.inputs[2])
            assert held is None or (held.dtype == np.int8 and zero is not None and zero.dtype == np.int64)
        if node.op_type in {"Conv", "Gemm"}:
            bias = constant(node.inputs[2])
            assert bias is not None
            assert bias.dtype == np.float32


DENSE = """<ir_version: 10, opset_import: ["" : 21]>
g (float[2, 5, 3] x) => (float[2, 5, 2] y) <%s, float[2] b = {7, 8}> { %s h = MatMul(x, w) y = Add(h, b) }"""


def test_a_product_with_a_matrix_becomes_a_dense_layer_with_its_channels_in_front() -> None:
    text = DENSE % ("float[3, 2] w = {1, 2, 3, 4, 5, 6}", "")
    (layer,) = lowered(ir.from_onnx_text(text)).graph
    weight = constant(layer.inputs[1])
    assert (layer.op_type, layer.outputs[0].name, len(layer.inputs)) == (LINEAR, "y", 3)
    assert weight is not None
    assert weight.tolist() == [[1, 3, 5], [2, 4, 6]]
    scales = "int8[3, 2] q = {1, 2, 3, 4, 5, 6}, float[2] s = {0.5, 0.25}, int8[2] z = {0, 0}"
    form = ir.from_onnx_text(DENSE % (scales, "w = DequantizeLinear<axis = 1>(q, s, z)"))
    dequantize, layer = lowered(form).graph
    assert dequantize.attributes["axis"].as_int() == 0
    weight = constant(dequantize.inputs[0])
    assert weight is not None
    assert weight.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert layer.inputs[1] is dequantize.outputs[0]


def test_what_dequantizes_an_activation_has_one_reader() -> None:
    """L2: the network's residual reads one value twice."""
    form = quantized(model(index=False))
    shared = [
        node for node in form.graph if node.op_type == "DequantizeLinear" and len(node.outputs[0].uses()) > 1
    ]
    assert shared
    for node in lowered(form).graph:
        if node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is None:
            assert len(node.outputs[0].uses()) <= 1


def test_a_bias_that_a_float_cannot_hold_is_refused() -> None:
    """L1, and one step below it is taken."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (float[1, 2] x) => (float[1, 2] y) <int32[2] q = {%d, 1}, float s = {0.5}, int32 z = {0}>
    { b = DequantizeLinear(q, s, z) y = Add(x, b) }"""
    with pytest.raises(LargeBiasError, match="bias q"):
        lowered(ir.from_onnx_text(text % 2**24))
    (add,) = lowered(ir.from_onnx_text(text % (2**24 - 1))).graph
    bias = constant(add.inputs[1])
    assert bias is not None
    assert bias.tolist() == [(2**24 - 1) / 2, 0.5]


@pytest.mark.parametrize(
    ("name", "operator", "precision", "multiplies", "outside"),
    [
        ("Convolution (NHWC, QC8) IGEMM #1", "Convolution", "int8", True, False),
        ("Fully Connected (NC, QS8, QC8W) GEMM #1", "Fully Connected", "int8", True, False),
        ("Fully Connected (NC, F32) GEMM #2", "Fully Connected", "float32", True, False),
        ("Max Pooling (NHWC, S8) #1", "Max Pooling", "int8", False, False),
        ("Transpose (ND, X8) #2", "Transpose", "", False, False),
        ("native_call_addmm.out", "addmm", "float32", True, True),
        ("native_call_argmax.out", "argmax", "", False, True),
    ],
)
def test_the_runtimes_words_are_understood(
    name: str, operator: str, precision: str, multiplies: bool, outside: bool
) -> None:
    found = Event(name, 1.0)
    assert (found.operator, found.precision) == (operator, precision)
    assert (found.multiplies, found.outside) == (multiplies, outside)


def test_kernels_of_one_name_in_two_delegates_are_two() -> None:
    runs = [
        [Event("Convolution (NHWC, F32) IGEMM #1", us), Event("Convolution (NHWC, F32) IGEMM #1", 2 * us)]
        for us in (1.0, 3.0)
    ]
    assert [each.us for each in executorch_trace.kernels_of(runs)] == [(1.0, 3.0), (2.0, 6.0)]
    assert len(executorch_trace.executed_in(runs[0])) == 2
    with pytest.raises(EdgekitError, match="different kernels"):
        executorch_trace.kernels_of([runs[0], runs[1][:1]])


def test_kernels_are_named_in_words() -> None:
    assert Calls({}, {}).portable == ""
    assert Calls({}, {"a": 1, "b": 3}).portable == "a, b x3"
    assert executorch_file.XNNPACK == "XnnpackBackend"
    assert executorch_trace.Event("Add (ND) #1", 2.0).kernel == "Add (ND)"
