"""The small parts of a bundle: deterministic .npz, canonical JSON, golden comparison."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.bundle import canonical_json, npz
from edgekit.bundle.golden import compare, record
from edgekit.bundle.manifest import Tolerance
from edgekit.spec import Array, Feeds, TensorSpec

Numbers = npt.NDArray[Any]

ARRAYS: dict[str, Numbers] = {
    "z/with:odd name": np.arange(6, dtype=np.int64).reshape(2, 3),
    "scalar": np.array(3.5, np.float32),
    "half": np.array([1.5, -2], np.float16),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4), np.uint8),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(12.0)[::2],
    "big-endian": np.arange(3, dtype=">i4"),
}


def test_npz_gives_back_what_went_in() -> None:
    found = npz.from_bytes(npz.to_bytes(ARRAYS), name="x")
    assert list(found) == sorted(ARRAYS)
    for name, value in ARRAYS.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == value.dtype.newbyteorder("<")
        np.testing.assert_array_equal(found[name], value)


def test_npz_depends_on_names_and_values_only() -> None:
    turned = {name: np.array(ARRAYS[name], order="F") for name in reversed(list(ARRAYS))}
    assert npz.to_bytes(ARRAYS) == npz.to_bytes(turned)
    assert npz.to_bytes(ARRAYS) != npz.to_bytes(ARRAYS | {"scalar": np.array(3.25, np.float32)})


def test_npz_has_no_time_and_no_machine_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(npz.to_bytes(ARRAYS))) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.compress_type == zipfile.ZIP_STORED
            assert (entry.create_system, entry.external_attr) == (3, 0o644 << 16)


def test_numpy_reads_the_npz() -> None:
    with np.load(io.BytesIO(npz.to_bytes(ARRAYS)), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["half"], ARRAYS["half"])


def test_canonical_json() -> None:
    body = canonical_json.render({"b": [1, 2.5], "a": {"é": None}})
    assert body == '{\n  "a": {\n    "é": null\n  },\n  "b": [\n    1,\n    2.5\n  ]\n}\n'.encode()
    assert json.loads(body) == {"b": [1, 2.5], "a": {"é": None}}
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json.render({"a": wrong})


def test_a_digest_ignores_order_and_its_own_field() -> None:
    one = canonical_json.digest({"a": 1, "b": 2})
    assert one == canonical_json.digest({"b": 2, "a": 1, "digest": "anything"})
    assert one != canonical_json.digest({"a": 1, "b": 3})
    assert len(one) == 64


Y = np.array([[0.0, 1.0], [2.0, 4.0]], np.float32)
LIMIT = Tolerance(steps=2.0, relative_to_range=0.01)


def difference(found: Mapping[str, Numbers], *, steps: Mapping[str, float]) -> str:
    return compare(found, {"y": Y}, steps=steps, tolerance=LIMIT)


def test_quantized_outputs_are_compared_in_steps() -> None:
    assert difference({"y": Y + np.float32(0.5)}, steps={"y": 0.25}) == ""
    moved = Y.copy()
    moved[1, 0] += 0.75
    words = difference({"y": moved}, steps={"y": 0.25})
    assert words == "output 'y' at (1, 0) is 2.75, recorded 2: 3 steps, allowed 2; 1 of 4 differ"


def test_float_outputs_are_compared_with_their_range() -> None:
    assert difference({"y": Y + np.float32(0.03)}, steps={}) == ""
    assert "0.0125 of the output's range" in difference({"y": Y + np.float32(0.05)}, steps={})


@pytest.mark.parametrize(("value", "ok", "wrong"), [(5.0, 0.04, 0.06), (0.0, 0.009, 0.02)])
def test_a_constant_output_has_a_range_too(value: float, ok: float, wrong: float) -> None:
    """Range 0: the largest magnitude takes its place, and 1 where that is 0 as well."""
    recorded = {"y": np.full((2, 2), value)}
    assert compare({"y": recorded["y"] + ok}, recorded, steps={}, tolerance=LIMIT) == ""
    assert compare({"y": recorded["y"] + wrong}, recorded, steps={}, tolerance=LIMIT) != ""


class Doubler:
    """A Runner of fixed batch 2 that refuses any other."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("x", "float32", (2, 3)),)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec("y", "float32", (2, 3)),)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        assert feeds["x"].shape == (2, 3)
        return {"y": np.asarray(feeds["x"], np.float32) * 2}


def test_a_fixed_batch_is_filled_piece_by_piece() -> None:
    x = np.arange(18, dtype=np.float32).reshape(6, 3)
    np.testing.assert_array_equal(record(Doubler(), {"x": x, "unused": x})["y"], 2 * x)
