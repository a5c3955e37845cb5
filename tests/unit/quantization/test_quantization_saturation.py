"""Sums of two products in int16: the verdict against brute force, the repairs, and an emulated CPU."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.quantization import saturation
from edgekit.quantization.apply import apply
from edgekit.quantization.arithmetic import rounding_of
from edgekit.quantization.place import place
from edgekit.quantization.plan import QuantPlan, plan_from_json
from edgekit.quantization.saturation import (
    as_fitting,
    as_unsigned,
    cross_cpu,
    find,
    repair,
    saturating_on,
)
from edgekit.quantization.weights import place_weights
from edgekit.spec import Array, Precision, Range
from edgekit.target import load

Floats = npt.NDArray[np.float32]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
TARGET = load("onnxruntime-cpu")
RANGES = {"x": Range(0.0, 1.0), "y": Range(0.0, 64.0)}
OLDEST_QEMU = 10  # 7.2 crashes while onnxruntime is imported


def product(weight: Array) -> ir.Model:
    """x @ weight; weight is (terms, outputs)."""
    terms, outputs = weight.shape
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n, {terms}] x) => (float[n, {outputs}] y) <float[{terms}, {outputs}] w> {{ y = MatMul(x, w) }}"""
    return canonicalize(
        ir.from_onnx_text(text, initializers=[ir.tensor(weight.astype(np.float32), name="w")])
    )


