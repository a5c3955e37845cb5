"""A float model cut at the ends of kernels: each piece computes from what it is fed.

Tolerance: 1e-6 of the largest value (float32 sums in another order).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.ir.graph import constant
from edgekit.spec import Array, RunOptions
from edgekit.validation import segments

SEED = 3
NET = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[batch,2,4,4] image) => (float[batch,3] scores)
<float[2,2,1,1] w = {1, 2, -1, 0.5}, float[2] b = {0.25, -0.5}, float[2,1,1,1] d = {3, 4},
 float[2,3] dense = {1, 2, 3, 4, 5, 6}> {
  sum = Conv(image, w, b)
  first = Relu(sum)
  second = Conv<group=2>(first, d)
  joined = Add(first, second)
  pooled = GlobalAveragePool(joined)
  flat = Flatten(pooled)
  scores = MatMul(flat, dense)
}
"""
ENDS = ("image", "first", "second", "joined", "scores")


def model() -> ir.Model:
    found = ir.from_onnx_text(NET)
    found.graph.name = "net"
    from edgekit.passes.fix_names import FixNames
    from edgekit.passes.infer_shapes import InferShapes

    return InferShapes().apply(FixNames().apply(found))


def run(made: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    with open_model(made, RunOptions()) as session:
        return session.run(feeds)


def image() -> Array:
    return np.random.default_rng(SEED).normal(size=(2, 2, 4, 4)).astype(np.float32)


def close(one: Array, other: Array) -> None:
    a, b = one.astype(np.float64), other.astype(np.float64)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1.0, np.abs(b).max()))


def test_the_ends_are_outputs_and_inputs_are_not() -> None:
    made = segments.exposed(model(), ENDS)
    assert [value.name for value in made.graph.outputs] == ["scores", "first", "second", "joined"]


def test_a_cut_model_fed_with_its_own_values_computes_them() -> None:
    truth = {**run(segments.exposed(model(), ENDS), {"image": image()}), "image": image()}
    with open_model(segments.cut(model(), ENDS), RunOptions()) as session:
        found = session.run(segments.fed(session.inputs, {"image": image()}, truth))
    for name in ENDS[1:]:
        close(found[name], truth[name])


def test_a_piece_computes_from_what_it_is_fed_not_from_what_is_before() -> None:
    """``first`` is replaced by zeros: ``second`` is zero, and ``first`` is still computed of the image."""
    truth = {**run(segments.exposed(model(), ENDS), {"image": image()}), "image": image()}
    candidate = {**truth, "first": np.zeros_like(truth["first"])}
    with open_model(segments.cut(model(), ENDS), RunOptions()) as session:
        found = session.run(segments.fed(session.inputs, {"image": image()}, candidate))
    assert not found["second"].any()
    close(found["first"], truth["first"])
    close(found["joined"], candidate["second"])  # of the second that it was fed, not of zero


def test_an_added_error_reaches_everything_behind_it_and_nothing_else() -> None:
    names = ("first", "second", "scores")
    made = segments.injected(segments.exposed(model(), ("second",)), names)
    nothing = {
        f"{segments.ADDED}{name}": np.zeros((1,) * axes, np.float32)
        for name, axes in {"first": 4, "second": 4, "scores": 2}.items()
    }
    plain = run(model(), {"image": image()})
    close(run(made, {"image": image(), **nothing})["scores"], plain["scores"])
    error = np.full((2, 2, 4, 4), 0.5, np.float32)
    moved = run(made, {"image": image(), **nothing, f"{segments.ADDED}second": error})
    close(
        moved["scores"].astype(np.float64) - plain["scores"].astype(np.float64),
        np.array([[2.5, 3.5, 4.5]] * 2),
    )
    last = run(made, {"image": image(), **nothing, f"{segments.ADDED}scores": np.ones((2, 3), np.float32)})
    close(last["scores"].astype(np.float64) - plain["scores"].astype(np.float64), np.ones((2, 3)))


def test_pieces_name_their_nodes_inputs_and_weights() -> None:
    found = {piece.name: piece for piece in segments.segments(model(), ENDS)}
    assert list(found) == list(ENDS)
    assert found["image"].nodes == ()
    assert found["image"].head is None
    assert [node.op_type for node in found["first"].nodes] == ["Conv", "Relu"]
    assert found["first"].inputs == ("image",)
    assert found["joined"].inputs == ("first", "second")
    assert found["scores"].inputs == ("joined",)
    weight = found["first"].weight
    assert weight is not None
    assert (weight.low, weight.high, weight.depthwise) == ((1.0, -1.0), (2.0, 0.5), False)
    deep = found["second"].weight
    assert deep is not None
    assert deep.depthwise
    dense = found["scores"].weight
    assert dense is not None
    assert (dense.axis, dense.low, dense.high) == (1, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert [found[name].axis for name in ENDS] == [1, 1, 1, 1, 1]
    head = found["second"].head
    assert head is not None
    assert head.attributes["group"] == 2.0


@pytest.mark.parametrize("name", ["first", "joined", "scores"])
def test_a_piece_alone_computes_the_same(name: str) -> None:
    truth = {**run(segments.exposed(model(), ENDS), {"image": image()}), "image": image()}
    piece = next(each for each in segments.segments(model(), ENDS) if each.name == name)
    made = segments.extracted(model(), piece)
    assert [value.name for value in made.graph.inputs] == list(piece.inputs)
    found = run(made, {each: truth[each] for each in piece.inputs})
    assert list(found) == [name]
    close(found[name], truth[name])


def test_the_model_itself_is_untouched() -> None:
    original = model()
    before = str(original.graph)
    segments.cut(original, ENDS)
    segments.injected(original, ENDS)
    segments.exposed(original, ENDS)
    assert str(original.graph) == before
    assert constant(original.graph.initializers["w"]) is not None


def test_grouped_transposed_weights_have_their_output_channels() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[1,2,2,2] x) => (float[1,4,2,2] y) <float[2,2,1,1] w = {1, 2, 3, 4}>
    { y = ConvTranspose<group=2>(x, w) }
    """
    (piece,) = segments.segments(ir.from_onnx_text(text), ("y",))
    assert piece.weight is not None
    assert piece.weight.high == (1.0, 2.0, 3.0, 4.0)
