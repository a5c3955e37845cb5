"""Operators that converters write, each in a file of its own, read and run against the file on LiteRT.

Tolerance 1e-5 of the output's range for float; for integers the steps that the case states. Seed 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.passes import canonicalize
from edgekit.spec import Array
from tests.unit.frontends.tflite_files import FileWriter, loaded, run_plain
from tests.unit.litert.litert_models import relative_error

RNG = np.random.default_rng(5)
TOLERANCE = 1e-5


def reals(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def window(**more: Any) -> dict[str, Any]:
    return {"padding": 0, "strideW": 1, "strideH": 1, **more}


CONV: dict[str, Any] = {**window(), "dilationWFactor": 1, "dilationHFactor": 1}


@dataclass(frozen=True)
class Case:
    """``make`` gets a writer and the input tensor, and writes what leads to tensor "y"."""

    id: str
    shape: tuple[int, ...]
    out: tuple[int, ...]
    make: Callable[[FileWriter, int, int], None]
    dtype: str = "FLOAT32"
    out_dtype: str = "FLOAT32"


def one(code: str, options: str = "", *more: Callable[[FileWriter], int], **fields: Any) -> Any:
    """An operator on the input and constants."""

    def make(file: FileWriter, x: int, y: int) -> None:
        file.operator(code, [x, *(each(file) for each in more)], [y], options, **fields)

    return make


def ints(*values: int) -> Callable[[FileWriter], int]:
    return lambda file: file.ints(*values)


def scalar(value: int) -> Callable[[FileWriter], int]:
    return lambda file: file.constant("scalar", np.asarray(value, np.int32))


def constant(array: Array) -> Callable[[FileWriter], int]:
    return lambda file: file.constant("constant", array)


def pairs(*rows: tuple[int, int]) -> Callable[[FileWriter], int]:
    return constant(np.asarray(rows, np.int32))


def transpose_conv(padding: int, height: int, width: int) -> Any:
    def make(file: FileWriter, x: int, y: int) -> None:
        weights = file.constant("w", reals(4, 3, 3, 2))
        shape = file.ints(1, height, width, 4)
        bias = file.constant("b", reals(4))
        options: dict[str, Any] = {
            "padding": padding,
            "strideW": 2,
            "strideH": 2,
            "fusedActivationFunction": 1,
        }
        file.operator("TRANSPOSE_CONV", [shape, weights, x, bias], [y], "TransposeConvOptions", **options)

    return make


def conv_with_activation(kind: int) -> Any:
    def make(file: FileWriter, x: int, y: int) -> None:
        weights, bias = file.constant("w", reals(5, 3, 3, 2)), file.constant("b", reals(5))
        file.operator(
            "CONV_2D", [x, weights, bias], [y], "Conv2DOptions", **CONV, fusedActivationFunction=kind
        )

    return make


def grouped(file: FileWriter, x: int, y: int) -> None:
    file.operator(
        "CONV_2D",
        [x, file.constant("w", reals(6, 1, 1, 2)), file.constant("b", reals(6))],
        [y],
        "Conv2DOptions",
        **CONV,
    )


def unpack_and_pack(file: FileWriter, x: int, y: int) -> None:
    parts = [file.tensor(f"p{index}", (2, 4)) for index in range(3)]
    file.operator("UNPACK", [x], parts, "UnpackOptions", num=3, axis=1)
    file.operator("PACK", parts[::-1], [y], "PackOptions", valuesCount=3, axis=2)


def half_weights(file: FileWriter, x: int, y: int) -> None:
    half = file.constant("half", reals(5, 6).astype(np.float16))
    whole = file.tensor("whole", (5, 6))
    file.operator("DEQUANTIZE", [half], [whole], "DequantizeOptions")
    file.operator("FULLY_CONNECTED", [x, whole, -1], [y], "FullyConnectedOptions")


def lstm(file: FileWriter, x: int, y: int) -> None:
    weights = [file.constant(f"w{index}", reals(4, 3) * np.float32(0.4)) for index in range(4)]
    recurrent = [file.constant(f"r{index}", reals(4, 4) * np.float32(0.4)) for index in range(4)]
    biases = [file.constant(f"b{index}", reals(4)) for index in range(4)]
    states = [file.tensor(f"s{index}", (1, 4), variable=True) for index in range(2)]
    inputs = [x, *weights, *recurrent, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
    options: dict[str, Any] = {"fusedActivationFunction": 4, "cellClip": 10.0}
    code = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    file.operator(code, inputs, [y], "UnidirectionalSequenceLSTMOptions", **options)


def computed_shape(file: FileWriter, x: int, y: int) -> None:
    shape, last = file.tensor("shape", (3,), "INT32"), file.tensor("last", (), "INT32")
    target = file.tensor("target", (2,), "INT32")
    file.operator("SHAPE", [x], [shape], "ShapeOptions", outType=2)
    ends = file.ints(2), file.ints(3), file.ints(1)
    file.operator("STRIDED_SLICE", [shape, *ends], [last], "StridedSliceOptions", shrinkAxisMask=1)
    minus = file.constant("minus", np.asarray(-1, np.int32))
    file.operator("PACK", [minus, last], [target], "PackOptions", valuesCount=2, axis=0)
    file.operator("RESHAPE", [x, target], [y])


def select(file: FileWriter, x: int, y: int) -> None:
    rows = file.constant("rows", np.asarray([True, False, True]))
    file.operator("SELECT", [rows, x, file.constant("other", reals(3, 4))], [y], "SelectOptions")


def one_hot(file: FileWriter, x: int, y: int) -> None:
    depth = file.constant("depth", np.asarray(4, np.int32))
    on, off = (file.constant(name, np.asarray(each, np.float32)) for name, each in (("on", 2), ("off", -1)))
    file.operator("ONE_HOT", [x, depth, on, off], [y], "OneHotOptions", axis=1)


SLICE = "StridedSliceOptions"
CASES: tuple[Case, ...] = (
    Case("conv-relu6", (1, 7, 6, 2), (1, 7, 6, 5), conv_with_activation(3)),
    Case("conv-relu-n1-to-1", (1, 7, 6, 2), (1, 7, 6, 5), conv_with_activation(2)),
    Case("conv-groups", (1, 4, 4, 4), (1, 4, 4, 6), grouped),
    Case("transpose-conv-same", (1, 4, 5, 2), (1, 8, 10, 4), transpose_conv(0, 8, 10)),
    Case("transpose-conv-valid", (1, 4, 5, 2), (1, 9, 11, 4), transpose_conv(1, 9, 11)),
    Case("transpose-conv-odd", (1, 4, 5, 2), (1, 7, 9, 4), transpose_conv(0, 7, 9)),
    Case(
        "dense-keeps-axes",
        (2, 3, 6),
        (2, 3, 5),
        one(
            "FULLY_CONNECTED",
            "FullyConnectedOptions",
            constant(reals(5, 6)),
            constant(reals(5)),
            keepNumDims=True,
            fusedActivationFunction=1,
        ),
    ),
    Case(
        "dense-flattens",
        (2, 3, 6),
        (6, 5),
        one("FULLY_CONNECTED", "FullyConnectedOptions", constant(reals(5, 6)), constant(reals(5))),
    ),
    Case("dense-half-weights", (2, 6), (2, 5), half_weights),
    Case(
        "average-same",
        (1, 5, 7, 3),
        (1, 3, 4, 3),
        one(
            "AVERAGE_POOL_2D", "Pool2DOptions", **window(filterWidth=3, filterHeight=2, strideW=2, strideH=2)
        ),
    ),
    Case("l2-normalization", (2, 5), (2, 5), one("L2_NORMALIZATION", "L2NormOptions")),
    Case("softmax-beta", (2, 5), (2, 5), one("SOFTMAX", "SoftmaxOptions", beta=0.5)),
    Case("unpack-pack", (2, 3, 4), (2, 4, 3), unpack_and_pack),
    Case(
        "strided-slice-masks",
        (4, 5, 6),
        (2, 1, 5, 3),
        one(
            "STRIDED_SLICE",
            SLICE,
            ints(3, 0, 9, 1),
            ints(0, 0, 9, 9),
            ints(-2, 1, 1, 2),
            endMask=1,
            newAxisMask=2,
            ellipsisMask=4,
        ),
    ),
    Case(
        "strided-slice-shrink",
        (4, 5, 6),
        (4, 2),
        one(
            "STRIDED_SLICE",
            SLICE,
            ints(0, -1, 4),
            ints(9, 0, 0),
            ints(1, 1, -2),
            beginMask=1,
            endMask=1,
            shrinkAxisMask=2,
        ),
    ),
    Case("slice-to-the-end", (4, 5), (2, 3), one("SLICE", "SliceOptions", ints(1, 2), ints(2, -1))),
    Case(
        "space-to-batch",
        (1, 4, 5, 2),
        (4, 2, 3, 2),
        one("SPACE_TO_BATCH_ND", "SpaceToBatchNDOptions", ints(2, 2), pairs((0, 0), (1, 0))),
    ),
    Case(
        "batch-to-space",
        (4, 2, 3, 2),
        (1, 4, 5, 2),
        one("BATCH_TO_SPACE_ND", "BatchToSpaceNDOptions", ints(2, 2), pairs((0, 0), (1, 0))),
    ),
    Case(
        "mirror-reflect",
        (1, 4, 5, 2),
        (1, 6, 8, 2),
        one("MIRROR_PAD", "MirrorPadOptions", pairs((0, 0), (1, 1), (2, 1), (0, 0)), mode=0),
    ),
    Case(
        "mirror-symmetric",
        (4, 5),
        (6, 6),
        one("MIRROR_PAD", "MirrorPadOptions", pairs((1, 1), (0, 1)), mode=1),
    ),
    Case(
        "pad-value",
        (4, 5),
        (6, 6),
        one("PADV2", "PadV2Options", pairs((1, 1), (0, 1)), constant(np.asarray(1.5, np.float32))),
    ),
    Case("cumsum", (3, 4), (3, 4), one("CUMSUM", "CumsumOptions", scalar(1), exclusive=True, reverse=True)),
    Case("reverse", (3, 4), (3, 4), one("REVERSE_V2", "ReverseV2Options", ints(1))),
    Case("tile", (3, 4), (3, 8), one("TILE", "TileOptions", ints(1, 2))),
    Case("broadcast", (1, 4), (3, 4), one("BROADCAST_TO", "BroadcastToOptions", ints(3, 4))),
    Case("squeeze", (1, 4, 1), (4, 1), one("SQUEEZE", "SqueezeOptions", squeezeDims=[0])),
    Case("expand", (4, 3), (4, 1, 3), one("EXPAND_DIMS", "ExpandDimsOptions", scalar(-2))),
    Case(
        "arg-min", (3, 4), (3,), one("ARG_MIN", "ArgMinOptions", scalar(1), outputType=2), out_dtype="INT32"
    ),
    Case("sum", (2, 3, 4), (2, 4), one("SUM", "ReducerOptions", ints(1))),
    Case(
        "floor-mod",
        (3, 4),
        (3, 4),
        one("FLOOR_MOD", "FloorModOptions", constant(np.full((3, 4), -0.7, np.float32))),
    ),
    Case(
        "floor-div",
        (3, 4),
        (3, 4),
        one("FLOOR_DIV", "FloorDivOptions", constant(np.full((3, 4), -0.7, np.float32))),
    ),
    Case(
        "floor-div-integers",
        (3, 4),
        (3, 4),
        one("FLOOR_DIV", "FloorDivOptions", constant(np.full((3, 4), -3, np.int32))),
        dtype="INT32",
        out_dtype="INT32",
    ),
    Case(
        "squared-difference",
        (3, 4),
        (3, 4),
        one("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", constant(reals(3, 4))),
    ),
    Case("select-rows", (3, 4), (3, 4), select),
    Case("one-hot", (5,), (5, 4), one_hot, dtype="INT32"),
    Case("reshape-computed", (2, 3, 4), (6, 4), computed_shape),
    Case("gelu-tanh", (3, 4), (3, 4), one("GELU", "GeluOptions", approximate=True)),
    Case("relu-0-to-1", (3, 4), (3, 4), one("RELU_0_TO_1")),
    Case("lstm", (1, 6, 3), (1, 6, 4), lstm),
    Case(
        "nearest-half-pixel",
        (1, 4, 5, 2),
        (1, 6, 9, 2),
        one("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions", ints(6, 9), halfPixelCenters=True),
    ),
    Case(
        "bilinear-corners",
        (1, 4, 5, 2),
        (1, 6, 9, 2),
        one("RESIZE_BILINEAR", "ResizeBilinearOptions", ints(6, 9), alignCorners=True),
    ),
    Case(
        "depth-to-space",
        (1, 2, 3, 8),
        (1, 4, 6, 2),
        one("DEPTH_TO_SPACE", "DepthToSpaceOptions", blockSize=2),
    ),
    Case(
        "batch-matmul",
        (2, 3, 4),
        (2, 3, 5),
        one("BATCH_MATMUL", "BatchMatMulOptions", constant(reals(2, 5, 4)), adjY=True),
    ),
)


def build(case: Case) -> FileWriter:
    file = FileWriter()
    x = file.input("x", case.shape, case.dtype)
    y = file.output("y", case.out, case.out_dtype)
    case.make(file, x, y)
    return file


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_operator_computes_what_litert_computes(case: Case, tmp_path: Path) -> None:
    source = loaded(build(case).save(tmp_path))
    assert source.reference is not None
    rng = np.random.default_rng(0)
    feed = rng.integers(-2, 6, case.shape).astype(np.int32) if case.dtype == "INT32" else None
    feeds = {"x": rng.normal(size=case.shape).astype(np.float32) if feed is None else feed}
    (expected,) = source.reference.run(feeds).values()
    assert expected.shape == case.out
    for model in (source.model, canonicalize(source.model)):
        (found,) = run_plain(model, feeds)
        assert relative_error(found, expected) <= TOLERANCE


def steps_apart(left: Array, right: Array) -> float:
    """Largest difference, in the outputs' own unit."""
    return float(np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)).max())


