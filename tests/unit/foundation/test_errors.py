"""The exception tree: unique exit codes, four-part texts, closest names."""

from __future__ import annotations

import pytest

from edgekit import errors
from edgekit.errors import EXIT_CODE_MEANINGS, EdgekitError, ExitCode, UnknownNameError


def test_exit_codes_are_the_contract() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "BAD_INPUT": 2,
        "ACCURACY_GATE": 3,
        "LATENCY_OR_SIZE_GATE": 4,
        "TARGET_REFUSES": 5,
        "BACKEND_MISSING": 6,
        "INCONCLUSIVE": 7,
        "VERIFICATION_FAILED": 8,
        "INTERRUPTED": 130,
    }
    assert set(EXIT_CODE_MEANINGS) == set(ExitCode)


def test_every_error_class_has_an_exit_code_that_is_not_ok() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, EdgekitError)]
    assert len(classes) >= 10
    assert all(c.exit_code not in {ExitCode.OK, ExitCode.INTERRUPTED} for c in classes)


def test_the_first_line_stands_alone_and_empty_parts_are_left_out() -> None:
    error = EdgekitError("it broke", why="rust", remedy="oil it")
    assert str(error).splitlines() == ["it broke", "  why:  rust", "  next: oil it"]


def test_unknown_name_offers_the_three_closest() -> None:
    error = UnknownNameError(
        "target", "litert-cpi", ["litert-cpu", "openvino-cpu"], listing="edgekit targets"
    )
    assert "did you mean litert-cpu" in error.remedy
    assert "edgekit targets" in error.remedy


def test_unknown_name_without_neighbours_says_what_is_known() -> None:
    error = UnknownNameError("target", "zzz", ["litert-cpu"], listing="edgekit targets")
    assert "did you mean" not in error.remedy
    assert "litert-cpu" in error.why


@pytest.mark.parametrize("extra", ["torch", "keras", "litert", "openvino", "data"])
def test_missing_extra_names_the_install_line(extra: str) -> None:
    error = errors.missing_extra("x", extra, needed_for="this")
    assert error.remedy == f'pip install "edgekit[{extra}]"'
    assert error.exit_code is ExitCode.BACKEND_MISSING
