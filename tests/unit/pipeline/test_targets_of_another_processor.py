"""onnxruntime-arm64 and litert-arm64: made everywhere, at home on aarch64 alone, honest about the rest."""

from __future__ import annotations

import platform

import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.errors import MissingBackendError
from edgekit.pipeline.candidates import schemes_of
from edgekit.pipeline.doctor import target_here
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.proof import where
from edgekit.quantization.saturation import FEATURE
from edgekit.spec import Precision

ARM = ("onnxruntime-arm64", "litert-arm64")
SAME_ROWS = {"onnxruntime-arm64": "onnxruntime-cpu", "litert-arm64": "litert-cpu"}


@pytest.fixture(params=ARM)
def target(request: pytest.FixtureRequest) -> targets.Target:
    return targets.load(request.param)


def on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)


def test_on_another_processor_it_compiles_and_numerics_are_checked_with_the_same_file(
    target: targets.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "x86_64")
    place = where(target, target.run.options())
    assert not place.timed
    assert "not run on aarch64 here (this machine is x86_64" in place.caveat
    assert "this CPU, which runs the same file" in place.caveat
    here = target_here(target)
    assert (here.compiles, here.runs, here.stands_in) == (True, False, "cpu")
    assert "--device" in here.remedy


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])  # as Linux and macOS say it
def test_on_its_own_processor_it_is_timed(
    target: targets.Target, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, machine)
    place = where(target, target.run.options())
    assert (place.timed, place.caveat) == (True, "")


def test_targets_of_any_processor_do_not_ask_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "riscv64")
    assert registry.availability(targets.load("onnxruntime-cpu")).ok
    assert not registry.availability(targets.load("onnxruntime-arm64")).ok


def test_a_processor_that_nothing_stands_in_for_is_missing(
    target: targets.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "x86_64")
    alone = target.model_copy(update={"numerics_on": ""})
    with pytest.raises(MissingBackendError, match="this machine is x86_64"):
        where(alone, alone.run.options())


def test_uint8_by_int8_is_exact_there_so_no_row_asks_for_vnni_and_no_weight_is_stored_as_uint8(
    target: targets.Target,
) -> None:
    assert not any(FEATURE in row.requires for row in target.kernel)
    assert any(FEATURE in row.requires for row in targets.load("onnxruntime-cpu").kernel)  # the trap is x86's
    plan = TargetPlan(target, "", Precision.AUTO, target.run.options(), cross_cpu="uint8")
    assert [each.variant for each in schemes_of(Precision.W8A8, plan)] == [""]


def test_integer_rows_are_those_of_the_runtime_on_x86(target: targets.Target) -> None:
    """So that one plan serves both, and equal plans give equal numbers."""
    other = targets.load(SAME_ROWS[target.name])

    def rows(each: targets.Target) -> list[object]:
        return [row.model_copy(update={"requires": (), "source": ""}) for row in each.kernel]

    assert rows(target) == rows(other)
    assert (target.fixed_scale, target.shared_scale) == (other.fixed_scale, other.shared_scale)
