"""Every shipped target is a table with sources; those of CPUs also say what was measured to surprise."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import ValidationError

from edgekit import target as targets
from edgekit._resources import shipped
from edgekit.errors import UnknownNameError
from edgekit.target import Target

CPUS = (
    "executorch-xnnpack",
    "litert-arm64",
    "litert-cpu",
    "onnxruntime-arm64",
    "onnxruntime-cpu",
    "openvino-cpu",
    "wasm",
)


@pytest.mark.parametrize("name", targets.names())
def test_every_row_says_where_it_was_learned(name: str) -> None:
    target = targets.load(name)
    said = [row.source for row in target.kernel]
    said += [row.source for row in target.quirk]
    said += [row.source for row in target.fixed_scale.values()]
    said += [row.source for row in target.placement.values()]
    assert all(text == "measured" or text.startswith("https://") for text in said)


@pytest.mark.parametrize("name", CPUS)
def test_a_cpu_target_has_rows_of_its_own_and_measured_quirks(name: str) -> None:
    target = targets.load(name)
    assert target.kernel
    assert target.readiness is None
    assert [each.says for each in target.quirk if each.source == "measured"]


def test_a_row_without_a_source_is_refused() -> None:
    """Sabotage: the schema does not take it."""
    document = tomllib.loads((shipped("targets") / "wasm.toml").read_text("utf-8"))
    Target.model_validate(document)
    del document["quirk"][0]["source"]
    with pytest.raises(ValidationError, match=r"quirk\.0\.source"):
        Target.model_validate(document)


@pytest.mark.parametrize("name", ["no-such-target", "x" * 5000, "x" * 5000 + ".toml"])
def test_a_name_that_is_none_is_said_whatever_its_length(name: str) -> None:  # found by fuzzing
    with pytest.raises(UnknownNameError, match="target"):
        targets.load(name)