# Quantized --------------------------------------------------------------------------------------------


def dense(kind: str, *, scale_of_bias: float = 1.0) -> FileWriter:
    """One dense layer in activations of ``kind`` ("FLOAT32": hybrid)."""
    file = FileWriter()
    weights = RNG.integers(-127, 128, (5, 6)).astype(np.int8)
    w = file.constant("w", weights, scale=[0.01, 0.02, 0.03, 0.04, 0.05])
    if kind == "FLOAT32":
        x, y = file.input("x", (2, 6)), file.output("y", (2, 5))
        file.operator("FULLY_CONNECTED", [x, w, file.constant("b", reals(5))], [y], "FullyConnectedOptions")
        return file
    step = 0.02 if kind == "INT8" else 1e-4
    zero = 3 if kind == "INT8" else 0
    x = file.input("x", (2, 6), kind, scale=step, zero=zero)
    y = file.output("y", (2, 5), kind, scale=20 * step, zero=-zero)
    bias = RNG.integers(-900, 900, 5).astype(np.int32 if kind == "INT8" else np.int64)
    scales = [
        float(np.float32(step) * np.float32(each)) * scale_of_bias for each in (0.01, 0.02, 0.03, 0.04, 0.05)
    ]
    file.operator(
        "FULLY_CONNECTED", [x, w, file.constant("b", bias, scale=scales)], [y], "FullyConnectedOptions"
    )
    return file


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_integer_interface_is_given_as_reals(kind: str, tmp_path: Path) -> None:
    source = loaded(dense(kind).save(tmp_path))
    assert source.reference is not None
    assert [spec.dtype for spec in (*source.reference.inputs, *source.reference.outputs)] == ["float32"] * 2
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)}
    (expected,) = source.reference.run(feeds).values()
    (found,) = run_plain(canonicalize(source.model), feeds)
    step = 0.4 if kind == "INT8" else 0.002
    assert steps_apart(expected, found) <= 1.01 * step
    # 16-bit steps are finer than kernels: they are no measure of parity.
    assert source.output_steps == ({"y": pytest.approx(0.4)} if kind == "INT8" else {})


