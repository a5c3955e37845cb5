"""The recipe behind a .mlpackage: named, the bundle's own, and converted, or the reason for none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends import coreml
from edgekit.bundle.packages.base import Source
from edgekit.bundle.packages.converted import Converted
from edgekit.errors import (
    InputError,
    MissingBackendError,
    TargetRefusalError,
    UnknownNameError,
    VerificationError,
)
from edgekit.frontends.source import SourceRequest, load
from edgekit.ir.digest import digest
from edgekit.passes import canonicalize
from edgekit.pipeline.package_coreml import CoreMlWish, converter, wish
from edgekit.spec import Array, Embedding, Silent
from tests.unit.packages.bundles import INPUTS, bundle_of, linear_onnx, onnx_artifact

RECIPE = """
schema = 1
[model]
name = "linear"
version = "1.0.0"
source = "linear.onnx"
[data]
evaluation = { source = "x.npz" }
[[target]]
name = "onnxruntime-cpu"
"""


@dataclass
class Coremltools:
    """Stands for the converter; remembers what it was given."""

    drift: float | None = None
    error: Exception | None = None
    samples: Mapping[str, Array] = field(default_factory=dict)
    precision: str = ""

    def __call__(self, model: object, *, precision: str, samples: Mapping[str, Array]) -> coreml.CoreMl:
        if self.error is not None:
            raise self.error
        self.samples, self.precision = samples, precision
        x = coreml.Feature("x", "x", (1, 4), "float32")
        y = coreml.Feature("y", "y_1", (1, 3), "float32")
        ran = "macOS 15" if self.drift is not None else ""
        return coreml.CoreMl(
            {"m": b"1"}, precision, (x,), (y,), "1 of 1", ran, self.drift, {"coremltools": "9"}
        )


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Coremltools:
    found = Coremltools()
    monkeypatch.setattr(coreml, "convert", found)
    return found


def converted(
    folder: Path,
    *,
    asked: CoreMlWish = "auto",
    seed: int = 0,
    named: bool = True,
    embedded: tuple[Embedding, ...] = (),
) -> Converted | str:
    """What the function gives for the linear bundle and a recipe of a model of ``seed``."""
    recipe = folder / "recipe"
    recipe.mkdir(parents=True)
    (recipe / "edgekit.toml").write_text(RECIPE)
    (recipe / "linear.onnx").write_bytes(linear_onnx())
    made_from = digest(canonicalize(load(SourceRequest("linear.onnx", recipe)).model))
    (recipe / "linear.onnx").write_bytes(linear_onnx(seed=seed))
    source = Source.at(bundle_of(folder / "linear-1.2.0", onnx_artifact(folder / "work")))
    manifest = source.manifest.model_copy(update={"model_digest": made_from})
    (entry,) = manifest.targets
    around = entry.processing.model_copy(update={"embedded": embedded})
    entry = entry.model_copy(update={"processing": around})
    path = recipe / "edgekit.toml" if named else None
    convert = converter(path, wish=asked, progress=Silent(), cache_dir=folder / "cache")
    return convert(replace(source, manifest=manifest), entry)


def test_the_float_model_is_converted_with_golden_samples_of_its_own(
    tmp_path: Path, tools: Coremltools
) -> None:
    found = converted(tmp_path)
    assert isinstance(found, Converted)
    assert tools.precision == found.precision == "fp16"
    prepared = INPUTS["x"] * np.float32(0.5)  # the bundle's step
    np.testing.assert_array_equal(tools.samples["input/x"], prepared)
    w, b = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), np.arange(3)
    np.testing.assert_allclose(np.asarray(found.outputs["y"], np.float64), prepared @ w + b, rtol=1e-5)
    np.testing.assert_array_equal(tools.samples["output/y"], found.outputs["y"])
    assert found.features == {"x": "x", "y": "y_1"}
    assert (
        found.status
        == "converted, not run here (fp16; constants of the float model in it: 1 of 1; coremltools 9)"
    )


def test_another_source_than_the_bundles_is_refused(tmp_path: Path, tools: Coremltools) -> None:
    with pytest.raises(VerificationError, match="gives another model than the bundle was made from"):
        converted(tmp_path, seed=1)
    assert not tools.samples


@pytest.mark.parametrize(
    ("named", "embedded", "says"),
    [(False, (), "no recipe was named"), (True, ("softmax",), "has softmax inside")],
)
def test_what_cannot_be_converted_has_its_reason_and_is_an_error_where_asked_for(
    tmp_path: Path, tools: Coremltools, named: bool, embedded: tuple[Embedding, ...], says: str
) -> None:
    found = converted(tmp_path / "auto", named=named, embedded=embedded)
    assert isinstance(found, str)
    assert says in found
    with pytest.raises(InputError, match=says):
        converted(tmp_path / "asked", asked="int8", named=named, embedded=embedded)


@pytest.mark.parametrize(
    "error",
    [
        MissingBackendError("coremltools is not installed", remedy="pip"),
        TargetRefusalError("no odd operator"),
    ],
)
def test_a_converter_that_refuses_is_a_reason_or_the_error(
    tmp_path: Path, tools: Coremltools, error: Exception
) -> None:
    tools.error = error
    found = converted(tmp_path / "auto")
    assert isinstance(found, str)
    assert str(error).splitlines()[0] in found
    with pytest.raises(type(error)):
        converted(tmp_path / "asked", asked="fp16")


def test_what_ran_is_held_against_the_float_model(tmp_path: Path, tools: Coremltools) -> None:
    tools.drift = 0.002
    found = converted(tmp_path / "near")
    assert isinstance(found, Converted)
    assert found.status.startswith("run on macOS 15: 0.002 of the range from the float model (fp16")
    tools.drift = 0.5
    with pytest.raises(TargetRefusalError, match="of the range from the float model, allowed are"):
        converted(tmp_path / "far", asked="fp16")
    tools.drift = float("nan")
    with pytest.raises(TargetRefusalError, match="nan of the range"):
        converted(tmp_path / "nan", asked="fp16")


def test_none_asks_for_nothing(tmp_path: Path, tools: Coremltools) -> None:
    assert converted(tmp_path, asked="none") == "not asked for"
    assert not tools.samples


def test_an_unknown_wish_names_the_known_ones() -> None:
    assert wish("int8") == "int8"
    with pytest.raises(UnknownNameError, match="fp61"):
        wish("fp61")
