"""Memory and coverage gates: pass, fail, not measured, their words and their exit codes."""

from __future__ import annotations

import pytest

from edgekit.errors import ExitCode, RecipeError
from edgekit.validation.budget import GATE_CODES, Budget, Gate, verdict_of
from edgekit.validation.coverage import Coverage, Elsewhere
from edgekit.validation.resources import nodes_in_words, resource_gates

NODE = Elsewhere("head", "Gemm", "cpu", "float32", silent=True)
LIMITS = Budget(max_memory_bytes=1000, min_coverage=0.9)


def gates(
    memory: int | None = 1000, share: float | None = 0.9, *, budget: Budget = LIMITS, why: str = ""
) -> tuple[Gate, ...]:
    found = None if share is None else Coverage(share, "MACs", 2, 1, (NODE,))
    return resource_gates(budget, memory_bytes=memory, coverage=found, unmeasured=why)


def test_on_the_limit_is_within() -> None:
    assert [gate.status for gate in gates()] == ["pass", "pass"]
    assert verdict_of(gates()).exit_code is ExitCode.OK


def test_without_limits_there_are_no_gates() -> None:
    assert gates(budget=Budget()) == ()


def test_too_much_memory_is_4() -> None:
    gate = gates(memory=1001)[0]
    assert (gate.name, gate.status, gate.reason) == ("memory", "fail", "1 bytes too much")
    assert verdict_of([gate]).exit_code is ExitCode.LATENCY_OR_SIZE_GATE


def test_too_little_coverage_is_5_and_names_the_nodes() -> None:
    gate = gates(share=0.5)[1]
    assert (gate.name, gate.status) == ("coverage", "fail")
    assert gate.reason == "elsewhere: head (Gemm, float32 on cpu)"
    assert gate.measured == "50 % of MACs (1 of 2 operators that multiply)"
    assert verdict_of([gate]).exit_code is ExitCode.TARGET_REFUSES


@pytest.mark.parametrize("why", ["", "no device here"])
def test_not_measured_is_said_and_fatal_only_on_request(why: str) -> None:
    for gate in gates(None, None, why=why):
        assert gate.status == "not_measured"
        assert f"{gate.name} was not measured here: " in gate.reason
        assert why in gate.reason
    strict = Budget(max_memory_bytes=1, min_coverage=0.5, require_measured=True)
    assert [gate.status for gate in gates(None, None, budget=strict)] == ["fail", "fail"]


def test_the_gravest_gate_decides() -> None:
    found = [Gate(name, "fail", "", "", "") for name in GATE_CODES]
    assert verdict_of(found).exit_code is ExitCode.TARGET_REFUSES
    without = [gate for gate in found if gate.name != "coverage"]
    assert verdict_of(without).exit_code is ExitCode.ACCURACY_GATE
    late = [gate for gate in without if GATE_CODES[gate.name] is not ExitCode.ACCURACY_GATE]
    assert verdict_of(late).exit_code is ExitCode.LATENCY_OR_SIZE_GATE


def test_a_long_list_of_nodes_is_cut() -> None:
    assert nodes_in_words((NODE,) * 7).endswith("and 2 more")


@pytest.mark.parametrize("limits", [{"max_memory_bytes": -1}, {"min_coverage": float("nan")}])
def test_limits_that_are_none_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="is not a limit"):
        Budget(**limits)  # type: ignore[arg-type]  # what a recipe cannot hold, a caller can