def convolution(weight: Array, *, group: int = 1) -> ir.Model:
    """Conv(x, weight) with zero padding of 1 where the taps are 3 x 3."""
    outputs, inputs, taps, _ = weight.shape
    pad = taps // 2
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n, {inputs * group}, 4, 4] x) => (float[n, {outputs}, 4, 4] y)
    <float[{outputs}, {inputs}, {taps}, {taps}] w>
    {{ y = Conv <pads = [{pad}, {pad}, {pad}, {pad}], group = {group}> (x, w) }}"""
    return canonicalize(
        ir.from_onnx_text(text, initializers=[ir.tensor(weight.astype(np.float32), name="w")])
    )


def planned(model: ir.Model) -> QuantPlan:
    return place(model, TARGET, RANGES)


def stored(model: ir.Model) -> Array:
    """The integers of the only weight."""
    (value,) = (
        v for name, v in model.graph.initializers.items() if name.startswith("w") and "quantized" in name
    )
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy())


def verdict(model: ir.Model) -> saturation.PairSum:
    (found,) = find(model, planned(model))
    return found


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-127, 127), min_size=1, max_size=5),
    st.sampled_from([1, -1]),
)
def test_the_verdict_is_that_of_brute_force(integers: list[int], sign: int) -> None:
    """S1: a channel with 127 in a pair of its own keeps the scale at 1, so the integers are the weights."""
    column = np.array([127 * sign, 0, *integers])[:, None]
    found = verdict(product(column))
    padded = [*column[:, 0].tolist(), 0]
    reached = [
        u * a + v * b
        for a, b in zip(padded[0::2], padded[1::2], strict=False)
        for u, v in itertools.product((0, 1, 128, 254, 255), repeat=2)
    ]
    assert (found.smallest, found.largest) == (min(reached), max(reached))
    assert found.can_saturate == any(not -32768 <= value <= 32767 for value in reached)


@pytest.mark.parametrize(
    ("a", "b", "can"),
    [(127, 1, False), (127, 2, True), (-127, -1, False), (-127, -2, True), (127, -127, False)],
)
def test_the_edge_of_int16(a: int, b: int, can: bool) -> None:
    assert verdict(product(np.array([[a], [b]]))).can_saturate is can


def test_neighbours_of_two_pairs_are_no_pair() -> None:
    assert not verdict(product(np.array([[0], [127], [127], [0]]))).can_saturate


def test_taps_are_bounded_in_both_orders() -> None:
    """S2: neighbours along the taps, and neighbours along the channels."""
    taps, channels = np.zeros((1, 4, 3, 3)), np.zeros((1, 4, 3, 3))
    taps[0, 0, 1, 1:] = channels[0, 1:3, 1, 1] = 127
    apart = np.zeros((1, 4, 3, 3))
    apart[0, 0, 0, 0] = apart[0, 2, 1, 1] = 127
    assert [verdict(convolution(w)).can_saturate for w in (taps, channels, apart)] == [True, True, False]


def test_a_depthwise_convolution_is_exact() -> None:
    found = verdict(convolution(np.full((8, 1, 3, 3), 127), group=8))
    assert (found.can_saturate, found.proof) == (False, "S3")


def test_uint8_storage_is_the_same_plan_and_the_same_numbers(evaluate: Evaluate) -> None:
    weight = np.random.default_rng(3).integers(-127, 128, (64, 16)) / 127
    model = product(weight)
    plan = planned(model)
    fixed = repair(model, plan, TARGET)
    assert fixed != plan
    assert fixed.digest == plan.digest
    assert plan_from_json(fixed.to_json()) == fixed
    assert not saturating_on(model, fixed, TARGET)
    x = np.random.default_rng(4).uniform(0, 1, (32, 64)).astype(np.float32)
    assert stored(apply(model, fixed)).dtype == np.uint8
    b = evaluate(apply(model, fixed), {"x": x})[0]
    step = plan.activations["y"].scale[0]
    exact = np.clip(x @ weight.astype(np.float32), 0, 64)
    assert np.abs(b - exact).max() <= 2 * step


def test_equal_weights_need_half_the_steps_and_are_another_plan() -> None:
    model = product(np.full((64, 16), 1.0))
    plan = planned(model)
    fixed = as_fitting(model, plan, find(model, plan))
    assert fixed.digest != plan.digest
    (found,) = find(model, fixed)
    assert (found.can_saturate, found.largest) == (False, 255 * 128)
    assert np.abs(stored(apply(model, fixed))).max() == 64


def scales_of(plan: QuantPlan) -> npt.NDArray[np.float64]:
    (operator,) = plan.operators
    assert operator.weight is not None
    return np.asarray(operator.weight.params.scale)


def test_each_channel_is_as_coarse_as_its_own_pairs_need() -> None:
    """Columns: a pair of equals, a pair that exceeds by some steps, one that fits, opposite signs."""
    model = product(np.array([[127, 127, 127, 127], [127, 20, 0, -127.0]]))
    plan = planned(model)
    fixed = as_fitting(model, plan, find(model, plan))
    grown = scales_of(fixed) / scales_of(plan)
    assert grown[0] == pytest.approx(127 / 64, rel=0.002)
    assert grown[1] == pytest.approx(148 / 128, rel=0.02)  # rounding: a step or two of 128
    assert grown[2:].tolist() == [1.0, 1.0]
    assert not find(model, fixed)[0].can_saturate


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["product", "taps", "pointwise"]), st.integers(1, 9))
@example(4_294_967_295, "taps", 7)  # 32895 where whole numbers were not thought of
def test_whatever_the_weights_they_fit_afterwards(seed: int, kind: str, terms: int) -> None:
    """Heavy tails and equal signs too, however they are rounded, and never more than twice as coarse."""
    rng = np.random.default_rng(seed)
    shape = {"product": (terms, 3), "taps": (3, terms, 3, 3), "pointwise": (3, terms, 1, 1)}[kind]
    weight = np.abs(rng.standard_t(2, shape)) * (rng.random(shape) < 0.9)
    model = product(weight) if kind == "product" else convolution(weight)
    plan = planned(model)
    fixed = as_fitting(model, plan, find(model, plan))
    grown = scales_of(fixed) / scales_of(plan)
    assert (grown >= 1).all()
    assert (grown <= 127 / 63.9 + 1e-6).all()
    (operator,) = fixed.operators
    assert operator.weight is not None
    away = rounding_of(weight > 0)
    learned = replace(operator, weight=replace(operator.weight, rounding=away))
    for each in (fixed, replace(fixed, operators=(learned,))):
        assert not find(model, each)[0].can_saturate


@pytest.mark.parametrize("kind", ["product", "taps", "pointwise", "depthwise"])
def test_some_outputs_at_a_time_are_judged_and_repaired_as_all_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    shape = {"product": (9, 7), "taps": (7, 5, 3, 3), "pointwise": (7, 9, 1, 1), "depthwise": (7, 1, 3, 3)}
    weight = np.abs(rng.standard_t(2, shape[kind]))
    model = (
        product(weight) if kind == "product" else convolution(weight, group=7 if kind == "depthwise" else 1)
    )
    plan = planned(model)
    found = find(model, plan)
    fixed = as_fitting(model, plan, found)
    assert found[0].can_saturate == (fixed != plan) == (kind != "depthwise")
    monkeypatch.setattr(saturation, "AT_ONCE", 20)  # two outputs, or one
    assert find(model, plan) == found
    assert as_fitting(model, plan, found) == fixed
    assert find(model, fixed) == find(model, as_fitting(model, plan, found))


def test_a_learned_rounding_is_what_is_proved_and_other_scales_drop_it() -> None:
    """255 * (64 + 64) fits, 255 * (65 + 65) does not; the rounding was for scales that change."""
    model = product(np.array([[127.0], [0], [64.4], [64.4]]))
    plan = planned(model)
    assert not find(model, plan)[0].can_saturate
    (operator,) = plan.operators
    assert operator.weight is not None
    up = rounding_of(np.array([[False], [False], [True], [True]]))
    learned = replace(plan, operators=(replace(operator, weight=replace(operator.weight, rounding=up)),))
    found = find(model, learned)
    assert found[0].can_saturate
    coarse = as_fitting(model, learned, found).operators[0].weight
    assert coarse is not None
    assert not coarse.rounding


def test_what_cannot_saturate_is_left_alone() -> None:
    model = product(np.eye(8))
    plan = planned(model)
    assert repair(model, plan, TARGET) is plan
    report = cross_cpu(model, plan, TARGET)
    assert report.same == saturation.EVERY_CPU
    (note,) = report.notes()
    assert note.startswith("the same integers on x86-64 with VNNI, x86-64 without VNNI, arm64: ")
    assert "no sum of two products saturates, in 1 operators" in note


def test_the_report_names_the_cpus() -> None:
    model = product(np.ones((64, 16)))
    plan = planned(model)
    before, after = (cross_cpu(model, p, TARGET) for p in (plan, repair(model, plan, TARGET)))
    assert "x86-64 without VNNI" not in before.same
    assert len(before.operators) == 1
    assert "x86 CPUs without VNNI may saturate in 1 of 1" in before.notes()[0]
    assert (after.same, after.repaired) == (saturation.EVERY_CPU, 1)


def test_rows_that_need_no_vnni_are_not_repaired() -> None:
    """Sabotage of the data: without ``requires`` in the target, nothing is found to repair."""
    model = product(np.ones((64, 16)))
    plan = planned(model)
    free = TARGET.model_copy(
        update={"kernel": tuple(k.model_copy(update={"requires": ()}) for k in TARGET.kernel)}
    )
    assert repair(model, plan, free) is plan


def emulator() -> str:
    """qemu-x86_64 of a version that runs onnxruntime: what EDGEKIT_QEMU names, or one on PATH.

    Without one the test skips, or fails where REQUIRE_ALL=1 says that everything must be here.
    """
    named = os.environ.get("EDGEKIT_QEMU", "")
    for path in (named, shutil.which("qemu-x86_64"), shutil.which("qemu-x86_64-static")):
        if not path:
            continue
        text = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"version (\d+)", text)
        if version and int(version.group(1)) >= OLDEST_QEMU:
            return path
    reason = (
        f"no qemu-x86_64 of version {OLDEST_QEMU} or later on PATH: "
        "tests/emulated/qemu.sh FILE gets one, EDGEKIT_QEMU=FILE names it"
    )
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def emulated(models: list[ir.Model], folder: Path) -> list[float]:
    """First output of each model for ones, on a Haswell: AVX2 without VNNI."""
    paths = [folder / f"{index}.onnx" for index in range(len(models))]
    for model, path in zip(models, paths, strict=True):
        io.save(model, path)
    script = Path(__file__).with_name("emulated_cpu.py")
    command = [emulator(), "-cpu", "Haswell", sys.executable, str(script), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_an_emulated_cpu_without_vnni(tmp_path: Path) -> None:
    """What find flags really differs there; what it calls exact, or repair stored as uint8, does not.

    The unrepaired models are the sabotage: they must be wrong, or the emulator shows nothing.
    """
    apart = np.tile(np.array([[0], [127], [127], [0]]) / 127, (16, 16))  # no two neighbours of one pair
    flagged = [product(np.ones((64, 16))), convolution(np.ones((16, 64, 1, 1)))]
    exact = [product(apart), convolution(np.ones((64, 1, 1, 1)), group=64)]
    plans = [planned(model) for model in flagged]
    assert all(verdict(model).can_saturate for model in flagged)
    assert not any(verdict(model).can_saturate for model in exact)
    results = emulated(
        [
            *(apply(model, plan) for model, plan in zip(flagged, plans, strict=True)),
            *(apply(model, repair(model, plan, TARGET)) for model, plan in zip(flagged, plans, strict=True)),
            *(
                apply(model, as_fitting(model, plan, find(model, plan)))
                for model, plan in zip(flagged, plans, strict=True)
            ),
            *(apply(model, planned(model)) for model in exact),
        ],
        tmp_path,
    )
    step = 64 / 255
    assert all(abs(value - 32.5) < step for value in results[:2])
    assert results[2:6] == pytest.approx([64.0] * 4, abs=1e-4)
    assert results[6:] == pytest.approx([32.0, 1.0], abs=step)


def test_a_repair_that_changes_the_plan_only_where_it_must() -> None:
    """A weight that two operators read is stored once: both are repaired."""
    model = product(np.ones((4, 4)))
    plan = planned(model)
    twice = replace(plan, operators=(*plan.operators, *plan.operators))
    changed = as_unsigned(twice, find(model, plan))
    assert [op.weight.stored for op in changed.operators if op.weight] == ["uint8", "uint8"]


def test_sixteen_bit_activations_and_dynamic_rows_are_left_alone() -> None:
    """S5; and a row without ``requires`` is not the row of the same pattern that has it."""
    model = product(np.ones((64, 16)))
    plan = planned(model)
    wide = {name: replace(params, dtype="uint16") for name, params in plan.activations.items()}
    assert find(model, replace(plan, activations=wide)) == ()
    dynamic = place_weights(model, TARGET, Precision.DYNAMIC)
    assert any(pair.can_saturate for pair in find(model, dynamic))
    assert repair(model, dynamic, TARGET) is dynamic


def test_nothing_is_claimed_that_was_not_compared() -> None:
    model = product(np.eye(8))
    plan = planned(model)
    assert "arm64" not in cross_cpu(model, plan, load("openvino-cpu")).same
    unchecked = cross_cpu(model, plan, load("litert-cpu"))
    assert (unchecked.same, unchecked.notes()) == ((), ())
