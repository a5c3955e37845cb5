"""Reference arrays <-> artifact arrays, and feeds that do not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.backends.bindings import (
    artifact_from_reference,
    check_feeds,
    reference_from_artifact,
    same_layout,
    trial_feeds,
)
from edgekit.errors import DataError
from edgekit.spec import IoBinding, QuantParams, TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 3, 4, 5))
MASK = TensorSpec("mask", "bool", ("batch", None))


def binding(**changes: Any) -> IoBinding:
    fields: dict[str, Any] = {
        "reference": IMAGE,
        "name": "inside",
        "dtype": "float32",
        "shape": IMAGE.shape,
        **changes,
    }
    return IoBinding(**fields)


def image(batch: int = 2) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(batch, 3, 4, 5)).astype(np.float32)


@dataclass(frozen=True)
class Misfit:
    id: str
    feeds: dict[str, Any]
    says: str


FITS = {"image": image(), "mask": np.zeros((2, 7), bool)}
MISFITS = (
    Misfit("C1 missing", {"image": image()}, "input 'mask' is missing"),
    Misfit("C2 unknown", {**FITS, "imag": image()}, "unknown input 'imag'"),
    Misfit("C3 dtype", {**FITS, "image": image().astype(np.float64)}, "float64, not float32"),
    Misfit("C3 not an array", {**FITS, "mask": [[True]]}, "is list, not bool"),
    Misfit("C4 rank", {**FITS, "image": image()[0]}, "has shape 3x4x5"),
    Misfit("C4 size", {**FITS, "image": image()[:, :2]}, "has shape 2x2x4x5"),
    Misfit("C4 scalar", {**FITS, "mask": np.array(True)}, "has shape scalar"),
    Misfit("C5 empty", {**FITS, "image": image(0)}, "input 'image' is empty"),
    Misfit("C6 batch", {**FITS, "image": image(3)}, "says batch = 2, and input 'image' says batch = 3"),
)


@pytest.mark.parametrize("case", MISFITS, ids=lambda case: case.id)
def test_feeds_that_do_not_fit_are_refused_and_the_expected_is_named(case: Misfit) -> None:
    with pytest.raises(DataError) as caught:
        check_feeds(case.feeds, (IMAGE, MASK))
    assert case.says in caught.value.what
    assert "image" in str(caught.value) or "mask" in str(caught.value)
    assert caught.value.remedy


def test_feeds_that_fit_pass() -> None:
    check_feeds(FITS, (IMAGE, MASK))
    check_feeds({"image": image(1), "mask": np.zeros((1, 1), bool)}, (IMAGE, MASK))


def test_an_axis_that_is_empty_by_specification_may_be_empty() -> None:
    check_feeds({"state": np.zeros((2, 0), np.int64)}, (TensorSpec("state", "int64", (2, 0)),))


@given(st.permutations(range(4)))
def test_a_permutation_goes_there_and_back(permutation: list[int]) -> None:
    bindings = (binding(permutation=tuple(permutation)),)
    x = image()
    there = artifact_from_reference({"image": x}, bindings)["inside"]
    assert there.shape == tuple(x.shape[axis] for axis in permutation)
    assert there.flags.c_contiguous
    np.testing.assert_array_equal(reference_from_artifact({"inside": there}, bindings)["image"], x)


def test_channels_last_puts_each_value_where_it_belongs() -> None:
    x = image()
    inside = artifact_from_reference({"image": x}, (binding(permutation=(0, 2, 3, 1)),))["inside"]
    assert inside[1, 2, 3, 0] == x[1, 0, 2, 3]


@given(hnp.arrays(np.float32, 60, elements=st.floats(-4, 4, width=32)))
def test_integer_inputs_and_outputs_cost_half_a_step_at_most(values: npt.NDArray[np.float32]) -> None:
    quant = QuantParams("uint8", (8 / 255,), (128,))
    bindings = (binding(dtype="uint8", quant=quant),)
    x = values.reshape(1, 3, 4, 5)
    inside = artifact_from_reference({"image": x}, bindings)["inside"]
    assert inside.dtype == np.uint8
    back = reference_from_artifact({"inside": inside}, bindings)["image"]
    assert back.dtype == np.float32
    low, high = (0 - 128) * 8 / 255, (255 - 128) * 8 / 255  # beyond: saturation
    assert np.abs(back - np.clip(x, low, high)).max() <= 8 / 255 / 2 * 1.0001  # in float32: 1e-4 of a step


def test_quantizing_saturates_rounds_to_even_and_maps_nan_to_zero() -> None:
    quant = QuantParams("int8", (1.0,), (0,))
    spec = TensorSpec("x", "float32", (7,))
    x = np.array([0.5, 1.5, 1e9, -1e9, np.inf, -np.inf, np.nan], np.float32)
    inside = artifact_from_reference({"x": x}, (IoBinding(spec, "x", "int8", (7,), quant=quant),))["x"]
    assert inside.tolist() == [0, 2, 127, -128, 127, -128, 0]


def test_per_channel_scales_run_along_the_axis_of_the_artifact() -> None:
    quant = QuantParams("int8", (1.0, 2.0, 4.0), (0, 0, 0), axis=3)
    bindings = (binding(dtype="int8", permutation=(0, 2, 3, 1), quant=quant),)
    x = np.full((1, 3, 4, 5), 8, np.float32)
    inside = artifact_from_reference({"image": x}, bindings)["inside"]
    assert inside[0, 0, 0].tolist() == [8, 4, 2]
    np.testing.assert_array_equal(reference_from_artifact({"inside": inside}, bindings)["image"], x)


@pytest.mark.parametrize(
    ("given_dtype", "inside", "value"),
    [("float32", "float16", 65504), ("int64", "int32", 2**31 - 1), ("float64", "float32", 1e38)],
)
def test_a_narrower_type_takes_what_fits_and_refuses_what_does_not(
    given_dtype: str, inside: str, value: float
) -> None:
    spec = TensorSpec("x", given_dtype, (1,))
    bindings = (IoBinding(spec, "x", inside, (1,)),)
    fits = np.array([value], given_dtype)
    assert artifact_from_reference({"x": fits}, bindings)["x"].dtype == np.dtype(inside)
    with pytest.raises(DataError, match=f"holds values that {inside} cannot"):
        artifact_from_reference({"x": fits * 20}, bindings)


def test_an_infinite_float_stays_infinite_in_a_narrower_type() -> None:
    spec = TensorSpec("x", "float32", (1,))
    bindings = (IoBinding(spec, "x", "float16", (1,)),)
    assert np.isinf(artifact_from_reference({"x": np.array([np.inf], np.float32)}, bindings)["x"])[0]


def test_a_scalar_stays_a_scalar() -> None:
    scalar = same_layout(TensorSpec("count", "int64", ()))
    value = np.asarray(3, np.int64)
    assert artifact_from_reference({"count": value}, (scalar,))["count"].shape == ()
    assert reference_from_artifact({"count": value}, (scalar,))["count"].shape == ()


def test_same_layout_changes_nothing() -> None:
    x = image()
    assert artifact_from_reference({"image": x}, (same_layout(IMAGE),))["image"] is x


def test_trial_feeds_are_zeros_of_batch_one_unless_another_size_is_open() -> None:
    found = trial_feeds((IMAGE,))
    assert found is not None
    assert found["image"].shape == (1, 3, 4, 5)
    assert trial_feeds((IMAGE, MASK)) is None
