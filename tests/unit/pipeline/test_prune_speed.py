"""What a width saves, told from what other programs of the machine take."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import OnnxRuntime
from edgekit.ir import external_data
from edgekit.measure.timer import Taken
from edgekit.pipeline.prune import speedometer
from edgekit.pipeline.prune.speedometer import FLOAT, Launch, Speedometer, slowest
from edgekit.spec import Artifact, RunOptions, Session, Silent
from edgekit.target import Target, load
from tests.unit.litert.litert_models import Model, as_ir

ROUNDS, RUNS = 10, 20
TIMES_MS = {FLOAT: 1.0, "less": 0.95, "half": 0.70, "pruned": 0.50}


def _disturbed(share: float, *, seed: int = 3, biased: Mapping[str, float] | None = None) -> Taken:
    """Samples of TIMES_MS with 1 % of noise; ``share`` of the runs take up to three times as long.

    ``biased``: how many times as long a process takes for as long as it lives.
    """
    rng = np.random.default_rng(seed)
    samples = {}
    for name, time in TIMES_MS.items():
        taken = time * (biased or {}).get(name, 1.0) * (1 + 0.01 * rng.standard_normal((ROUNDS, RUNS)))
        slow = rng.random((ROUNDS, RUNS)) < share * (name != FLOAT)  # the other side has luck
        taken = np.where(slow, taken * (1 + 2 * rng.random((ROUNDS, RUNS))), taken)
        samples[name] = [tuple(row) for row in taken.tolist()]
    return Taken(samples, dict.fromkeys(samples, ""))


def _meter(monkeypatch: pytest.MonkeyPatch, *launches: Taken) -> tuple[Speedometer, ir.Model]:
    """One whose launches give these, again and again, and a model."""
    coming = itertools.cycle(launches)

    @contextmanager
    def compiled(self: Speedometer, models: Mapping[str, ir.Model], target: Target) -> Iterator[Launch]:
        del self, models, target

        def launch(names: Sequence[str], rounds: int) -> Taken:
            del rounds
            found = next(coming)
            return Taken({name: found.samples[name] for name in names}, dict.fromkeys(names, ""))

        yield launch

    monkeypatch.setattr(Speedometer, "_compiled", compiled)
    m = Model(seed=0)
    model = as_ir(m.build(m.add("Relu", m.input("x", ("N", 4)))))
    return Speedometer(model, (load("onnxruntime-cpu"),), 1, {}, 0), model


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7])
def test_a_saving_is_found_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """To 1.5 % of the whole; sabotage: medians, which are off by more than the whole saving."""
    taken = _disturbed(share)
    meter, model = _meter(monkeypatch, taken)
    savings = meter.savings(dict.fromkeys(("less", "half"), model), Silent())
    found = {name: on_target for name, (on_target,) in savings.items()}
    assert found == pytest.approx({"less": 0.05, "half": 0.30}, abs=0.015)
    if share > 0.5:
        assert np.median(taken.samples["half"]) > np.median(taken.samples[FLOAT])
    promised = slowest(meter.speeds(model, Silent()))
    assert (promised < 1.5) == (share > 0.5)
    assert meter.times_faster(model, Silent()) == pytest.approx(promised, rel=0.01)


def test_speeds_of_the_machine_itself_are_no_savings(monkeypatch: pytest.MonkeyPatch) -> None:
    """T1; sabotage: percentiles over all samples, one side of which had the faster machine for a while."""
    rng = np.random.default_rng(5)
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in TIMES_MS}
    fast = rng.random(ROUNDS) < 0.3
    for index in range(ROUNDS):
        for name, time in TIMES_MS.items():
            machine = 0.75 if fast[index] and name != "half" else 1.0  # it ends in the middle of a round
            samples[name].append(tuple(time * machine * (1 + 0.01 * rng.standard_normal(RUNS))))
    taken = Taken(samples, dict.fromkeys(samples, ""))
    meter, model = _meter(monkeypatch, taken)
    found = meter.savings({"half": model}, Silent())["half"][0]
    assert found == pytest.approx(0.30, abs=0.015)
    over_all = {name: np.percentile(np.concatenate(rows), 10) for name, rows in samples.items()}
    assert abs(1 - over_all["half"] / over_all[FLOAT] - 0.30) > 0.1
    assert meter.times_faster(model, Silent()) == pytest.approx(2.0, rel=0.015)


def test_a_process_that_is_slow_for_as_long_as_it_lives_is_outvoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """T3; sabotage: one launch alone is off by as much as its process."""
    fair = [_disturbed(0.0, seed=seed) for seed in range(2)]
    odd = _disturbed(0.0, seed=2, biased={FLOAT: 0.9})
    for launches in ((odd, *fair), (fair[0], odd, fair[1])):
        meter, model = _meter(monkeypatch, *launches)
        assert meter.times_faster(model, Silent()) == pytest.approx(2.0, rel=0.015)
        assert slowest(meter.speeds(model, Silent())) == pytest.approx(2.0, rel=0.05)
    alone, model = _meter(monkeypatch, odd)
    assert alone.times_faster(model, Silent()) == pytest.approx(1.8, rel=0.015)


def test_float_and_pruned_take_turns_at_being_opened_first(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[tuple[str, ...]] = []
    taken = _disturbed(0.0)

    @contextmanager
    def compiled(self: Speedometer, models: Mapping[str, ir.Model], target: Target) -> Iterator[Launch]:
        del self, models, target

        def launch(names: Sequence[str], rounds: int) -> Taken:
            del rounds
            orders.append(tuple(names))
            return taken

        yield launch

    meter, model = _meter(monkeypatch, taken)
    monkeypatch.setattr(Speedometer, "_compiled", compiled)
    meter.times_faster(model, Silent())
    assert set(orders) == {(FLOAT, "pruned"), ("pruned", FLOAT)}


@pytest.mark.parametrize(("limit", "at_once"), [(8, 1), (2**40, 2)], ids=["large", "small"])
def test_runtimes_of_a_large_model_are_not_open_together(
    limit: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # T4
    m = Model(seed=0)
    model = as_ir(m.build(m.add("MatMul", m.input("x", ("N", 8)), m.weight(8, 8))))
    monkeypatch.setattr(external_data, "LARGE_BYTES", limit)
    monkeypatch.setattr(speedometer, "LOOKS", 1)
    now: list[int] = [0]
    most: list[int] = [0]
    opened = OnnxRuntime.open

    @contextmanager
    def counted(self: OnnxRuntime, artifact: Artifact, options: RunOptions) -> Iterator[Session]:
        now[0] += 1
        most[0] = max(most[0], now[0])
        try:
            with opened(self, artifact, options) as session:
                yield session
        finally:
            now[0] -= 1

    monkeypatch.setattr(OnnxRuntime, "open", counted)
    meter = Speedometer(model, (load("onnxruntime-cpu"),), 1, {"x": np.ones((1, 8), np.float32)}, 0)
    assert meter.times_faster(model, Silent()) > 0
    assert meter.savings({"a": model, "b": model}, Silent()).keys() == {"a", "b"}
    assert most == [at_once + (at_once > 1)]  # small: the float model and two cells
