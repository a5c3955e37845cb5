"""Gates through `release`: red with the right code and the right reason, green where they must not fire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from edgekit.errors import ExitCode
from edgekit.pipeline.init import init
from edgekit.pipeline.result import GateRow, ReleaseResult
from edgekit.pipeline.run import release
from edgekit.report import render_release
from edgekit.spec import Silent

TODAY = date(2026, 6, 1)
Released = Callable[..., ReleaseResult]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: the releases of this file differ in what is judged, hardly in what is computed."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def released(tmp_path: Path, cache: Path) -> Released:
    """A release of the shipped example with another [budget]; the speed is left out, which may vary."""

    def run(budget: str = "", more: str = "", *, today: date = TODAY) -> ReleaseResult:
        return release(
            example(tmp_path / "recipe", budget=budget, more=more),
            out=tmp_path / "dist",
            cache_dir=cache,
            progress=Silent(),
            render=render_release,
            today=today,
        )

    return run


def example(folder: Path, *, budget: str = "", more: str = "") -> Path:
    """The shipped example's recipe with ``budget`` in its [budget] and ``more`` at the end."""
    recipe, original = folder / "edgekit.toml", folder / "original"
    if not recipe.exists():
        init(folder, example="digits-cnn")
        original.write_text(recipe.read_text("utf-8"), "utf-8")
    text = original.read_text("utf-8").replace("never_slower = true", "never_slower = false")
    recipe.write_text(text.replace("[budget]\n", f"[budget]\n{budget}\n") + more, "utf-8")
    return recipe


def gate(result: ReleaseResult, name: str, *, precision: str = "w8a8") -> GateRow:
    (row,) = (each for each in result.targets[0].candidates if each.name == precision)
    return next(each for each in row.gates if each.name == name)


WAIVER = """
[[waiver]]
gate = "size"
target = "onnxruntime-*"
reason = "pruned next month"
expires = 2026-06-30
"""
TOO_SMALL = "max_size_bytes = 1000"


def test_a_budget_that_is_met_is_green(released: Released) -> None:
    limits = "max_memory_bytes = 200_000_000\nmin_coverage = 1.0\nmax_size_bytes = 1_000_000"
    result = released(limits)
    assert result.exit_code is ExitCode.OK
    assert {gate(result, name).status for name in ("accuracy", "size", "memory", "coverage")} == {"pass"}
    assert result.findings == ()


def test_too_much_memory(released: Released) -> None:
    result = released("max_memory_bytes = 1000")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert "breaks the memory gate" in result.targets[0].reason


def test_a_limit_of_one_target_alone(released: Released) -> None:
    result = released("max_size_bytes = 1_000_000", "\n[target.budget]\nmax_size_bytes = 1000\n")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert gate(result, "size").limit == "size <= 1000 bytes"


def test_a_waived_gate_ships_and_every_report_says_so(released: Released) -> None:
    result = released(TOO_SMALL, WAIVER)
    assert result.exit_code is ExitCode.OK
    assert gate(result, "size").status == "waived"
    assert result.bundle is not None
    for name in ("report.json", "report.md", "report.html"):
        text = (result.bundle / "report" / name).read_text("utf-8")
        assert "pruned next month" in text, name
        assert "2026-06-30" in text, name


def test_an_expired_waiver(released: Released) -> None:
    result = released(TOO_SMALL, WAIVER, today=date(2026, 7, 1))
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert "its waiver (pruned next month) expired on 2026-06-30" in gate(result, "size").reason
    assert "expired on 2026-06-30" in result.targets[0].reason
    assert result.bundle is None


def test_a_waiver_for_nothing_is_a_finding(released: Released) -> None:
    assert any("is not needed" in text for text in released("max_size_bytes = 1_000_000", WAIVER).findings)
    assert any("matches no gate" in text for text in released("", WAIVER).findings)
