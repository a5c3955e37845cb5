"""Losses of classes and slices: found where they are, corrected for their number, silent otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.errors import ExitCode
from edgekit.validation.budget import Budget, verdict_of
from edgekit.validation.evaluate import Evaluation
from edgekit.validation.group_gate import group_gates, outstanding, sentence
from edgekit.validation.groups import group_drops
from edgekit.validation.metrics import task_metric
from edgekit.validation.proportions import paired_interval

Numbers = npt.NDArray[Any]
SEED = 23


def top1(hits: Numbers) -> Evaluation:
    return Evaluation("top1", float(hits.mean()), {"hit": hits}, len(hits), {"output": "y"})


def evaluation(metric: str, labels: Numbers, **outputs: Numbers) -> Evaluation:
    row = task_metric(metric)
    statistics = row.sufficient(outputs, labels)
    return Evaluation(metric, row.value(statistics), statistics, len(labels), {})


def collapsed() -> tuple[Evaluation, Evaluation, Numbers]:
    """Class 7 of ten loses 40 % of its samples, the others one in a hundred."""
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(10), 200)
    right = rng.random(len(labels)) < 0.95
    gone = rng.random(len(labels)) < np.where(labels == 7, 0.4, 0.01)
    return top1(right), top1(right & ~gone), labels


def test_a_class_that_collapses_is_seen() -> None:
    reference, candidate, labels = collapsed()
    found = group_drops(reference, candidate, labels=labels, slices={})
    assert len(found) == 10
    worst = found[0]
    assert (worst.kind, worst.name, worst.samples) == ("class", "7", 200)
    inside = labels == 7
    lost = int((reference.statistics["hit"][inside] & ~candidate.statistics["hit"][inside]).sum())
    assert worst.drop == pytest.approx(100 * lost / 200)
    # Holm: the clearest of ten has the confidence 1 - 0.05 / 10.
    low, high = paired_interval(lost=lost, gained=0, count=200, confidence=1 - 0.05 / 10)
    assert (worst.low, worst.high) == pytest.approx((100 * low, 100 * high))
    lost_groups = outstanding(Budget(max_drop_pp=1.0), found)
    assert [group.name for group in lost_groups] == ["7"]
    assert sentence(worst).startswith("class 7 loses ")


def test_holm_steps_down_only_after_a_loss_that_is_certain() -> None:
    reference, candidate, labels = collapsed()
    by_name = {group.name: group for group in group_drops(reference, candidate, labels=labels, slices={})}
    others = [group for name, group in by_name.items() if name != "7"]
    assert all(group.low <= 0.0 for group in others)
    for group in others:  # after the one rejection: nine left, and none of them steps further
        inside = labels == int(group.name)
        lost = int((reference.statistics["hit"][inside] & ~candidate.statistics["hit"][inside]).sum())
        low, high = paired_interval(lost=lost, gained=0, count=200, confidence=1 - 0.05 / 9)
        assert (group.low, group.high) == pytest.approx((100 * low, 100 * high))


def test_of_healthy_models_few_name_a_group() -> None:
    """50 classes of 40 samples that lose and gain alike, seed 23: at most 5 % may name any group at all."""
    rng = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(50), 40)
    named = plain = 0
    for _ in range(100):
        reference, candidate = (rng.random(2000) < 0.8 for _ in range(2))
        found = group_drops(top1(reference), top1(candidate), labels=labels, slices={})
        named += any(group.low > 0 for group in found)
        lost, gained = reference & ~candidate, candidate & ~reference
        counts = [(int(lost[labels == k].sum()), int(gained[labels == k].sum())) for k in range(3)]
        plain += any(paired_interval(lost=b, gained=c, count=40, confidence=0.95)[0] > 0 for b, c in counts)
    assert named <= 0.05 * 100
    assert plain > named  # three classes alone, not corrected, name more than fifty corrected ones


def test_a_slice_that_collapses_is_seen_in_any_metric() -> None:
    rng = np.random.default_rng(SEED)
    labels = rng.normal(size=(400, 2))
    light = np.where(np.arange(400) % 5 == 0, "dark", "day")
    values = labels + rng.normal(0, 0.2, labels.shape)
    worse = values + (light == "dark")[:, None] * rng.normal(0, 0.3, labels.shape)
    pair = (evaluation("mae", labels, output=values), evaluation("mae", labels, output=worse))
    found = group_drops(*pair, labels=labels, slices={"light": light})
    assert [(group.kind, group.name, group.samples) for group in found] == [
        ("light", "dark", 80),
        ("light", "day", 320),
    ]
    assert found[0].low > 20
    assert (found[1].drop, found[1].low, found[1].high) == (0.0, 0.0, 0.0)
    assert found[0].unit == "%"


def test_classes_of_segmentation_and_detection() -> None:
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 3, (40, 8, 8))
    guess = labels.copy()
    guess[(labels == 2) & (rng.random(labels.shape) < 0.5)] = 0
    pair = (evaluation("miou", labels, output=labels), evaluation("miou", labels, output=guess))
    found = group_drops(*pair, labels=labels, slices={})
    assert [group.name for group in found] == ["2", "0", "1"]  # class 0 has what class 2 lost
    assert found[0].drop == pytest.approx(50, abs=5)
    assert (found[2].drop, found[2].reference) == (0.0, 1.0)

    corner = rng.uniform(0, 80, (60, 4, 2))
    boxes = np.concatenate([corner, corner + 15], axis=2)
    kinds = rng.integers(0, 2, (60, 4))
    truth = np.concatenate([boxes, kinds[..., None]], axis=2)
    scores = rng.random((60, 4))
    lost = np.where((kinds == 1) & (rng.random((60, 4)) < 0.6), -1, kinds)
    pair = (
        evaluation("map", truth, boxes=boxes, scores=scores, classes=kinds),
        evaluation("map", truth, boxes=boxes, scores=scores, classes=lost),
    )
    found = group_drops(*pair, labels=truth, slices={})
    assert [group.name for group in found] == ["1", "0"]
    assert found[0].low > 40
    assert found[1].drop == 0.0


def test_classes_of_auc_and_of_f1() -> None:
    rng = np.random.default_rng(SEED)
    labels = rng.integers(0, 4, 800)
    scores = 3.0 * np.eye(4)[labels] + rng.normal(size=(800, 4))
    worse = scores.copy()
    worse[:, 2] = rng.normal(size=800)
    pair = (evaluation("auc", labels, output=scores), evaluation("auc", labels, output=worse))
    found = group_drops(*pair, labels=labels, slices={})
    assert found[0].name == "2"
    assert found[0].low > 30


@pytest.mark.parametrize(
    ("limit", "on", "status", "code"),
    [
        (10.0, "error", "fail", ExitCode.ACCURACY_GATE),
        (80.0, "error", "pass", ExitCode.OK),
        (35.0, "error", "inconclusive", ExitCode.INCONCLUSIVE),
        (35.0, "fail", "fail", ExitCode.ACCURACY_GATE),
        (35.0, "pass", "pass", ExitCode.OK),
    ],
)
def test_the_gate(limit: float, on: str, status: str, code: ExitCode) -> None:
    reference, candidate, labels = collapsed()
    found = group_drops(reference, candidate, labels=labels, slices={})
    budget = Budget(max_group_drop_pp=limit, on_inconclusive=on)  # type: ignore[arg-type]  # one of three words
    (gate,) = group_gates(budget, found)
    assert (gate.name, gate.status) == ("groups", status)
    assert "class 7" in gate.measured
    assert verdict_of((gate,)).exit_code is code


def test_without_a_budget_there_is_no_gate_and_without_groups_no_pass() -> None:
    assert group_gates(Budget(max_drop_pp=1.0), ()) == ()
    (gate,) = group_gates(Budget(max_group_drop_pp=1.0), ())
    assert gate.status == "inconclusive"
