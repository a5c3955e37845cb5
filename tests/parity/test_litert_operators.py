"""Operators without a kernel of their own, against ONNX Runtime: 1e-4 of the range, integers equal.

Each case runs on XNNPACK and on the builtin kernels; inputs come from seed 1. ``benchmarks/onnx_nodes.py``
holds the same lowerings against ONNX's own node tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.spec import Array, Dim
from tests.unit.litert.litert_models import Model, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # of the output's range
SEED = 1
Make = Callable[[Model, str], str]


@dataclass(frozen=True)
class Case:
    """One operator behind one input ``x`` of ``shape``; ``values`` draws it."""

    id: str
    shape: tuple[Dim, ...]
    make: Make
    dtype: str = "float32"
    low: float = -3.0
    high: float = 3.0
    outputs: tuple[str, ...] = field(default=())


def draw(case: Case, batch: int) -> Array:
    rng = np.random.default_rng(SEED)
    shape = [dim if isinstance(dim, int) else batch for dim in case.shape]
    if case.dtype == "bool":
        return rng.random(shape) > 0.5
    if case.dtype == "float32":
        return rng.uniform(case.low, case.high, shape).astype(np.float32)
    return rng.integers(int(case.low), int(case.high) + 1, shape).astype(case.dtype)


def op(name: str, *rest: Callable[[Model], str], **attributes: Any) -> Make:
    """The operator on x and what ``rest`` makes."""
    return lambda m, x: m.add(name, x, *(part(m) for part in rest), **attributes)


def ints(*values: int) -> Callable[[Model], str]:
    return lambda m: m.ints(*values)


def array(values: npt.ArrayLike, dtype: str = "int64") -> Callable[[Model], str]:
    return lambda m: m.constant(np.asarray(values, dtype))


def weight(*shape: int) -> Callable[[Model], str]:
    return lambda m: m.weight(*shape)


TRIGONOMETRIC: tuple[Case, ...] = (
    *(
        Case(name.lower(), ("batch", 3, 4), op(name))
        for name in ("Atan", "Sinh", "Cosh", "Asinh", "Tan", "Erf")
    ),
    *(Case(name.lower(), (2, 30), op(name), low=-1, high=1) for name in ("Asin", "Acos")),
    Case("atanh", (2, 30), op("Atanh"), low=-0.999, high=0.999),
    Case("acosh", (2, 30), op("Acosh"), low=1.0, high=50.0),
    Case("asinh-of-large", (4,), op("Asinh"), low=1e30, high=1e38),
    Case("sinh-near-the-end", (9,), op("Sinh"), low=86.0, high=89.0),
)
INTEGERS: tuple[Case, ...] = (
    *(
        Case(f"{name.lower()}-{dtype}", (3, 5), op(name, array([3, -5, 12, 7, -1], dtype)), dtype, -99, 99)
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
        for dtype in ("int32", "int8")
    ),
    Case("bitwise-not", (3, 5), op("BitwiseNot"), "uint8", 0, 255),
    Case(
        "bitwise-and-broadcast",
        (2, 3, 4),
        op("BitwiseAnd", array([[9], [5], [255]], "uint8")),
        "uint8",
        0,
        255,
    ),
    Case(
        "shift-left",
        (2, 5),
        op("BitShift", array([0, 1, 3, 7, 8], "uint8"), direction="LEFT"),
        "uint8",
        0,
        255,
    ),
    Case(
        "shift-right",
        (2, 5),
        op("BitShift", array([0, 1, 3, 7, 8], "uint8"), direction="RIGHT"),
        "uint8",
        0,
        255,
    ),
    *(
        Case(f"{name.lower()}-bytes", (3, 5), op(name, array([100, 3, 120, 5, 1], "int8")), "int8", -128, 127)
        for name in ("Add", "Sub", "Mul", "Div", "Equal", "Less", "GreaterOrEqual")
    ),
    Case("max-bytes", (3, 5), op("Max", array([100, 3, 120, 5, 1], "uint8")), "uint8", 0, 255),
    Case("power-int32", (4, 3), op("Pow", array([2, 0, 5], "int32")), "int32", -5, 5),
    Case("power-int64", (4, 3), op("Pow", array(3, "int64")), "int64", -5, 5),
    Case("fmod", (4, 3), op("Mod", array([2.0, -0.7, 5.0], "float32"), fmod=1)),
    Case("fmod-int", (4, 3), op("Mod", array([2, -7, 5], "int32"), fmod=1), "int32", -9, 9),
    Case("mod-int64", (4, 3), op("Mod", array([2, -7, 5])), "int64", -9, 9),
    Case("cumsum", (2, 3, 4), op("CumSum", array(-2)), "int32", -9, 9),
    Case("cumsum-exclusive-reverse", (2, 3, 4), op("CumSum", array(1), exclusive=1, reverse=1)),
    Case("reduce-max-bool", (2, 3, 4), op("ReduceMax", ints(1), keepdims=0), "bool"),
    Case("reduce-min-bool", (2, 3, 4), op("ReduceMin", ints(0, 2)), "bool"),
)
PLACES: tuple[Case, ...] = (
    Case("argmax-last-index", (2, 9, 4), op("ArgMax", axis=1, select_last_index=1), "int32", 0, 2),
    Case(
        "argmin-last-index", (2, 9, 4), op("ArgMin", axis=-1, keepdims=0, select_last_index=1), "int32", 0, 2
    ),
    Case("hardmax", (2, 5, 4), op("Hardmax", axis=1)),
    Case("gather-elements", (3, 4), op("GatherElements", array([[0, -1, 2, 1], [2, 2, 0, 0]]), axis=0)),
    Case("gather-nd", (3, 4, 2), op("GatherND", array([[0, -1], [2, 2]]))),
    Case("gather-nd-batch", (2, 3, 4), op("GatherND", array([[1], [-1]]), batch_dims=1)),
    Case("scatter-nd", (4, 3), op("ScatterND", array([[1], [-1]]), weight(2, 3))),
    *(
        Case(f"scatter-nd-{r}", (4, 3), op("ScatterND", array([[1], [1], [0]]), weight(3, 3), reduction=r))
        for r in ("add", "mul", "max", "min")
    ),
    Case("scatter-elements", (3, 4), op("ScatterElements", array([[1, 0, 2, 1]]), weight(1, 4))),
    *(
        Case(
            f"scatter-elements-{r}",
            (3, 4),
            op("ScatterElements", array([[1, 1], [0, -1]]), weight(2, 2), axis=1, reduction=r),
        )
        for r in ("add", "mul", "max", "min")
    ),
    Case("one-hot", (2, 3), op("OneHot", array(5), array([-1, 4], "float32"), axis=1), "int64", -7, 7),
    Case("one-hot-last", (4,), op("OneHot", array(5), array([0, 1], "float32")), "int64", 0, 4),
    Case("trilu", (2, 4, 5), op("Trilu", array(1), upper=1)),
    Case("trilu-lower", (4, 5), op("Trilu", array(-1), upper=0), "int64", -9, 9),
    Case("eye-like", (3, 5), op("EyeLike", k=1)),
    Case("nonzero", (3, 5), op("NonZero"), "int32", 0, 1),
    Case("top-k", (2, 7, 3), op("TopK", ints(4), axis=1, outputs=2), "int32", -3, 3, ("", "_1")),
    Case("top-k-smallest", (2, 7), op("TopK", ints(3), largest=0, outputs=2), "uint8", 0, 9, ("", "_1")),
)
NORMALIZATIONS: tuple[Case, ...] = (
    Case("layer-norm", ("batch", 3, 8), op("LayerNormalization", weight(8), weight(8))),
    Case(
        "layer-norm-statistics",
        (2, 3, 8),
        op("LayerNormalization", weight(3, 8), axis=1, outputs=3),
        outputs=("", "_1", "_2"),
    ),
    Case("instance-norm", ("batch", 3, 4, 5), op("InstanceNormalization", weight(3), weight(3))),
    Case("lp-1", (2, 3, 4), op("LpNormalization", axis=1, p=1)),
    Case("lp-2", (2, 3, 4), op("LpNormalization", p=2)),
    Case("lrn", (2, 5, 4, 3), op("LRN", size=3, alpha=0.3, beta=0.6, bias=1.5)),
    Case("softmax-middle", (2, 3, 4, 5), op("Softmax", axis=2)),
)
WINDOWS: tuple[Case, ...] = (
    Case("max-dilated", (1, 2, 9, 8), op("MaxPool", kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2])),
    Case(
        "max-3d",
        (1, 2, 5, 6, 7),
        op("MaxPool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 0, 1, 0, 1, 0]),
    ),
    Case(
        "max-3d-relu",
        (1, 2, 5, 6, 7),
        lambda m, x: m.add("Relu", m.add("MaxPool", x, kernel_shape=[2, 2, 2])),
    ),
    Case(
        "max-indices",
        (2, 2, 6, 5),
        op("MaxPool", kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], outputs=2),
        outputs=("", "_1"),
    ),
    Case(
        "max-indices-columns",
        (2, 2, 6, 5),
        op("MaxPool", kernel_shape=[2, 2], strides=[2, 2], storage_order=1, outputs=2),
        outputs=("", "_1"),
    ),
    Case("max-bytes", (1, 2, 6, 5), op("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), "uint8", 0, 255),
    Case("average-3d", (1, 2, 5, 6, 7), op("AveragePool", kernel_shape=[2, 3, 2], pads=[1, 0, 1, 0, 1, 0])),
    Case(
        "average-3d-include",
        (1, 2, 5, 6, 7),
        op(
            "AveragePool",
            kernel_shape=[3, 3, 3],
            pads=[1] * 6,
            count_include_pad=1,
            ceil_mode=1,
            strides=[2] * 3,
        ),
    ),
    Case(
        "average-dilated",
        (1, 2, 9, 8),
        op("AveragePool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1]),
    ),
    *(
        Case(f"lp-pool-{p}", (1, 2, 7, 6), op("LpPool", kernel_shape=[3, 2], p=p, strides=[2, 2]))
        for p in (1, 2, 3)
    ),
    Case("global-lp", (2, 3, 4, 5), op("GlobalLpPool", p=2)),
    Case("conv-3d", (2, 2, 5, 6, 4), op("Conv", weight(4, 2, 2, 3, 2), weight(4), pads=[1, 1, 0, 0, 1, 1])),
    Case(
        "conv-3d-groups-relu",
        (1, 4, 5, 6, 4),
        lambda m, x: m.add("Relu", m.add("Conv", x, m.weight(6, 2, 2, 2, 2), group=2, strides=[2, 1, 1])),
    ),
    Case("conv-3d-dilated", (1, 2, 6, 6, 6), op("Conv", weight(3, 2, 2, 2, 2), dilations=[2, 1, 3])),
)
TRANSPOSED: tuple[Case, ...] = tuple(
    Case(f"transposed-{name}", shape, op("ConvTranspose", *(weight(*size) for size in sizes), **attributes))
    for name, shape, sizes, attributes in (
        ("plain", (2, 3, 4, 5), [(3, 4, 3, 3), (4,)], {}),
        ("stride-same", (1, 3, 4, 5), [(3, 4, 2, 2)], {"strides": [2, 2]}),
        ("pads", (1, 3, 4, 5), [(3, 4, 3, 3), (4,)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        (
            "output-padding",
            (1, 3, 4, 5),
            [(3, 4, 3, 3)],
            {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 2]},
        ),
        ("groups", (1, 4, 4, 5), [(4, 3, 3, 3), (6,)], {"group": 2, "strides": [2, 1]}),
        ("depthwise", (1, 6, 4, 5), [(6, 1, 3, 3), (6,)], {"group": 6, "strides": [2, 2]}),
        ("dilated", (1, 2, 5, 4), [(2, 3, 2, 3)], {"dilations": [2, 3]}),
        ("same-upper", (1, 2, 5, 4), [(2, 3, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("same-lower", (1, 2, 5, 4), [(2, 3, 3, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ("output-shape", (1, 2, 5, 4), [(2, 3, 3, 3)], {"output_shape": [11, 9], "strides": [2, 2]}),
        ("1d", (1, 2, 6), [(2, 3, 4), (3,)], {"strides": [3], "pads": [1, 2]}),
        ("3d", (1, 2, 3, 4, 3), [(2, 3, 2, 3, 2), (3,)], {"strides": [2, 1, 2], "pads": [0, 1, 1, 1, 0, 0]}),
    )
)


def resize(sizes: tuple[int, ...], **attributes: Any) -> Make:
    return lambda m, x: m.add("Resize", x, "", "", m.ints(*sizes), **attributes)


def crop(m: Model, x: str) -> str:
    region = m.floats(0, 0, 0.2, -0.3, 1, 1, 1.2, 0.8)
    return m.add(
        "Resize",
        x,
        region,
        "",
        m.ints(1, 2, 4, 5),
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.0,
    )


RESIZED: tuple[Case, ...] = (
    *(
        Case(
            f"linear-{mode}",
            (1, 2, 7, 5),
            resize((1, 2, 10, 3), mode="linear", coordinate_transformation_mode=mode),
        )
        for mode in (
            "half_pixel",
            "align_corners",
            "asymmetric",
            "pytorch_half_pixel",
            "half_pixel_symmetric",
        )
    ),
    Case("cubic", (1, 2, 7, 5), resize((1, 2, 10, 8), mode="cubic")),
    Case(
        "cubic-half", (1, 2, 7, 5), resize((1, 2, 10, 8), mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)
    ),
    Case("cubic-smaller", (1, 2, 7, 5), resize((1, 2, 4, 3), mode="cubic", antialias=1)),
    Case("linear-antialias", (1, 2, 9, 8), resize((1, 2, 4, 3), mode="linear", antialias=1)),
    Case("linear-of-channels", (2, 4, 5), resize((2, 7, 3), mode="linear")),
    Case("nearest-of-all", (2, 3, 4), resize((3, 5, 7), mode="nearest")),
    Case(
        "nearest-not-larger",
        (1, 2, 7, 5),
        resize((6, 4), mode="nearest", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
    ),
    Case("crop", (1, 2, 6, 7), crop),
)
PADS: tuple[Case, ...] = (
    *(
        Case(f"pad-{mode}", (1, 2, 4, 5), op("Pad", ints(0, 0, 2, 3, 0, 1, 1, 0), mode=mode))
        for mode in ("edge", "wrap", "reflect")
    ),
    Case("pad-negative", (1, 2, 4, 5), op("Pad", ints(0, 0, -1, 3, 0, 0, 1, -2))),
    Case("pad-edge-negative", (1, 2, 6, 5), op("Pad", ints(0, 0, -2, 1, 0, 0, 1, -2), mode="edge")),
    Case("pad-bool", (2, 3), op("Pad", ints(1, 0, 0, 2)), "bool"),
    Case("crd", (1, 12, 2, 3), op("DepthToSpace", blocksize=2, mode="CRD")),
    Case("shrink", (3, 9), op("Shrink", lambd=1.0, bias=0.4)),
    Case("is-nan", (3, 9), lambda m, x: m.add("IsNaN", m.add("Log", x))),
    Case("is-inf", (3, 9), lambda m, x: m.add("IsInf", m.add("Exp", m.add("Mul", x, m.floats(99))))),
    Case("dropout", (3, 9), lambda m, x: m.add("Dropout", x, outputs=2), outputs=("", "_1")),
    Case("clip-computed", (3, 9), lambda m, x: m.add("Clip", x, m.add("ReduceMin", x, keepdims=0))),
)


EINSUMS: tuple[Case, ...] = tuple(
    Case(f"einsum-{equation}", shape, op("Einsum", *(weight(*size) for size in sizes), equation=equation))
    for equation, shape, sizes in (
        ("bij,bjk->bik", ("batch", 3, 4), [(1, 4, 5)]),
        ("bhid,bhjd->bhij", (2, 3, 4, 5), [(2, 3, 6, 5)]),
        ("ij->ji", (3, 4), []),
        ("bij->bi", ("batch", 3, 4), []),
        ("bij,jk", (2, 3, 4), [(4, 5)]),
        ("...ij,...jk->...ik", (2, 3, 4, 5), [(1, 3, 5, 2)]),
        ("i,j->ij", (3,), [(4,)]),
        ("bi,bi->b", ("batch", 5), [(1, 5)]),
        ("abc,cd,de->abe", ("batch", 3, 4), [(4, 5), (5, 2)]),
        ("bij,kj->bk", (2, 3, 4), [(6, 4)]),
    )
)


def grid(*shape: int) -> Callable[[Model], str]:
    """Points a little beyond the borders."""
    return lambda m: m.constant(m.rng.uniform(-1.4, 1.4, shape).astype(np.float32))


SAMPLED: tuple[Case, ...] = (
    *(
        Case(
            f"grid-{mode}-{padding}-{corners}",
            (2, 3, 5, 4),
            op("GridSample", grid(2, 3, 4, 2), mode=mode, padding_mode=padding, align_corners=corners),
        )
        for mode in ("linear", "nearest", "cubic")
        for padding in ("zeros", "border", "reflection")
        for corners in (0, 1)
    ),
    Case("grid-3d", (1, 2, 3, 4, 5), op("GridSample", grid(1, 2, 3, 2, 3))),
    Case("affine-grid", (2, 2, 3), op("AffineGrid", ints(2, 3, 4, 5))),
    Case("affine-grid-corners", (2, 2, 3), op("AffineGrid", ints(2, 3, 4, 5), align_corners=1)),
    Case("dft", (2, 7, 3, 1), op("DFT", lambda m: "", array(1))),
    Case("dft-longer", (2, 7, 1), op("DFT", array(9), onesided=1)),
    Case("dft-shorter", (2, 7, 2), op("DFT", array(5))),
    Case("dft-inverse", (2, 6, 2), op("DFT", inverse=1)),
    Case("stft", (2, 20, 1), op("STFT", array(4), weight(8), array(8), onesided=1)),
    Case("det", (2, 3, 4, 4), op("Det")),
    Case("center-crop-pad", (5, 4, 3), op("CenterCropPad", ints(2, 7, 3))),
    Case("col2im", (2, 12, 9), op("Col2Im", ints(5, 4), ints(3, 2))),
    Case(
        "col2im-pads",
        (1, 6, 12),
        op("Col2Im", ints(5, 6), ints(2, 3), pads=[1, 0, 1, 0], strides=[2, 1], dilations=[1, 1]),
    ),
)


def boxes(m: Model, x: str, **attributes: Any) -> str:
    """Ten boxes for two batches and three classes, of which some overlap; x are the scores."""
    corners = m.rng.uniform(0, 4, (2, 10, 2)).astype(np.float32)
    both = m.constant(np.concatenate([corners, corners + 2], axis=2))
    limits = (m.ints(4), m.floats(0.3), m.floats(0.2))
    return m.add("NonMaxSuppression", both, x, *limits, **attributes)


DETECTED: tuple[Case, ...] = (
    Case("non-max-suppression", (2, 3, 10), boxes, low=0, high=1),
    Case("centred-boxes", (2, 3, 10), lambda m, x: boxes(m, x, center_point_box=1), low=0, high=1),
)


def n_grams(mode: str, **attributes: Any) -> Make:
    return op(
        "TfIdfVectorizer",
        mode=mode,
        min_gram_length=1,
        max_gram_length=2,
        max_skip_count=2,
        ngram_counts=[0, 4],
        ngram_indexes=[0, 1, 2, 3, 4, 5, 6],
        pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
        **attributes,
    )


WORDS: tuple[Case, ...] = (
    Case("words-tf", (2, 12), n_grams("TF"), "int32", 2, 8),
    Case("words-idf", (12,), n_grams("IDF"), "int64", 2, 8),
    Case("words-weighted", (2, 9), n_grams("TFIDF", weights=[0.5, 1, 2, 3, 4, 5, 6.0]), "int32", 2, 8),
)


def per_channel(m: Model, x: str) -> str:
    scale, zero = m.floats(0.1, 0.2, 0.05), array([10, 0, 200], "uint8")(m)
    return m.add("DequantizeLinear", m.add("QuantizeLinear", x, scale, zero, axis=1), scale, zero, axis=1)


def computed_scale(m: Model, x: str) -> str:
    scale = m.add("Div", m.add("ReduceMax", m.add("Abs", x), keepdims=0), m.scalar(127))
    return m.add("DequantizeLinear", m.add("QuantizeLinear", x, scale), scale)


def dynamic_product(m: Model, x: str) -> str:
    """What quantize_dynamic of onnxruntime writes: scaled by the product of both scales."""
    m.add("DynamicQuantizeLinear", x, out="q", outputs=3)
    weight = m.constant(m.rng.integers(0, 255, (4, 5)).astype(np.uint8))
    product = m.add("MatMulInteger", "q", weight, "q_2", array(120, "uint8")(m))
    return m.add("Mul", m.add("Cast", product, to=1), m.add("Mul", "q_1", m.floats(0.02)))


QUANTIZED: tuple[Case, ...] = (
    Case("per-channel", ("batch", 3, 4), per_channel),
    Case("computed-scale", (2, 9), computed_scale),
    Case("dynamic-product", (3, 4), dynamic_product),
    Case(
        "integer-input",
        (2, 5),
        op("DequantizeLinear", array(0.1, "float32"), array(7, "int8")),
        "int8",
        -99,
        99,
    ),
    Case("integer-output", (2, 5), op("QuantizeLinear", array(0.1, "float32"), array(7, "uint8"))),
)


def recurrent(kind: str, *, layout: int = 0, **attributes: Any) -> Make:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    outputs = 3 if kind == "LSTM" else 2
    peephole = attributes.pop("peephole", False)
    initial = attributes.pop("initial", False)

    def make(m: Model, x: str) -> str:
        inputs = [
            x,
            m.weight(count, gates * 5, 3),
            m.weight(count, gates * 5, 5),
            m.weight(count, 2 * gates * 5),
        ]
        if initial or peephole:
            inputs += ["", *(m.weight(count, 2, 5) for _ in range(outputs - 1))]
        if peephole:
            inputs.append(m.weight(count, 15))
        return m.add(kind, *inputs, hidden_size=5, outputs=outputs, **attributes)

    return make


RECURRENT: tuple[Case, ...] = (
    *(
        Case(
            f"{kind}-{name}".lower(),
            (4, 2, 3),
            recurrent(kind, **attributes),
            outputs=("", "_1", "_2")[: 3 if kind == "LSTM" else 2],
        )
        for kind in ("RNN", "GRU", "LSTM")
        for name, attributes in (
            ("plain", {}),
            ("reverse", {"direction": "reverse"}),
            ("both", {"direction": "bidirectional"}),
            ("initial", {"initial": True}),
            ("clip", {"clip": 0.3}),
        )
    ),
    Case("gru-after-reset", (4, 2, 3), recurrent("GRU", linear_before_reset=1), outputs=("", "_1")),
    Case("lstm-peephole", (4, 2, 3), recurrent("LSTM", peephole=True), outputs=("", "_1", "_2")),
    Case("lstm-coupled", (4, 2, 3), recurrent("LSTM", input_forget=1), outputs=("", "_1", "_2")),
    Case("rnn-relu", (4, 2, 3), recurrent("RNN", activations=["Relu"]), outputs=("", "_1")),
    Case(
        "gru-hard",
        (4, 2, 3),
        recurrent(
            "GRU", activations=["HardSigmoid", "Softsign"], activation_alpha=[0.3], activation_beta=[0.4]
        ),
        outputs=("", "_1"),
    ),
)

CASES = (
    *TRIGONOMETRIC,
    *INTEGERS,
    *PLACES,
    *NORMALIZATIONS,
    *WINDOWS,
    *TRANSPOSED,
    *RESIZED,
    *PADS,
    *EINSUMS,
    *QUANTIZED,
    *WORDS,
    *SAMPLED,
    *DETECTED,
    *RECURRENT,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_values_agree_with_onnx_runtime(case: Case) -> None:
    model = Model()
    first = case.make(model, model.input("x", case.shape, case.dtype))
    built = model.build(*(first + suffix for suffix in case.outputs or ("",)))
    for batch in (1, 3) if "batch" in case.shape else (1,):
        feeds = {"x": draw(case, batch)}
        with np.errstate(all="ignore"):
            expected = run_onnx(built, feeds)
        for kernels in ("xnnpack", "builtin"):
            found = run_litert(built, feeds, kernels=kernels)
            for name, value in expected.items():
                hold(found[name], value)


def hold(found: Array, expected: Array) -> None:
    if expected.dtype.kind != "f":
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    assert relative_error(found[finite], expected[finite]) <= TOLERANCE
