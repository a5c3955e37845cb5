"""Random feeds follow the specs; declared inputs narrow what a source has (cases A1 to A3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import EdgekitError, ExportError, InputError, UnknownNameError
from edgekit.frontends.samples import FREE_AXIS, sample
from edgekit.frontends.shapes import agree, set_input_shapes, with_dynamic
from edgekit.ir import io
from edgekit.spec import Dim, TensorSpec


def spec(*shape: Dim, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def test_shapes_and_types_of_samples() -> None:
    specs = (
        spec("batch", 3, "width"),
        spec("batch", name="ids", dtype="int64"),
        spec(2, None, name="mask", dtype="bool"),
        spec(name="scalar"),
    )
    feeds = sample(specs, batch=5, rng=np.random.default_rng(0))
    assert {n: (a.shape, a.dtype.name) for n, a in feeds.items()} == {
        "x": ((5, 3, FREE_AXIS), "float32"),
        "ids": ((5,), "int64"),
        "mask": ((2, FREE_AXIS), "bool"),
        "scalar": ((), "float32"),
    }
    assert set(np.unique(feeds["ids"])) <= {0, 1}


def test_sizes_of_named_axes_can_be_given() -> None:
    feeds = sample((spec("batch", "width"),), batch=2, rng=np.random.default_rng(0), sizes={"width": 7})
    assert feeds["x"].shape == (2, 7)


def test_uniform_is_positive_and_normal_is_not() -> None:
    rng = np.random.default_rng(0)
    uniform = sample((spec(1000),), batch=1, rng=rng)["x"].astype(float)
    normal = sample((spec(1000),), batch=1, rng=rng, distribution="normal")["x"].astype(float)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert normal.min() < -1


@dataclass(frozen=True)
class Agreed:
    id: str
    known: tuple[Dim, ...]
    wanted: tuple[Dim, ...]
    result: tuple[Dim, ...]


@pytest.mark.parametrize(
    "case",
    [
        Agreed("A1-fixed", (1, 3), (1, 3), (1, 3)),
        Agreed("A1-dynamic-renamed", ("s40", 3), ("batch", 3), ("batch", 3)),
        Agreed("A1-unknown-named", (None, 3), ("batch", 3), ("batch", 3)),
        Agreed("A1-not-asked", ("n", 3), (None, None), ("n", 3)),
        Agreed("A2-dynamic-fixed", ("batch", 3), (4, 3), (4, 3)),
    ],
    ids=lambda case: case.id,
)
def test_axes_that_agree(case: Agreed) -> None:
    assert agree((spec(*case.known),), (spec(*case.wanted),), source="m", rename=False) == (
        spec(*case.result),
    )


def test_inputs_are_matched_by_name_in_the_order_of_the_source() -> None:
    known = (spec(1, name="a"), spec(2, name="b"))
    assert agree(known, (spec(2, name="b"), spec(1, name="a")), source="m", rename=False) == known


def test_inputs_of_generated_names_are_renamed_by_position() -> None:
    known = (spec(1, name="keras_tensor"), spec(2, name="keras_tensor_1"))
    wanted = (spec(1, name="image"), spec(2, name="mask"))
    assert agree(known, wanted, source="m", rename=True) == wanted


@dataclass(frozen=True)
class Refused:
    id: str
    known: tuple[TensorSpec, ...]
    wanted: tuple[TensorSpec, ...]
    error: type[EdgekitError]
    text: str
    rename: bool = True


@pytest.mark.parametrize(
    "case",
    [
        Refused("A3-other-size", (spec(1, 3),), (spec(1, 4),), ExportError, "x:float32:1x4 is declared"),
        Refused("A3-dynamic-asked", (spec(1, 3),), (spec("n", 3),), ExportError, "x:float32:nx3 is declared"),
        Refused("rank", (spec(1, 3),), (spec(1, 3, 1),), ExportError, "1x3x1 is declared"),
        Refused("dtype", (spec(1),), (spec(1, dtype="int64"),), ExportError, "is float32, and int64"),
        Refused("count", (spec(1),), (spec(1), spec(1, name="y")), ExportError, "has 1 inputs"),
        Refused(
            "half-the-names",
            (spec(1, name="image"), spec(1, name="mask")),
            (spec(1, name="image"), spec(1, name="maks")),
            UnknownNameError,
            "unknown input of m 'maks'",
        ),
        Refused("no-renaming", (spec(1, name="image"),), (spec(1),), UnknownNameError, "'x'", rename=False),
    ],
    ids=lambda case: case.id,
)
def test_axes_that_do_not_agree(case: Refused) -> None:
    with pytest.raises(case.error, match=case.text):
        agree(case.known, case.wanted, source="m", rename=case.rename)


def test_unnamed_axes_get_names() -> None:
    (named,) = with_dynamic((spec(None, 3, None),), {}, source="m")
    assert named.shape == ("batch", 3, "x_2")


def test_dynamic_axes_are_added() -> None:
    (named,) = with_dynamic((spec(1, 3, 224),), {"x": {0: "batch", 2: "width"}}, source="m")
    assert named.shape == ("batch", 3, "width")


def test_dynamic_axis_of_an_unknown_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'y'"):
        with_dynamic((spec(1),), {"y": {0: "batch"}}, source="m")


def test_dynamic_axis_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="has 1 axes, and axis 1"):
        with_dynamic((spec(1),), {"x": {1: "batch"}}, source="m")


def test_axis_name_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(InputError, match="'batch size'"):
        with_dynamic((spec("batch size"),), {}, source="m")


MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
agraph (float[N, 3] x) => (float[N, 3] y) <float[N, 3] h> { h = Relu(x) y = Relu(h) }
"""


def test_sizes_change_in_all_values_of_the_graph() -> None:
    model = ir.from_onnx_text(MODEL)
    fixed = set_input_shapes(model, (spec(4, 3),))
    assert [spec.shape for specs in io.specs(fixed) for spec in specs] == [(4, 3), (4, 3)]
    assert io.specs(model)[0][0].shape == ("N", 3)  # the original is as it was


def test_axis_is_renamed_in_all_values_of_the_graph() -> None:
    renamed = set_input_shapes(ir.from_onnx_text(MODEL), (spec("batch", 3),))
    assert [spec.shape for specs in io.specs(renamed) for spec in specs] == [("batch", 3), ("batch", 3)]
