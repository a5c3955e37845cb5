"""What the axes of inputs and outputs are, as far as operators with a fixed layout say it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import pytest

from edgekit.ir.layout import layouts

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


@dataclass(frozen=True)
class Case:
    """A graph in ONNX's text form, and the letters of its inputs and outputs."""

    id: str
    graph: str
    letters: dict[str, str]


CASES = (
    Case(
        "Conv, through an elementwise operator",
        "g (float[n,3,8,8] x) => (float[n,2,8,8] y) <float[2,3,1,1] w = {1,1,1,1,1,1}, float[1] s = {2}>"
        "{ a = Mul(x, s) b = Conv(a, w) y = Relu(b) }",
        {"x": "NCHW", "y": "NCHW"},
    ),
    Case(
        "Keras: a Transpose before and after",
        "g (float[n,8,8,3] x) => (float[n,8,8,2] y) <float[2,3,1,1] w = {1,1,1,1,1,1}>"
        "{ a = Transpose<perm = [0,3,1,2]>(x) b = Conv(a, w) y = Transpose<perm = [0,2,3,1]>(b) }",
        {"x": "NHWC", "y": "NHWC"},
    ),
    Case(
        "an odd order: W first",
        "g (float[8,n,3,4] x) => (float[n,3,4,8] y) { a = Transpose<perm = [1,2,3,0]>(x) y = MaxPool"
        "<kernel_shape = [1,1]>(a) }",
        {"x": "WNCH", "y": "NCHW"},
    ),
    Case(
        "one space axis",
        "g (float[n,3,8] x) => (float[n,3,8] y) { y = AveragePool<kernel_shape = [1]>(x) }",
        {"x": "NCW", "y": "NCW"},
    ),
    Case("no operator says it", "g (float[2,3,4,5] x) => (float[2,3,4,5] y) { y = Relu(x) }", {}),
    Case(
        "two that disagree (L2)",
        "g (float[2,3,4,5] x) => (float[n,c,h,w] y, float[n,d,e,f] z)"
        "{ y = MaxPool<kernel_shape = [1,1]>(x) a = Transpose<perm = [0,3,1,2]>(x)"
        " z = MaxPool<kernel_shape = [1,1]>(a) }",
        {"y": "NCHW", "z": "NCHW"},
    ),
    Case("a matrix has no letters", "g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }", {}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_letters(case: Case) -> None:
    assert layouts(ir.from_onnx_text(HEAD + case.graph)) == case.letters
