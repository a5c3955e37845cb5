"""What a width saves, told from what other programs of the machine take."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.measure.timer import Comparison, summarize
from edgekit.pipeline.prune.speedometer import FLOAT, Speedometer, slowest, undisturbed
from edgekit.spec import Silent
from edgekit.target import Target, load
from tests.unit.litert.litert_models import Model, as_ir

ROUNDS, RUNS = 10, 20
TIMES_MS = {FLOAT: 1.0, "less": 0.95, "half": 0.70, "pruned": 0.50}


def _disturbed(share: float) -> Comparison:
    """Samples of TIMES_MS with 1 % of noise; ``share`` of the runs take up to three times as long."""
    rng = np.random.default_rng(3)
    samples = {}
    for name, time in TIMES_MS.items():
        taken = time * (1 + 0.01 * rng.standard_normal((ROUNDS, RUNS)))
        slow = rng.random((ROUNDS, RUNS)) < share * (name != FLOAT)  # the other side has luck
        taken = np.where(slow, taken * (1 + 2 * rng.random((ROUNDS, RUNS))), taken)
        samples[name] = [tuple(row) for row in taken.tolist()]
    return summarize(samples, {}, baseline=FLOAT, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7])
def test_a_saving_is_found_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """To 1.5 % of the whole; sabotage: ratios of medians, which are off by more than the whole saving."""
    compared = _disturbed(share)

    def measured(
        self: Speedometer, models: Mapping[str, ir.Model], target: Target, *, rounds: int
    ) -> Comparison:
        del self, models, target, rounds
        return compared

    monkeypatch.setattr(Speedometer, "_compare", measured)
    m = Model(seed=0)
    model = as_ir(m.build(m.add("Relu", m.input("x", ("N", 4)))))
    meter = Speedometer(model, (load("onnxruntime-cpu"),), 1, {}, 0)
    savings = meter.savings(dict.fromkeys(("less", "half"), model), Silent())
    found = {name: on_target for name, (on_target,) in savings.items()}
    assert found == pytest.approx({"less": 0.05, "half": 0.30}, abs=0.015)
    if share > 0.5:
        assert 1 - compared.ratios["half"].value < 0
    rows = meter.speeds(model, Silent())
    assert undisturbed(rows) == pytest.approx(2.0, rel=0.015)
    assert (slowest(rows) < 1.5) == (share > 0.5)
