"""Tensors of unknown names -> values of the float model, by their numbers. Seed 9."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.spec import Array
from edgekit.validation.recognise import Layout, correlation, layout, recognised

SEED = 9


def values() -> dict[str, Array]:
    rng = np.random.default_rng(SEED)
    made = {name: rng.normal(size=(2, 4, 6, 6)).astype(np.float32) for name in ("a", "b", "c")}
    return {**made, "flat": rng.normal(size=(2, 10)).astype(np.float32)}


def noisy(array: Array, share: float = 0.05) -> Array:
    noise = np.random.default_rng(SEED + 1).normal(size=array.shape)
    return (array.astype(np.float64) + share * noise).astype(np.float32)


def test_equal_shapes_need_no_change() -> None:
    assert layout(values()["a"], values()["a"]) == Layout()


def test_channels_last_are_found_by_shape() -> None:
    array = values()["a"]
    assert layout(array.transpose(0, 2, 3, 1), array) == Layout((0, 3, 1, 2))


def test_where_the_shape_leaves_it_open_the_numbers_decide() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 6, 6, 6)).astype(np.float32)
    last = array.transpose(0, 2, 3, 1)
    assert layout(noisy(last), array) == Layout((0, 3, 1, 2))
    assert layout(noisy(array), array) == Layout()


def test_a_size_of_one_more_or_less_is_reshaped() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 8, 1, 1)).astype(np.float32)
    found = layout(array.reshape(2, 8), array)
    assert found is not None
    np.testing.assert_array_equal(found.applied(array.reshape(2, 8), array.shape), array)


def test_heads_and_positions_that_changed_places_are_found() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 3, 8, 5)).astype(np.float32)
    assert layout(noisy(array.transpose(0, 2, 1, 3)), array) == Layout((0, 2, 1, 3))


def test_a_wrong_value_of_the_right_shape_is_not_turned_until_it_fits() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 6, 6, 6)).astype(np.float32)
    other = np.random.default_rng(SEED + 1).normal(size=(2, 6, 6, 6)).astype(np.float32)
    found = layout(other, array)
    assert found is not None
    assert found.order in {(), (0, 3, 1, 2)}


def test_as_many_elements_in_another_shape_are_another_value() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 4, 6)).astype(np.float32)
    assert layout(array.reshape(2, 3, 8), array) is None


def test_other_sizes_do_not_fit() -> None:
    assert layout(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32)) is None


def test_tensors_are_recognised_in_another_layout_and_with_noise() -> None:
    known = values()
    tensors = {
        "Conv2D;1": noisy(known["a"].transpose(0, 2, 3, 1)),
        "Conv2D;2": noisy(known["c"].transpose(0, 2, 3, 1)),
        "Identity": noisy(known["flat"]),
    }
    assert recognised(tensors, known) == {"Conv2D;1": "a", "Conv2D;2": "c", "Identity": "flat"}


def test_what_is_like_nothing_stays_unknown() -> None:
    """The one that must not fire: noise of the right shape."""
    other = np.random.default_rng(SEED + 5).normal(size=(2, 4, 6, 6)).astype(np.float32)
    assert recognised({"x": other}, values()) == {}


def test_of_alike_values_the_order_decides() -> None:
    array = values()["a"]
    known = {"a": array, "b": noisy(array, 0.01)}
    assert recognised({"first": noisy(array, 0.02), "second": noisy(array, 0.02)}, known) == {
        "first": "a",
        "second": "b",
    }


def test_branches_may_be_in_another_order() -> None:
    known = values()
    tensors = {"first": noisy(known["c"]), "second": noisy(known["a"])}
    assert recognised(tensors, known) == {"first": "c", "second": "a"}


def test_a_value_and_its_reshape_are_told_apart_by_shape() -> None:
    array = np.random.default_rng(SEED).normal(size=(2, 8, 1, 1)).astype(np.float32)
    known = {"pooled": array, "flat": array.reshape(2, 8)}
    assert recognised({"t": array.reshape(2, 8)}, known) == {"t": "flat"}
    assert recognised({"t": array}, known) == {"t": "pooled"}


@pytest.mark.parametrize("factor", [2.0, -3.0])
def test_correlation_is_of_the_shape_of_the_signal(factor: float) -> None:
    array = values()["a"].astype(np.float64)
    assert correlation(array * factor + 1.0, array) == pytest.approx(np.sign(factor))
    assert correlation(np.ones(4), np.arange(4.0)) == 0.0