def test_hybrid_weights_stay_integers_and_meet_the_file_with_real_weights(tmp_path: Path) -> None:
    source = loaded(dense("FLOAT32").save(tmp_path))
    assert source.reference is not None
    kinds = [node.op_type for node in source.model.graph]
    assert kinds == ["DequantizeLinear", "Gemm"]
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)}
    (expected,) = source.reference.run(feeds).values()
    (found,) = run_plain(canonicalize(source.model), feeds)
    assert relative_error(found, expected) <= TOLERANCE


def test_bias_is_in_steps_of_the_kernel_whatever_its_scale_says(tmp_path: Path) -> None:
    honest = loaded(dense("INT8").save(tmp_path, "a.tflite"))
    odd = loaded(dense("INT8", scale_of_bias=1.00001).save(tmp_path, "b.tflite"))
    for source in (honest, odd):
        assert source.reference is not None
        feeds = {"x": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)}
        (expected,) = source.reference.run(feeds).values()
        (found,) = run_plain(canonicalize(source.model), feeds)  # canonicalize holds rule Q8 against it
        assert steps_apart(expected, found) <= 1.01 * 0.4


# Layout, names, batch -----------------------------------------------------------------------------------


def chain(batch: int = -1, *, fixed_reshape: bool = False) -> FileWriter:
    """conv - relu6 - add of a channel constant - pool - reshape - dense."""
    file = FileWriter()
    x = file.input("image:0", (1, 6, 6, 2), signature=(batch, 6, 6, 2))
    a, b, c = (file.tensor(name, (1, 6, 6, 4), signature=(batch, 6, 6, 4)) for name in "abc")
    d = file.tensor("d", (1, 3, 3, 4), signature=(batch, 3, 3, 4))
    rows = 1 if fixed_reshape else batch
    e = file.tensor("e", (1, 36), signature=(rows, 36))
    y = file.output("scores", (1, 3), signature=(rows, 3))
    weights = file.constant("w", reals(4, 3, 3, 2)), file.constant("bias", reals(4))
    file.operator("CONV_2D", [x, *weights], [a], "Conv2DOptions", **CONV)
    file.operator("RELU6", [a], [b])
    file.operator("ADD", [b, file.constant("offset", reals(4))], [c], "AddOptions")
    pool = window(filterWidth=2, filterHeight=2, strideW=2, strideH=2)
    file.operator("MAX_POOL_2D", [c], [d], "Pool2DOptions", **pool)
    file.operator("RESHAPE", [d, file.ints(1 if fixed_reshape else -1, 36)], [e])
    file.operator(
        "FULLY_CONNECTED", [e, file.constant("dense", reals(3, 36)), -1], [y], "FullyConnectedOptions"
    )
    return file


