"""Float .tflite files against ONNX Runtime: 1e-4 of the output's range (the two sum in different orders).

Each case runs on XNNPACK and on the builtin kernels; inputs are standard normal, seed 1; a dynamic batch is
run with 1 and with 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgekit.spec import Dim
from tests.unit.litert.litert_models import Model, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # of the output's range: issue 5's bar
SEED = 1


@dataclass(frozen=True)
class Case:
    id: str
    shape: tuple[Dim, ...]
    make: Callable[[Model, str], str]
    positive: bool = False


def conv(out: int, kernel: tuple[int, ...], *, group: int = 1, bias: bool = True, **attributes: Any) -> Any:
    def make(model: Model, x: str, channels: int) -> str:
        parts = [x, model.weight(out, channels // group, *kernel)]
        if bias:
            parts.append(model.weight(out))
        return model.add("Conv", *parts, group=group, **attributes)

    return make


CONVOLUTIONS: tuple[tuple[str, tuple[Dim, ...], Any], ...] = (
    ("3x3", ("batch", 3, 9, 7), conv(5, (3, 3))),
    ("same", ("batch", 3, 9, 7), conv(5, (3, 3), pads=[1, 1, 1, 1])),
    ("stride-2-same", (1, 3, 9, 7), conv(5, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])),
    ("stride-2-even-explicit-pad", (1, 3, 8, 8), conv(5, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])),
    ("stride-2-same-upper", (1, 3, 8, 8), conv(5, (3, 3), pads=[0, 0, 1, 1], strides=[2, 2])),
    ("asymmetric-pads", (2, 3, 9, 7), conv(5, (3, 3), pads=[2, 0, 1, 3])),
    ("auto-same-upper", (1, 3, 8, 7), conv(5, (3, 2), auto_pad="SAME_UPPER", strides=[2, 2])),
    ("auto-same-lower", (1, 3, 8, 7), conv(5, (4, 2), auto_pad="SAME_LOWER", strides=[2, 1])),
    ("auto-valid", (1, 3, 8, 7), conv(5, (3, 2), auto_pad="VALID")),
    ("dilated", (1, 3, 11, 9), conv(4, (3, 3), dilations=[2, 3], pads=[2, 3, 2, 3])),
    ("dilated-stride", (1, 3, 11, 12), conv(4, (3, 3), dilations=[2, 2], strides=[2, 2])),
    ("depthwise", ("batch", 6, 9, 7), conv(6, (3, 3), group=6, pads=[1, 1, 1, 1])),
    ("depthwise-multiplier", (1, 3, 9, 7), conv(6, (3, 3), group=3, pads=[1, 1, 1, 1])),
    ("depthwise-dilated", (1, 3, 9, 9), conv(3, (3, 3), group=3, dilations=[2, 2], pads=[2, 2, 2, 2])),
    ("depthwise-stride", (1, 5, 8, 8), conv(5, (3, 3), group=5, pads=[1, 1, 1, 1], strides=[2, 2])),
    ("groups", (1, 6, 9, 7), conv(9, (3, 3), group=3, pads=[1, 1, 1, 1])),
    ("one-channel", (1, 1, 9, 7), conv(4, (5, 5), pads=[2, 2, 2, 2])),
    ("1x1-no-bias", (1, 7, 5, 5), conv(3, (1, 1), bias=False)),
    ("one-axis", ("batch", 4, 17), conv(6, (5,), pads=[2, 2], strides=[2])),
    ("one-axis-groups", (1, 4, 16), conv(8, (3,), group=2, pads=[1, 1])),
    ("kernel-as-large-as-input", (1, 2, 4, 4), conv(3, (4, 4))),
)


def pool(op: str, **attributes: Any) -> Callable[[Model, str], str]:
    return lambda model, x: model.add(op, x, **attributes)


POOLS: tuple[Case, ...] = (
    Case("max", ("batch", 3, 8, 8), pool("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
    Case("max-odd", (1, 3, 9, 7), pool("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
    Case("max-pads", (1, 3, 9, 7), pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    Case(
        "max-pads-even", (1, 3, 8, 8), pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    ),
    Case("max-ceil", (1, 3, 8, 7), pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    Case("max-one-axis", (1, 3, 11), pool("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 0])),
    Case("average", (1, 3, 8, 8), pool("AveragePool", kernel_shape=[2, 2], strides=[2, 2])),
    Case("average-same", (1, 3, 9, 7), pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    Case(
        "average-include",
        (1, 3, 9, 7),
        pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    Case(
        "average-exclude-uneven",
        (1, 3, 8, 8),
        pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ),
    Case(
        "average-ceil",
        (1, 3, 8, 7),
        pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    ),
    Case(
        "average-ceil-include",
        (1, 3, 8, 7),
        pool(
            "AveragePool",
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            ceil_mode=1,
            count_include_pad=1,
        ),
    ),
    Case("average-one-axis", (1, 3, 11), pool("AveragePool", kernel_shape=[3], strides=[2], pads=[1, 1])),
    Case("global-average", ("batch", 3, 5, 7), pool("GlobalAveragePool")),
    Case("global-max", (1, 3, 5, 7), pool("GlobalMaxPool")),
    Case("global-average-one-axis", (1, 3, 7), pool("GlobalAveragePool")),
)


def unary(op: str, **attributes: Any) -> Callable[[Model, str], str]:
    return lambda model, x: model.add(op, x, **attributes)


UNARY_OPERATORS = (
    *(
        "Abs",
        "Ceil",
        "Cos",
        "Elu",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
    ),
    *("Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus"),
    *("Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu"),
)

UNARY: tuple[Case, ...] = (
    *(
        Case(op.lower(), ("batch", 3, 4, 5), unary(op), positive=op in {"Log", "Sqrt", "Reciprocal"})
        for op in UNARY_OPERATORS
    ),
    Case("gelu-tanh", (2, 7), unary("Gelu", approximate="tanh")),
    Case("leaky-0.3", (2, 7), unary("LeakyRelu", alpha=0.3)),
    Case("elu-2", (2, 7), unary("Elu", alpha=2.0)),
    Case("hard-sigmoid-sixth", (2, 7), unary("HardSigmoid", alpha=1 / 6, beta=0.5)),
    Case("celu-2", (2, 7), unary("Celu", alpha=2.0)),
    Case("softmax", ("batch", 7), unary("Softmax")),
    Case("softmax-channels", (2, 5, 3, 4), unary("Softmax", axis=1)),
    Case("log-softmax", (2, 3, 7), unary("LogSoftmax", axis=-1)),
    Case("flatten", ("batch", 3, 4, 5), unary("Flatten")),
    Case("depth-to-space", (1, 8, 3, 4), unary("DepthToSpace", blocksize=2)),
    Case("space-to-depth", (1, 3, 4, 6), unary("SpaceToDepth", blocksize=2)),
    Case("transpose", (2, 3, 4, 5), unary("Transpose", perm=[3, 1, 0, 2])),
)

BINARY = tuple(
    Case(
        f"{op.lower()}-{name}",
        (2, 3, 4, 5),
        lambda model, x, op=op, shape=shape: model.add(op, x, model.weight(*shape)),  # type: ignore[misc]
    )
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")
    for name, shape in (("scalar", ()), ("channel", (3, 1, 1)), ("row", (5,)), ("full", (2, 3, 4, 5)))
)


def after_conv(tail: Callable[[Model, str], str]) -> Callable[[Model, str], str]:
    """The tail meets channels-last data: what the layout pass has to get right."""

    def make(model: Model, x: str) -> str:
        first = model.add("Conv", x, model.weight(6, 3, 3, 3), pads=[1, 1, 1, 1])
        return tail(model, first)

    return make


def _two(model: Model, x: str) -> tuple[str, str]:
    return x, model.add("Conv", x, model.weight(6, 6, 1, 1))


def _ints(model: Model, *values: int) -> str:
    return model.constant(np.asarray(values, np.int64))


def _gemm_after_flatten(model: Model, x: str) -> str:
    flat = model.add("Flatten", x)
    scaled = model.add("Mul", flat, model.weight(6 * 8 * 5))
    return model.add("Gemm", model.add("Relu", scaled), model.weight(6 * 8 * 5, 4), model.weight(4))


def _normalized_after_flatten(model: Model, x: str) -> str:
    """Statistics along a flattened block: they do not follow its channels-last order."""
    size = 6 * 8 * 5
    variance = model.constant(np.abs(model.rng.standard_normal(size)).astype(np.float32) + 0.5)
    parts = [model.weight(size), model.weight(size), model.weight(size), variance]
    return model.add("Tanh", model.add("BatchNormalization", model.add("Flatten", x), *parts))


def _quantized_after_flatten(model: Model, x: str) -> str:
    size = 6 * 8 * 5
    scale = model.constant(model.rng.uniform(0.01, 0.2, size).astype(np.float32))
    zero = model.constant(np.zeros(size, np.int8))
    flat = model.add("Tanh", model.add("Flatten", x))
    return model.add("DequantizeLinear", model.add("QuantizeLinear", flat, scale, zero), scale, zero)


def _residual(model: Model, x: str) -> str:
    y = model.add("Relu", model.add("Conv", x, model.weight(6, 6, 3, 3), pads=[1, 1, 1, 1]))
    return model.add("Clip", model.add("Add", x, y), model.scalar(0), model.scalar(6))


def _shuffle(model: Model, x: str) -> str:
    grouped = model.add("Reshape", x, _ints(model, 2, 2, 3, 8, 5))
    moved = model.add("Transpose", grouped, perm=[0, 2, 1, 3, 4])
    return model.add("Conv", model.add("Reshape", moved, _ints(model, 2, 6, 8, 5)), model.weight(4, 6, 1, 1))


def _squeeze_excite(model: Model, x: str) -> str:
    pooled = model.add("ReduceMean", x, _ints(model, 2, 3), keepdims=0)
    gate = model.add("Sigmoid", model.add("Gemm", pooled, model.weight(6, 6), model.weight(6)))
    return model.add("Mul", x, model.add("Unsqueeze", gate, _ints(model, 2, 3)))


def _attention(model: Model, x: str) -> str:
    rows = model.add("Transpose", model.add("Reshape", x, _ints(model, 2, 6, 40)), perm=[0, 2, 1])
    scores = model.add("MatMul", rows, model.add("Transpose", rows, perm=[0, 2, 1]))
    return model.add("MatMul", model.add("Softmax", scores), rows)


AFTER_CONV: tuple[Case, ...] = tuple(
    Case(name, (2, 3, 8, 5), after_conv(tail))
    for name, tail in (
        ("concat", lambda m, x: m.add("Concat", *_two(m, x), axis=1)),
        ("concat-width", lambda m, x: m.add("Concat", *_two(m, x), axis=-1)),
        ("gemm-after-flatten", _gemm_after_flatten),
        ("batch-norm-after-flatten", _normalized_after_flatten),
        ("scales-after-flatten", _quantized_after_flatten),
        ("residual", _residual),
        ("channel-shuffle", _shuffle),
        ("squeeze-excite", _squeeze_excite),
        ("attention", _attention),
        (
            "split",
            lambda m, x: m.add("Mul", m.add("Split", x, axis=1, num_outputs=2, outputs=2), m.weight(1)),
        ),
        ("slice", lambda m, x: m.add("Slice", x, _ints(m, 1, 2), _ints(m, 9, -1), _ints(m, 1, 2))),
        ("slice-steps", lambda m, x: m.add("Slice", x, _ints(m, 6), _ints(m, -9), _ints(m, 2), _ints(m, -2))),
        ("pad", lambda m, x: m.add("Pad", x, _ints(m, 0, 1, 2, 0, 0, 0, 1, 3))),
        ("pad-value", lambda m, x: m.add("Pad", x, _ints(m, 0, 0, 2, 0, 0, 0, 1, 3), m.weight())),
        ("pad-reflect", lambda m, x: m.add("Pad", x, _ints(m, 0, 0, 2, 1, 0, 0, 1, 3), mode="reflect")),
        ("reduce-channels", lambda m, x: m.add("ReduceMax", x, _ints(m, 1), keepdims=0)),
        ("reduce-height", lambda m, x: m.add("ReduceSum", x, _ints(m, 2), keepdims=1)),
        ("reduce-l2", lambda m, x: m.add("ReduceL2", x, _ints(m, 1, 3), keepdims=0)),
        ("log-sum-exp", lambda m, x: m.add("ReduceLogSumExp", x, _ints(m, 1), keepdims=0)),
        ("prelu", lambda m, x: m.add("PRelu", x, m.weight(6, 1, 1))),
        ("bias-by-channel", lambda m, x: m.add("Add", x, m.weight(1, 6, 1, 1))),
        (
            "nearest",
            lambda m, x: m.add("Resize", x, "", m.floats(1, 1, 2, 3), mode="nearest"),
        ),
        (
            "nearest-floor",
            lambda m, x: m.add(
                "Resize",
                x,
                "",
                m.floats(1, 1, 2, 2),
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ),
        ("linear", lambda m, x: m.add("Resize", x, "", "", _ints(m, 2, 6, 13, 9), mode="linear")),
        (
            "linear-corners",
            lambda m, x: m.add(
                "Resize",
                x,
                "",
                "",
                _ints(m, 2, 6, 13, 9),
                mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
        ),
        ("gather-channel", lambda m, x: m.add("Gather", x, _ints(m, 4, -1, 0), axis=1)),
        ("gather-row", lambda m, x: m.add("Gather", x, m.constant(np.asarray(-2, np.int64)), axis=2)),
        ("batch-norm", lambda m, x: m.add("BatchNormalization", x, *_statistics(m))),
        ("tile", lambda m, x: m.add("Tile", x, _ints(m, 1, 2, 1, 3))),
        ("where", lambda m, x: m.add("Where", m.add("Greater", x, m.weight()), x, m.weight(6, 1, 1))),
        ("argmax", lambda m, x: m.add("ArgMax", x, axis=1, keepdims=0)),
        ("batch-matmul", lambda m, x: m.add("MatMul", x, m.weight(5, 4))),
        ("layer-norm", lambda m, x: m.add("LayerNormalization", x, m.weight(5), m.weight(5))),
    )
)


def _statistics(model: Model) -> tuple[str, str, str, str]:
    variance = model.constant(np.abs(model.rng.standard_normal(6)).astype(np.float32) + 0.5)
    return model.weight(6), model.weight(6), model.weight(6), variance


CASES: tuple[Case, ...] = (
    *(
        Case(f"conv-{name}", shape, lambda m, x, make=make, c=shape[1]: make(m, x, c))  # type: ignore[misc]
        for name, shape, make in CONVOLUTIONS
    ),
    *POOLS,
    *UNARY,
    *BINARY,
    *AFTER_CONV,
)


@dataclass
class Feed:
    """Standard normal values, or positive ones where the operator wants them."""

    case: Case
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))

    def of_batch(self, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        shape = [dim if isinstance(dim, int) else batch for dim in self.case.shape]
        values = self.rng.standard_normal(shape).astype(np.float32)
        return np.abs(values) + np.float32(0.1) if self.case.positive else values


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_float_file_computes_what_the_graph_does(case: Case) -> None:
    model = Model()
    built = model.build(case.make(model, model.input("x", case.shape)))
    feed = Feed(case)
    for batch in (1, 3) if "batch" in case.shape else (1,):
        feeds = {"x": feed.of_batch(batch)}
        (expected,) = run_onnx(built, feeds).values()
        for kernels in ("xnnpack", "builtin"):
            (found,) = run_litert(built, feeds, kernels=kernels).values()
            assert relative_error(found, expected) <= TOLERANCE, (batch, kernels)


def test_ids_are_unique() -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
