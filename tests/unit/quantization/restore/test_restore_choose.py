"""choose: steps are kept where the integer model gains, and said either way; a lock replays them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import UnknownNameError
from edgekit.ir.digest import digest
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.quantization.restore import choose, correct_bias
from edgekit.quantization.restore.choose import Work
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Array, BatchStream, Range, RunOptions, Session, from_json, to_json
from edgekit.target import load

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]
Stream = Callable[[Mapping[str, Array]], BatchStream]
Open = Callable[[ir.Model, RunOptions], Session]


@pytest.fixture
def work(images: Mapping[str, Array], stream: Stream, open_session: Open, exact_ranges: Ranges) -> Work:
    return Work(
        calibrate=lambda model: exact_ranges(model, images),
        place=lambda model, ranges: place(model, load("onnxruntime-cpu"), ranges),
        open_model=open_session,
        batches=stream(images),
        count=64,
    )


def test_an_uneven_model_is_restored(
    uneven: ir.Model, work: Work, images: Mapping[str, Array], evaluate: Evaluate
) -> None:
    """Seen: 23.9 dB to 43 dB. The float function stays bit for bit."""
    found = choose.restored(uneven, choose.steps_of("auto"), work=work)
    before, after = found.sqnr_db
    assert before < 26
    assert after > before + 16
    assert found.restoration.exponents
    np.testing.assert_array_equal(evaluate(found.model, images)[0], evaluate(uneven, images)[0])
    assert any("cross-layer equalization" in note and "->" in note for note in found.restoration.notes)


def test_adaround_does_not_make_it_worse(uneven: ir.Model, work: Work) -> None:
    auto = choose.restored(uneven, choose.steps_of("auto"), work=work)
    more = choose.restored(uneven, choose.steps_of("adaround"), work=work)
    assert more.sqnr_db[1] >= auto.sqnr_db[1] - choose.GAIN_DB
    assert any("AdaRound" in note for note in more.restoration.notes)


def test_a_lock_replays_it_without_data(uneven: ir.Model, work: Work) -> None:
    found = choose.restored(uneven, choose.steps_of("adaround"), work=work)
    decided = from_json(Restoration, to_json(found.restoration))
    model = choose.replay(uneven, decided)
    assert digest(model) == digest(found.model)
    plan = choose.applied(work.place(model, found.ranges), decided)
    assert plan == found.plan
    assert digest(apply(model, plan)) == digest(apply(found.model, found.plan))


def test_none_does_nothing_and_measures_nothing(uneven: ir.Model, work: Work) -> None:
    def closed(model: ir.Model, options: RunOptions) -> Session:
        raise AssertionError("nothing is to be run")

    found = choose.restored(uneven, choose.steps_of("none"), work=replace(work, open_model=closed))
    assert found.restoration == Restoration()
    assert digest(found.model) == digest(uneven)
    assert math.isnan(found.sqnr_db[0])


def test_a_step_that_harms_is_left_out_and_said(
    uneven: ir.Model, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sabotage: corrections of the wrong size."""

    plan = work.place(uneven, work.calibrate(uneven))
    names = {operator.name for operator in plan.operators}
    monkeypatch.setattr(
        correct_bias, "corrections", lambda model, plan, **_: {sorted(names)[0]: (50.0,) * 16}
    )
    found = choose.restored(uneven, ("bias-correction",), work=work)
    assert found.restoration.corrections == {}
    assert found.sqnr_db[0] == found.sqnr_db[1]
    assert len(found.restoration.notes) == 1
    assert "left out" in found.restoration.notes[0]


def test_a_model_without_pairs_is_calibrated_once(
    build: Build, work: Work, stream: Stream, exact_ranges: Ranges
) -> None:
    """R2."""
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = build(
        "g (float[n, 3, 16, 16] image) => (float[n, 4, 14, 14] y) <float[4, 3, 3, 3] w>"
        " { y = Conv(image, w) }",
        w=weight,
    )
    seen: list[ir.Model] = []

    def calibrate(each: ir.Model) -> dict[str, Range]:
        seen.append(each)
        return dict(work.calibrate(each))

    choose.restored(model, ("equalize", "smooth"), work=replace(work, calibrate=calibrate))
    assert len(seen) == 1


def test_steps_by_name() -> None:
    assert choose.steps_of("none") == ()
    assert choose.steps_of("auto") == ("equalize", "smooth", "bias-correction")
    assert choose.steps_of("adaround")[-2:] == ("adaround", "bias-correction")
    assert choose.steps_of("bias-correction, equalize") == ("equalize", "bias-correction")
    with pytest.raises(UnknownNameError, match="equalise"):
        choose.steps_of("equalise")
