"""ONNX's own node tests on LiteRT: a sample of the cases of ``benchmarks/onnx_nodes.py``, and its verdicts.

The sample is every fourteenth case; the benchmark runs them all. A case is
compiled and run in this process, since none of them may abort.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import onnx_nodes
from benchmarks.onnx_nodes import REFUSED, RIGHT, WRONG, Job, Outcome

STRIDE = 14
FLOOR = 0.8  # of the sample; the bar of 0.85 is over all cases, which the benchmark runs


def _sample() -> list[Job]:
    return onnx_nodes.jobs()[::STRIDE]


def test_a_sample_of_the_node_tests_is_right_or_refused(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    for job in _sample():
        problem = onnx_nodes.runs_on_reference(job)
        outcomes.append(Outcome(job.name, job.op, "", "skipped" if problem else RIGHT, "ort", problem))
        if not problem:
            outcomes += [onnx_nodes.attempt(job, form, tmp_path) for form in onnx_nodes.FORMS]
    results = onnx_nodes.judged(outcomes)
    states = Counter(result.state for result in results)
    assert [result.name for result in results if result.state not in {RIGHT, REFUSED}] == []
    assert states[RIGHT] / len(results) >= FLOOR
    assert all(form.reason for result in results for form in result.forms if form.state == REFUSED)


def test_a_wrong_value_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage: the reference says something else."""
    (job,) = onnx_nodes.jobs(["test_abs"])
    monkeypatch.setattr(onnx_nodes, "TOLERANCE", -1.0)
    outcome = onnx_nodes.attempt(job, "whole", tmp_path)
    assert outcome.state == WRONG
    assert "of the range" in outcome.reason


def test_differences_are_named() -> None:
    ones = np.ones((2, 3), np.float32)
    assert onnx_nodes.difference(ones, ones) == ""
    assert "instead of" in onnx_nodes.difference(ones, np.ones((2, 3), np.int32))
    assert "elements differ" in onnx_nodes.difference(ones > 2, ones > 0)
    assert "NaN" in onnx_nodes.difference(ones, ones * np.float32(np.nan))
    assert "off by" in onnx_nodes.difference(ones, ones * np.float32(1.01))
