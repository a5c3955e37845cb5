"""What a candidate is called, what the lock keeps of it, and which forms of weights are tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import target as targets
from edgekit.pipeline.candidates import accuracy_of, schemes_of
from edgekit.pipeline.lock import LockedTarget
from edgekit.pipeline.plan import TargetPlan
from edgekit.pipeline.scheme import Scheme
from edgekit.recipe import parse
from edgekit.spec import Precision, Rejection, RunOptions
from edgekit.validation.budget import Budget, judge
from edgekit.validation.statistics import Drop

W8A8 = Precision.W8A8
KEPT = {"head": Rejection("head", "accuracy", "costs 3 pp", "nothing to do: it runs in float")}


@pytest.mark.parametrize(
    ("scheme", "label"),
    [
        (Scheme(W8A8), "w8a8"),
        (Scheme(W8A8, "mixed", keep_float=KEPT), "w8a8-mixed"),
        (Scheme(Precision.BF16), "bf16"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_labels(scheme: Scheme, label: str) -> None:
    assert scheme.label == label


def test_the_lock_gives_the_scheme_back() -> None:
    scheme = Scheme(W8A8, "mixed", "7bit", corrected=False, keep_float=KEPT)
    locked = LockedTarget(
        precision=scheme.precision,
        variant=scheme.variant,
        weights=scheme.weights,
        corrected=scheme.corrected,
        keep_float={name: (why.rule, why.reason) for name, why in KEPT.items()},
        plan="p",
        files={},
    )
    again = LockedTarget.model_validate_json(locked.model_dump_json())
    assert again.scheme == scheme


def _plan(name: str) -> TargetPlan:
    return TargetPlan(targets.load(name), "", Precision.AUTO, RunOptions())


def test_exact_weights_are_candidates_where_the_kernels_can_saturate() -> None:
    plan = replace(_plan("onnxruntime-cpu"), cross_cpu="exact")
    assert [each.label for each in schemes_of(W8A8, plan)] == ["w8a8-uint8", "w8a8-7bit"]
    assert [each.label for each in schemes_of(Precision.FP32, plan)] == ["fp32"]


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "litert-cpu"])
def test_one_candidate_where_nobody_asked_or_nothing_saturates(name: str) -> None:
    asked = replace(_plan(name), cross_cpu="report" if name == "onnxruntime-cpu" else "exact")
    assert schemes_of(W8A8, asked) == (Scheme(W8A8),)


def test_a_mix_is_held_against_the_accuracy_budget_as_the_recipe_has_it() -> None:
    whole = Budget(max_drop_pp=2.0, max_size_bytes=1, max_latency_ms=1.0, on_inconclusive="pass")
    alone = accuracy_of(whole)
    assert (alone.max_drop_pp, alone.on_inconclusive) == (2.0, "pass")
    assert (alone.max_size_bytes, alone.max_latency_ms) == (None, None)
    straddled = Drop("top1", 0.9, 0.9, 1.5, 0.5, 2.5, "pp", "test", 0.95, 300)
    assert [gate.status for gate in judge(alone, drop=straddled).gates if gate.name == "accuracy"] == ["pass"]


def test_an_override_must_name_something(tmp_path: Path) -> None:
    text = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
evaluation = { source = "e.npz" }
[[optimize.override]]
precision = "fp32"
[[target]]
name = "onnxruntime-cpu"
"""
    with pytest.raises(Exception, match="neither nodes nor operators"):
        parse(text, name="r")
