"""Operators whose meaning or form changed between opset 7 and 21 compute the same after lifting.

Both models run on ONNX Runtime without its graph optimizations. Tolerance: none, the arithmetic is the same,
except where ROUNDING says so. Inputs: standard normal, seed 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.errors import ModelFileError
from edgekit.ir import io
from edgekit.ir.infer import infer_shapes
from edgekit.ir.opset import convert_opset
from edgekit.spec import Array

ROUNDING = {"softmax": 1e-7, "log": 1e-6, "average": 2e-7}  # other kernels, or another order of sums
IR_VERSION = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8}
X = "float[2, 3, 4, 5] x"


@dataclass(frozen=True)
class Case:
    """One operator: opset, text of nodes (x: float[2, 3, 4, 5] unless said) and constants."""

    id: str
    opset: int
    nodes: str
    constants: str = ""
    given: str = X
    shape: tuple[int, ...] = (2, 3, 4, 5)
    arrays: dict[str, Any] = field(default_factory=dict)
    ir_version: int = 0

    def model(self) -> ir.Model:
        version = self.ir_version or max(4, IR_VERSION[self.opset])  # 3 wants initializers among the inputs
        head = f'<ir_version: {version}, opset_import: ["" : {self.opset}]>\n'
        constants = f"<{self.constants}>" if self.constants else ""
        text = f"g ({self.given}) => (y) {constants} {{ {self.nodes} }}"
        tensors = [ir.tensor(np.asarray(array), name=name) for name, array in self.arrays.items()]
        return infer_shapes(
            _outputs_typed(ir.from_onnx_text((head + text).replace("'", '"'), initializers=tensors))
        )


def _outputs_typed(model: ir.Model) -> ir.Model:
    for value in model.graph.outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    return model


def run(model: ir.Model, x: Array) -> Any:
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(io.to_bytes(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


_VALUES = {"s": [1.0, 2, 3], "b": [0.1, 0.2, 0.3], "m": [0.5, 0, -0.5], "v": [1.0, 2, 0.5]}
BATCHNORM = {name: np.array(value, np.float32) for name, value in _VALUES.items()}
BN_TEXT = "float[3] s, float[3] b, float[3] m, float[3] v"


def recurrent(gates: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "w": rng.standard_normal((1, gates * 3, 5)).astype(np.float32),
        "r": rng.standard_normal((1, gates * 3, 3)).astype(np.float32),
    }


CASES = (
    Case("upsample-7", 7, "y = Upsample <mode = 'nearest', scales = [1.0, 1.0, 2.0, 3.0]> (x)"),
    Case("upsample-7-linear", 7, "y = Upsample <mode = 'linear', scales = [1.0, 1.0, 2.0, 2.0]> (x)"),
    Case("upsample-9", 9, "y = Upsample (x, k)", "float[4] k = {1.0, 1.0, 1.5, 2.0}"),
    Case("resize-10-up", 10, "y = Resize (x, k)", "float[4] k = {1.0, 1.0, 1.5, 2.0}"),
    Case("resize-10-down", 10, "y = Resize (x, k)", "float[4] k = {1.0, 1.0, 0.6, 0.6}"),
    Case("resize-10-linear", 10, "y = Resize <mode = 'linear'> (x, k)", "float[4] k = {1.0, 1.0, 0.6, 1.7}"),
    Case(
        "resize-11-sizes",
        11,
        "y = Resize <mode = 'linear', coordinate_transformation_mode = 'align_corners'> (x, e, e, z)",
        "float[0] e = {}, int64[4] z = {2, 3, 7, 9}",
    ),
    Case(
        "resize-11-tf",
        11,
        "y = Resize <coordinate_transformation_mode = 'tf_half_pixel_for_nn',"
        " nearest_mode = 'floor'> (x, e, k)",
        "float[0] e = {}, float[4] k = {1.0, 1.0, 0.6, 1.7}",
    ),
    Case("batchnorm-7", 7, "y = BatchNormalization <spatial = 1> (x, s, b, m, v)", BN_TEXT, arrays=BATCHNORM),
    Case("dropout-7", 7, "y = Dropout <ratio = 0.7> (x)"),
    Case("dropout-10-mask", 10, "a, mask = Dropout <ratio = 0.7> (x) y = Abs(a)"),
    Case("softmax-default", 7, "y = Softmax (x)"),
    Case("softmax-last", 11, "y = Softmax <axis = -1> (x)"),
    Case("softmax-negative", 11, "y = Softmax <axis = -2> (x)"),
    Case("softmax-first", 9, "y = Softmax <axis = 0> (x)"),
    Case("log-softmax", 9, "y = LogSoftmax <axis = 2> (x)"),
    Case("hardmax", 9, "y = Hardmax <axis = 1> (x)"),
    Case("softmax-rows", 8, "y = Softmax (x)", given="float[4, 5] x", shape=(4, 5)),
    Case("squeeze", 11, "a = Unsqueeze <axes = [0, -1]> (x) y = Squeeze <axes = [0]> (a)"),
    Case("reduce-sum", 11, "y = ReduceSum <axes = [1, -1], keepdims = 0> (x)"),
    Case("reduce-all", 9, "y = ReduceMean <keepdims = 0> (x)"),
    Case("reduce-max", 13, "y = ReduceMax <axes = [2]> (x)"),
    Case("reduce-l2", 17, "y = ReduceL2 <axes = [2, 3]> (x)"),
    Case("slice", 9, "y = Slice <starts = [1, -3], ends = [3, 1000], axes = [1, 3]> (x)"),
    Case("slice-no-axes", 9, "y = Slice <starts = [0, 1], ends = [1, 3]> (x)"),
    Case("pad", 10, "y = Pad <pads = [0, 0, 1, 2, 0, 0, 0, 1], value = 0.5> (x)"),
    Case("pad-reflect", 10, "y = Pad <mode = 'reflect', pads = [0, 0, 1, 2, 0, 0, 0, 1]> (x)"),
    Case("clip", 10, "y = Clip <min = -0.5, max = 0.5> (x)"),
    Case("clip-one-side", 7, "y = Clip <min = 0.0> (x)"),
    Case("top-k", 9, "y, i = TopK <k = 2, axis = -1> (x)"),
    Case("top-k-10", 10, "y, i = TopK <axis = 1> (x, k)", "int64[1] k = {2}"),
    Case("cast", 7, "a = Cast <to = 6> (x) y = Cast <to = 1> (a)"),
    Case(
        "gemm",
        7,
        "f = Flatten <axis = 3> (x) y = Gemm <transB = 1, beta = 0.5> (f, w, c)",
        "float[2, 5] w, float[2] c = {1.0, 2.0}",
        arrays={"w": np.arange(10, dtype=np.float32).reshape(2, 5)},
    ),
    Case("split", 11, "y, b, c = Split <axis = 1> (x)"),
    Case("split-parts", 9, "a, y = Split <axis = 3, split = [2, 3]> (x)"),
    Case("split-13-equal", 13, "y, b = Split <axis = 2> (x)"),
    Case("expand", 8, "y = Expand (x, s)", "int64[5] s = {2, 1, 1, 1, 5}"),
    Case("prelu", 7, "y = PRelu (x, s)", "float[3, 1, 1] s = {0.1, 0.2, 0.3}"),
    Case("max-broadcast", 8, "y = Max (x, s)", "float[5] s = {0.1, 0.2, 0.3, 0.4, 0.5}"),
    Case("pow", 7, "a = Abs (x) y = Pow (a, s)", "float[1] s = {1.5}"),
    Case("average-pool", 7, "y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)"),
    Case("max-pool-ceil", 10, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)"),
    Case(
        "scatter",
        9,
        "y = Scatter <axis = 3> (x, i, u)",
        "int64[1, 1, 1, 2] i = {0, 2}, float[1, 1, 1, 2] u = {9.0, 8.0}",
    ),
    Case(
        "one-hot",
        9,
        "a = Cast <to = 7> (x) y = OneHot (a, d, o)",
        "int64[1] d = {3}, float[2] o = {0.0, 1.0}",
        given="float[4] x",
        shape=(4,),
    ),
    Case(
        "roi-align",
        10,
        "y = RoiAlign <output_height = 2, output_width = 2> (x, r, i)",
        "float[1, 4] r = {0.3, 0.4, 3.1, 2.9}, int64[1] i = {1}",
    ),
    Case(
        "grid-sample",
        16,
        "y = GridSample <mode = 'bilinear'> (x, g)",
        "float[2, 1, 2, 2] g = {0.1, 0.2, -0.3, 0.4, 0.5, 0.6, 0.7, -0.8}",
    ),
    Case(
        "lstm",
        7,
        "y, h = LSTM <hidden_size = 3> (x, w, r)",
        "float[1, 12, 5] w, float[1, 12, 3] r",
        given="float[4, 2, 5] x",
        shape=(4, 2, 5),
        arrays=recurrent(4),
    ),
    Case(
        "gru",
        7,
        "y, h = GRU <hidden_size = 3, linear_before_reset = 1> (x, w, r)",
        "float[1, 9, 5] w, float[1, 9, 3] r",
        given="float[4, 2, 5] x",
        shape=(4, 2, 5),
        arrays=recurrent(3),
    ),
    Case(
        "inside-a-branch",
        10,
        "y = If (c) <then_branch = t () => (a) { a = Clip <min = 0.0> (x) },"
        " else_branch = e () => (b) { s = ReduceSum <axes = [1]> (x) t = Add (x, s) b = Softmax (t) }>",
        "bool c = {0}",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_lifted_model_computes_the_same(case: Case) -> None:
    x = np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)
    model = case.model()
    want = run(model, x)
    lifted = convert_opset(model.clone(), 21)
    assert lifted.opset_imports[""] == 21
    lifted.ir_version = 10
    io.check(lifted)
    have = run(lifted, x)
    assert len(have) == len(want)
    for one, other in zip(have, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING.get(case.id.partition("-")[0], 0))


def test_a_limit_has_the_element_type_of_what_it_limits() -> None:
    head = '<ir_version: 4, opset_import: ["" : 9]> g (double[2] x) => (double[2] y) '
    text = head + "{ y = Clip <max = 0.5> (x) }"
    (node,) = [n for n in convert_opset(ir.from_onnx_text(text), 21).graph if n.op_type == "Clip"]
    assert node.inputs[1] is None
    assert node.inputs[2] is not None
    assert node.inputs[2].dtype == ir.DataType.DOUBLE


def test_names_and_constants_stay() -> None:
    case = next(case for case in CASES if case.id == "gemm")
    model = case.model()
    before = model.graph.initializers["w"].const_value
    lifted = convert_opset(model, 21)
    assert lifted.graph.initializers["w"].const_value is before
    assert [value.name for value in lifted.graph.outputs] == ["y"]


@dataclass(frozen=True)
class Refused:
    id: str
    opset: int
    nodes: str
    says: str
    constants: str = ""
    arrays: dict[str, Any] = field(default_factory=dict)


REFUSED = (
    Refused("older", 6, "y = Relu (x)", "opset 7 and later"),
    Refused("unknown-opset", 99, "y = Relu (x)", "the model is of opset 99, and onnx"),
    Refused(
        "spatial",
        8,
        "y = BatchNormalization <spatial = 0> (x, s, b, m, v)",
        "has spatial=0",
        BN_TEXT,
        BATCHNORM,
    ),
    Refused(
        "training",
        9,
        "y, o1 = BatchNormalization (x, s, b, m, v)",
        "is in training mode: it has an output 'o1'",
        BN_TEXT,
        BATCHNORM,
    ),
    Refused("mask", 7, "a, k = Dropout (x) y = Add (a, k)", "has a mask that is used"),
    Refused("mixed", 10, "y = Resize (x, k)", "enlarges one axis", "float[4] k = {1.0, 1.0, 2.0, 0.5}"),
    Refused(
        "computed",
        10,
        "k = Cast <to = 1> (c) y = Resize (x, k)",
        "scales that are computed",
        "int64[4] c = {1, 1, 2, 2}",
    ),
    Refused(
        "rounding",
        11,
        "y = Resize <coordinate_transformation_mode = 'tf_half_pixel_for_nn'> (x, e, k)",
        "with a rounding other than floor",
        "float[0] e = {}, float[4] k = {1.0, 1.0, 2.0, 2.0}",
    ),
    Refused("attribute", 13, "y = Relu <alpha = 0.1> (x)", "has the attributes alpha"),
    Refused("inputs", 13, "y = Relu (x, x)", "has 2 inputs"),
    Refused("operator", 8, "y = ImageScaler (x)", "ImageScaler 'y' is not an operator of ONNX"),
    Refused("gone", 13, "y = Upsample (x, k)", "no longer an operator", "float[4] k = {1.0, 1.0, 2.0, 2.0}"),
    Refused("untyped", 10, "a = Unknown (x) y = Clip <min = 0.0> (a)", "its element type is unknown"),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_cannot_be_said_any_more_is_refused(case: Refused) -> None:
    head = f'<ir_version: 4, opset_import: ["" : {case.opset}]>\n'
    constants = f"<{case.constants}>" if case.constants else ""
    tensors = [ir.tensor(np.asarray(array), name=name) for name, array in case.arrays.items()]
    text = f"{head} g ({X}) => (y) {constants} {{ {case.nodes} }}".replace("'", '"')
    model = ir.from_onnx_text(text, initializers=tensors)
    with pytest.raises(ModelFileError, match=case.says) as caught:
        convert_opset(model, 21)
    assert caught.value.remedy
