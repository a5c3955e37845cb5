"""What a candidate is called, what the lock keeps of it, and which forms of weights are tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import pytest

from edgekit import target as targets
from edgekit.pipeline import candidates
from edgekit.pipeline.candidates import (
    accuracy_of,
    computes_in,
    fastest_by_rung,
    in_between,
    options_of,
    schemes_of,
)
from edgekit.pipeline.judge import Judged
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
        (Scheme(W8A8, "lean", placement="lean"), "w8a8-lean"),
        (in_between(Scheme(W8A8, "lean", placement="lean"), Precision.BF16), "w8a8-lean-bf16"),
        (in_between(Scheme(Precision.DYNAMIC), Precision.BF16), "dynamic-bf16"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_labels(scheme: Scheme, label: str) -> None:
    assert scheme.label == label


def test_the_lock_gives_the_scheme_back() -> None:
    plain = Scheme(W8A8, "lean-mixed", "int8", corrected=False, keep_float=KEPT, placement="lean")
    scheme = in_between(plain, Precision.BF16)
    locked = LockedTarget(
        precision=scheme.precision,
        variant=scheme.variant,
        weights=scheme.weights,
        corrected=scheme.corrected,
        keep_float={name: (why.rule, why.reason) for name, why in KEPT.items()},
        placement=scheme.placement,
        between=scheme.between,
        plan="p",
        files={},
    )
    again = LockedTarget.model_validate_json(locked.model_dump_json())
    assert again.scheme == scheme


def _plan(name: str) -> TargetPlan:
    return TargetPlan(targets.load(name), "", Precision.AUTO, RunOptions())


def _asked(name: str, wanted: Literal["exact", "uint8", "report"]) -> list[tuple[str, str, str]]:
    found = schemes_of(W8A8, replace(_plan(name), cross_cpu=wanted))
    return [(each.label, each.weights, each.placement) for each in found]


def test_without_a_word_weights_are_exact_on_every_cpu() -> None:
    assert schemes_of(W8A8, _plan("onnxruntime-cpu")) == (Scheme(W8A8),)
    assert Scheme(W8A8).weights == "exact"
    assert _asked("onnxruntime-cpu", "exact") == [("w8a8", "exact", "")]
    assert _asked("litert-cpu", "exact") == [("w8a8", "exact", "")], "one plan for all targets"


def test_all_eight_bits_are_kept_where_the_recipe_says_so() -> None:
    assert _asked("onnxruntime-cpu", "report") == [("w8a8", "int8", "")]
    assert _asked("onnxruntime-cpu", "uint8") == [("w8a8-uint8", "uint8", "")]
    both = [("w8a8", "exact", ""), ("w8a8-lean", "exact", "lean")]
    assert _asked("openvino-cpu", "uint8") == both, "OpenVINO would compute in float"
    assert _asked("litert-cpu", "uint8") == [("w8a8", "exact", "")], "it saturates nowhere"
    assert [each.label for each in schemes_of(Precision.FP32, _plan("onnxruntime-cpu"))] == ["fp32"]


def test_a_placement_is_one_more_candidate_of_its_rung() -> None:
    plan = _plan("openvino-cpu")
    assert [each.label for each in schemes_of(W8A8, plan)] == ["w8a8", "w8a8-lean"]
    assert [each.label for each in schemes_of(Precision.DYNAMIC, plan)] == ["dynamic"]
    assert schemes_of(W8A8, plan, quantized=True) == (Scheme(W8A8),)  # it has its scales already


def test_what_stays_float_computes_in_16_bits_by_a_run_option_alone() -> None:
    plan = replace(_plan("openvino-cpu"), options=targets.load("openvino-cpu").run.options(threads=3))
    plain = Scheme(W8A8, "lean", placement="lean")
    assert options_of(plan, plain) == plan.options
    narrow = options_of(plan, in_between(plain, Precision.BF16))
    assert dict(narrow.settings) == {"INFERENCE_PRECISION_HINT": "bf16"}
    assert narrow.threads == 3


@pytest.mark.parametrize("features", [("avx2", "avx512_bf16"), ("amx_bf16",), ("avx2", "avx512_vnni"), ()])
def test_bf16_between_integers_needs_the_cpu_for_it(
    features: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "cpu_features", lambda: features)
    has = any("bf16" in each for each in features)
    assert computes_in(Precision.BF16, targets.load("openvino-cpu")) is has
    assert computes_in(W8A8, targets.load("openvino-cpu"))


def _judged(scheme: Scheme, ratio: float | None) -> Judged:
    row = SimpleNamespace(ratio=None if ratio is None else SimpleNamespace(value=ratio))
    return cast("Judged", SimpleNamespace(scheme=scheme, row=row))


def test_the_fastest_of_each_rung_with_integers_is_tried_in_16_bits() -> None:
    lean = Scheme(W8A8, "lean", placement="lean")
    found = fastest_by_rung(
        [
            _judged(Scheme(Precision.BF16), 0.3),  # it is 16 bits already
            _judged(Scheme(Precision.DYNAMIC), 0.6),
            _judged(Scheme(W8A8), 0.5),
            _judged(lean, 0.4),
            _judged(Scheme(W8A8, "mixed"), None),  # not measured
        ]
    )
    assert found == (Scheme(Precision.DYNAMIC), lean)
    assert fastest_by_rung([]) == ()


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
