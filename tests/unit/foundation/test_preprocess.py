"""Pre-processing arithmetic against independent definitions, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from pydantic import TypeAdapter

from edgekit.errors import DataError
from edgekit.preprocess import Cast, Layout, Normalize, Resize, Scale, Step, apply, preprocess_id

SEED = 7


@pytest.mark.parametrize(
    ("old", "new"), [((8, 8), (28, 28)), ((7, 5), (3, 9)), ((1, 1), (4, 4)), ((28, 28), (28, 28))]
)
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_resize_is_onnx_resize_half_pixel(old: tuple[int, int], new: tuple[int, int], method: str) -> None:
    import onnx.helper as oh
    from onnx import TensorProto

    node = oh.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        mode="linear" if method == "bilinear" else "nearest",
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_floor",
    )
    graph = oh.make_graph(
        [node],
        "g",
        [oh.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, *old])],
        [oh.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [oh.make_tensor("sizes", TensorProto.INT64, [4], [1, 2, *new])],
    )
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 19)])
    x = np.random.default_rng(SEED).normal(size=(*old, 2)).astype(np.float32)
    want = ReferenceEvaluator(model).run(None, {"x": np.moveaxis(x, -1, 0)[None]})[0][0]
    step = TypeAdapter(Step).validate_python({"op": "resize", "size": new, "method": method})
    got = np.moveaxis(apply(x, [step]), -1, 0)
    # a few float32 roundings of values of size ~3
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


def test_chain_of_the_digits_recipe() -> None:
    steps: list[Step] = [
        Resize(op="resize", size=(28, 28)),
        Scale(op="scale", by=1 / 16),
        Layout(op="layout", to="NCHW"),
    ]
    out = apply(np.full((8, 8, 1), 16, np.uint8), steps)
    assert out.shape == (1, 28, 28)
    assert out.dtype == np.float32
    assert float(out.min()) == float(out.max()) == 1.0


def test_normalize_per_channel_and_cast() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    out = apply(x, [Normalize(op="normalize", mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 4.0))])
    np.testing.assert_array_equal(out, [[[0.0, 0.0, 0.0], [3.0, 1.5, 0.75]]])
    assert apply(x, [Cast(op="cast", dtype="uint8")]).dtype == np.uint8


def test_normalize_of_another_channel_count_is_refused() -> None:
    with pytest.raises(DataError, match="2 values of mean"):
        apply(np.zeros((2, 2, 3), np.float32), [Normalize(op="normalize", mean=(0.0, 1.0), std=(1.0, 1.0))])


def test_resize_of_a_vector_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(5,\)"):
        apply(np.zeros(5, np.float32), [Resize(op="resize", size=(2, 2))])


def test_id_tells_steps_apart() -> None:
    one, other = [Scale(op="scale", by=1.0)], [Scale(op="scale", by=2.0)]
    assert preprocess_id(one) == preprocess_id([Scale(op="scale", by=1.0)])
    assert preprocess_id(one) != preprocess_id(other)
