"""coverage: V1 to V5, on kernels as the three runtimes name them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgekit.spec import Executed, Precision
from edgekit.validation.coverage import Coverage, Layer, coverage

BIG, SMALL = Layer("conv", ("relu",), 900), Layer("head", ("logits",), 100)
FLOAT, INT8 = "float32", "int8"


def ran(name: str, precision: str = INT8, *, device: str = "cpu", multiplies: bool = True) -> Executed:
    return Executed((name,), "Kernel", device, precision, multiplies)


def found(
    *rows: Executed, layers: tuple[Layer, ...] = (BIG, SMALL), precision: Precision = Precision.W8A8
) -> Coverage:
    result = coverage(rows, layers, precision=precision, device="cpu")
    assert result is not None
    return result


def test_all_as_asked() -> None:
    assert found(ran("conv"), ran("head"), ran("softmax", FLOAT, multiplies=False)) == Coverage(
        1.0, "MACs", 2, 2
    )


def test_one_in_float_counts_by_its_macs_and_is_named() -> None:  # V1, V3
    result = found(ran("conv"), ran("head", FLOAT))
    assert (result.share, result.covered) == (0.9, 1)
    (node,) = result.elsewhere
    assert (node.node, node.precision, node.silent) == ("head", FLOAT, True)


def test_what_the_plan_left_in_float_is_not_silent() -> None:  # V3
    result = found(ran("conv"), ran("head", FLOAT), layers=(BIG, Layer("head", (), 100, planned=True)))
    assert (result.share, result.elsewhere[0].silent) == (0.9, False)


def test_a_kernel_of_an_own_name_may_be_the_planned_one() -> None:  # V3
    planned = Layer("lstm", (), 900, planned=True)
    one = found(ran("RNNSeq_69", FLOAT), ran("head"), layers=(planned, SMALL))
    assert [each.silent for each in one.elsewhere] == [False]
    two = found(ran("RNNSeq_69", FLOAT), ran("RNNSeq_70", FLOAT), layers=(planned, SMALL))
    assert [each.silent for each in two.elsewhere] == [False, True]


def test_another_device_counts_for_every_kind_of_operator() -> None:  # V2
    result = found(ran("conv"), ran("head", device="gpu"), ran("softmax", device="gpu", multiplies=False))
    assert [each.node for each in result.elsewhere] == ["head", "softmax"]
    assert all(each.silent for each in result.elsewhere)
    assert result.share == 0.9


@dataclass(frozen=True)
class Named:
    id: str
    kernel: str


@pytest.mark.parametrize(
    "case",
    [
        Named("the node's own", "conv"),
        Named("onnxruntime, float: the output and its layout", "relu_nchwc"),
        Named("litert: the quantized output", "relu_quantized"),
        Named("openvino: a part of it", "conv/WithoutBiases"),
    ],
    ids=lambda case: case.id,
)
def test_a_kernel_is_known_by(case: Named) -> None:
    assert found(ran(case.kernel, FLOAT), ran("head")).share == 0.1


def test_the_longest_name_counts() -> None:
    layers = (Layer("conv", (), 900), Layer("conv_1", (), 100))
    assert found(ran("conv_1/x", FLOAT), ran("conv"), layers=layers).share == 0.9


def test_nameless_kernels_stand_for_what_is_left() -> None:  # V4
    assert found(ran("conv"), ran("fused_17")).share == 1.0
    assert found(ran("conv"), ran("fused_17", FLOAT)).share == 0.9


def test_where_macs_are_open_operators_are_counted() -> None:  # V4
    both = found(ran("a1"), ran("b2", FLOAT))
    assert (both.share, both.by) == (0.5, "operators")
    unknown = found(ran("conv"), ran("head", FLOAT), layers=(BIG, Layer("head", (), None)))
    assert (unknown.share, unknown.by) == (0.5, "operators")


def test_a_kernel_that_does_not_say_its_type_is_counted_apart() -> None:  # V4
    result = found(ran("conv", ""), ran("head"))
    assert (result.share, result.operators, result.untold, result.elsewhere) == (1.0, 1, 1, ())
    assert coverage([ran("conv", "")], (BIG,), precision=Precision.W8A8, device="cpu") is None


def test_weights_alone_compute_in_any_type() -> None:  # V5
    assert found(ran("conv", FLOAT), ran("head", FLOAT), precision=Precision.W4).share == 1.0


def test_half_precision_that_runs_in_float_is_not_half_precision() -> None:
    assert found(ran("conv", FLOAT), ran("head", "float16"), precision=Precision.FP16).share == 0.1


def test_a_model_that_multiplies_nothing_has_no_coverage() -> None:
    assert coverage([ran("add", multiplies=False)], (), precision=Precision.W8A8, device="cpu") is None