def test_transposes_stand_where_the_layout_really_changes(tmp_path: Path) -> None:
    source = loaded(chain().save(tmp_path))
    assert [node.op_type for node in source.model.graph].count("Transpose") == 2
    inputs = source.model.graph.inputs
    assert [(value.name, str(value.shape)) for value in inputs] == [("image:0", "[batch,6,6,2]")]
    assert [(value.name, str(value.shape)) for value in source.model.graph.outputs] == [
        ("scores", "[batch,3]")
    ]
    assert source.reference is not None
    for batch in (1, 3, 2):
        feeds = {"image:0": np.random.default_rng(batch).normal(size=(batch, 6, 6, 2)).astype(np.float32)}
        (expected,) = source.reference.run(feeds).values()
        (found,) = run_plain(source.model, feeds)
        assert relative_error(found, expected) <= TOLERANCE


def test_batch_that_an_operator_fixes_is_fixed_and_said(tmp_path: Path) -> None:
    source = loaded(chain(fixed_reshape=True).save(tmp_path))
    assert source.reference is not None
    assert [spec.shape for spec in source.reference.inputs] == [(1, 6, 6, 2)]
    assert "it is fixed" in source.notes[0]


def test_state_starts_anew_in_every_run(tmp_path: Path) -> None:
    source = loaded(build(next(case for case in CASES if case.id == "lstm")).save(tmp_path))
    assert source.reference is not None
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)}
    first, second = (source.reference.run(feeds)["y"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_names_are_unique_where_the_file_repeats_them(tmp_path: Path) -> None:
    file = FileWriter()
    x, y = file.input("same", (2, 3)), file.output("same", (2, 3))
    file.operator("RELU", [x], [y])
    source = loaded(file.save(tmp_path))
    assert source.reference is not None
    names = [spec.name for spec in (*source.reference.inputs, *source.reference.outputs)]
    assert names == ["same", "same_1"]
    assert set(source.reference.run({"same": reals(2, 3)})) == {"same_1"}


def test_opset_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    source = loaded(chain().save(tmp_path), opset=17)
    assert source.model.opset_imports[""] == 17


@pytest.mark.parametrize(("code", "options"), [("SOFTMAX", "SoftmaxOptions"), ("LOGISTIC", "")])
def test_step_behind_a_steep_function_is_what_a_rounding_before_it_does(
    code: str, options: str, tmp_path: Path
) -> None:
    file = FileWriter()
    x = file.input("x", (2, 6), "INT8", scale=0.5)
    inner = file.tensor("inner", (2, 6), "INT8", scale=1 / 256, zero=-128)
    y = file.output("y", (2, 6))
    fields: dict[str, Any] = {"beta": 1.0} if options else {}
    file.operator(code, [x], [inner], options, **fields)
    file.operator("DEQUANTIZE", [inner], [y], "DequantizeOptions")
    assert loaded(file.save(tmp_path)).output_steps == {"y": pytest.approx(0.125)}
