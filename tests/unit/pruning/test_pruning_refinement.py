"""Refinement: ends of blocks (J1 to J3), bounds and reasons (F1 to F3), and what is moved in images (D2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import MissingBackendError
from edgekit.ir import io
from edgekit.pruning import moved as moved_
from edgekit.pruning import refine as refine_
from edgekit.pruning import torch_graph
from edgekit.pruning.dependency import Dependencies, dependencies
from edgekit.pruning.joints import joints
from edgekit.pruning.moved import COLOURS, moved
from edgekit.pruning.normalize import Normalizations
from edgekit.pruning.reconstruct import reconstruct
from edgekit.pruning.recover import Recovery, recover
from edgekit.pruning.refine import PASSES, WORK, Refinement, passes_of, refine
from edgekit.pruning.remove import remove
from edgekit.pruning.sensitivity import output_error
from edgekit.pruning.stream import values
from edgekit.spec import RunOptions
from tests.unit.litert.litert_models import Model, as_ir
from tests.unit.pruning.in_process import InProcess, stream

COUNT = 128


def _network(batch: str | int = "N") -> ir.Model:
    """Stem of 8, one residual block of 12 inside, dense layer."""
    m = Model(seed=1)
    x = m.input("x", (batch, 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(8, 3, 3, 3, scale=0.4), m.weight(8), pads=[1] * 4))
    z = m.add("Conv", y, m.weight(12, 8, 3, 3, scale=0.2), m.weight(12), pads=[1] * 4)
    z = m.add("Conv", m.add("Relu", z), m.weight(8, 12, 3, 3, scale=0.2), m.weight(8), pads=[1] * 4)
    y = m.add("Relu", m.add("Add", y, z), out="end")
    y = m.add("Flatten", m.add("GlobalAveragePool", y))
    return as_ir(m.build(m.add("Gemm", y, m.weight(4, 8), m.weight(4), transB=1)))


def _pruned(model: ir.Model) -> tuple[Dependencies, tuple[int, ...], ir.Model]:
    """Two channels of the stream and half of the block's inside, cut out."""
    found = dependencies(model)
    by_size = {len(group.channels): group for group in found.groups}
    gone = (*by_size[8].channels[:2], *by_size[12].channels[:6])
    return found, gone, remove(found, gone)


def _refined(
    found: Dependencies,
    solved: ir.Model,
    gone: tuple[int, ...],
    *,
    count: int = COUNT,
    passes: int = 12,
    zeros: tuple[str, ...] = (),
) -> tuple[ir.Model, Refinement]:
    pytest.importorskip("torch")
    batches = stream(io.specs(found.model)[0][0], count=COUNT)
    return refine(
        found,
        solved,
        gone,
        open_model=InProcess,
        batches=batches,
        count=count,
        passes=passes,
        seed=0,
        threads=1,
        zeros=zeros,
    )


def test_the_end_of_a_block_is_a_joint_with_the_channels_that_are_left() -> None:
    found, gone, pruned = _pruned(_network())
    (joint,) = joints(found, pruned, gone)
    assert joint.name == "end"  # J1: behind its activation
    assert [None if each is None else len(each) for each in joint.kept] == [None, 6, None, None]  # J2
    plain = dependencies(
        as_ir((m := Model()).build(m.add("Conv", m.input("x", ("N", 3, 4, 4)), m.weight(2, 3, 1, 1))))
    )
    assert joints(plain, plain.model, ()) == ()  # J3


def test_blocks_together_come_closer_than_layers_one_by_one() -> None:
    found, gone, pruned = _pruned(_network())
    batches = stream(io.specs(found.model)[0][0], count=COUNT)
    solved, _ = reconstruct(found, pruned, gone, open_model=InProcess, batches=batches, count=COUNT, seed=0)
    refined, said = _refined(found, solved, gone, passes=30)
    assert said.passes == 30
    assert said.after < 0.9 * said.before
    fresh = stream(io.specs(found.model)[0][0], count=COUNT, seed=9)
    errors = [
        output_error(found.model, each, open_model=InProcess, batches=fresh, count=COUNT)
        for each in (solved, refined)
    ]
    assert errors[1] < errors[0]


def test_what_is_no_better_on_unseen_samples_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """F2: sabotage, a training that ruins a weight."""
    found, gone, pruned = _pruned(_network())

    def ruined(teacher: ir.Model, student: ir.Model, **_: object) -> tuple[ir.Model, Recovery]:
        del teacher
        other = student.clone()
        value = next(value for value in other.graph.initializers.values() if len(value.shape or ()) == 4)
        assert value.const_value is not None
        value.const_value = ir.tensor(-3 * value.const_value.numpy(), name=value.name)
        return other, Recovery(1, 0.0, 0.0)

    monkeypatch.setattr(refine_, "recover", ruined)
    refined, said = _refined(found, pruned, gone)
    assert refined is pruned
    assert said.passes == 0
    assert said.after > said.before
    assert "no better" in said.why


def test_zeros_that_are_near_enough_are_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """F4: sabotage, a bound below what is missing, or channels that are gone: then it is trained."""
    found, gone, pruned = _pruned(_network())
    asked: list[str] = []

    def trained(teacher: ir.Model, student: ir.Model, **_: object) -> tuple[ir.Model, Recovery]:
        del student
        asked.append("trained")
        return teacher, Recovery(1, 0.0, 0.0)

    monkeypatch.setattr(refine_, "recover", trained)
    _, first = _refined(found, pruned, gone)
    for zeros, part, times in ((("w",), 1.01, 0), (("w",), 0.99, 1), ((), 1.01, 1)):
        asked.clear()
        monkeypatch.setattr(refine_, "NEAR_ENOUGH", part * first.before)
        refined, said = _refined(found, pruned, gone, zeros=zeros)
        assert len(asked) == times
        assert (refined is pruned) == (not times)
        assert said.before == first.before
        assert ("within" in said.why) == (not times)


def test_what_cannot_be_refined_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """F3."""
    found, gone, pruned = _pruned(_network())
    assert "fewer than" in _refined(found, pruned, gone, count=20)[1].why
    assert "beyond the work" in _refined(found, pruned, gone, passes=1)[1].why
    fixed, lost, cut = _pruned(_network(batch=2))
    assert "fixed size" in _refined(fixed, cut, lost)[1].why

    def missing(teacher: ir.Model, student: ir.Model, **_: object) -> tuple[ir.Model, Recovery]:
        del teacher, student
        raise MissingBackendError("PyTorch is not installed", why="", remedy="")

    monkeypatch.setattr(refine_, "recover", missing)
    refined, said = _refined(found, pruned, gone)
    assert refined is pruned
    assert said.why == "PyTorch is not installed"


@pytest.mark.parametrize(
    ("macs", "count", "expected"),
    [(1, 1, PASSES), (int(WORK / 2000 / 10), 2000, 10), (int(WORK), 256, 0), (None, 2000, 2)],
)
def test_larger_models_get_fewer_passes(macs: int | None, count: int, expected: int) -> None:
    """F1."""
    assert passes_of(macs, count) == expected


def test_joints_bring_inner_values_closer() -> None:
    """Trained for its outputs alone, the block's end goes its own way."""
    pytest.importorskip("torch")
    found, gone, pruned = _pruned(_network())
    batches = stream(io.specs(found.model)[0][0], count=COUNT)
    ends = joints(found, pruned, gone)
    (kept,) = [axis for axis in ends[0].kept if axis is not None]
    off = []
    for compared in (ends, ()):
        trained, _ = recover(
            found.model,
            pruned,
            batches=batches,
            count=COUNT,
            epochs=100,
            seed=0,
            threads=1,
            joints=compared,
        )
        wanted, given = (
            next(values(each, ["end"], open_model=InProcess, batches=batches, count=64, size=64))["end"]
            for each in (found.model, trained)
        )
        off.append(float(((np.take(wanted, kept, axis=1) - given.astype(np.float64)) ** 2).mean()))
    assert off[0] < 0.8 * off[1]


def test_half_precision_learns_as_well() -> None:
    """D4: products of 8 bits; the error that is left is that of float32 to a tenth."""
    pytest.importorskip("torch")
    found, _, pruned = _pruned(_network())
    batches = stream(io.specs(found.model)[0][0], count=COUNT)
    errors = []
    for half in (False, True):
        trained, _ = recover(
            found.model, pruned, batches=batches, count=COUNT, epochs=12, seed=0, threads=1, half=half
        )
        errors.append(output_error(found.model, trained, open_model=InProcess, batches=batches, count=64))
    before = output_error(found.model, pruned, open_model=InProcess, batches=batches, count=64)
    assert errors[1] < errors[0] + 0.1 * before


def test_images_are_moved_and_colours_mirrored() -> None:
    """V1, V2: what was moved holds a part of the image; what is no image stays."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(32.0).repeat(64, COLOURS, 32, 1)
    found = moved_.shifted(ramp, generator)
    assert found.shape == ramp.shape
    middles = found[:, 0, 16, 16].tolist()
    assert all(16 - 4 <= middle <= 16 + 4 for middle in middles)
    assert len(set(middles)) > 1
    for _ in range(2):  # turned, and not
        found = moved(ramp, generator)
        rising = (found[:, 0, 0, 20] > found[:, 0, 0, 12]).tolist()
        assert True in rising
        assert False in rising  # mirrored
    grey = moved(ramp[:, :1], generator)
    assert bool((grey[:, 0, 0, 20] > grey[:, 0, 0, 12]).all())  # never mirrored, turned or in another light
    assert set(grey.unique().tolist()) <= set(range(32))
    for other in (torch.rand(4, 7), torch.rand(4, 3, 8, 8), torch.ones(2, 3, 32, 32, dtype=torch.int64)):
        assert moved(other, generator) is other


def test_colour_images_are_turned_and_zoomed() -> None:
    """V3: a ramp of the width stays one, as steep as the zoom says; nothing comes from outside of it."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(32.0).repeat(64, COLOURS, 32, 1)
    found = moved_.turned(ramp, generator)
    assert found.min() >= 0
    assert found.max() <= 31
    across = (found[:, 0, 16, 17] - found[:, 0, 16, 15]) / 2
    down = (found[:, 0, 17, 16] - found[:, 0, 15, 16]) / 2
    steep = (across**2 + down**2).sqrt()
    most = math.exp(moved_.ZOOMED + moved_.UNEVENLY)
    assert ((steep > 1 / most) & (steep < most)).all()
    assert steep.std() > 0.03
    angles = torch.atan2(down, across.abs()).abs()
    assert 0.5 * moved_.TURNED < angles.max() < 1.2 * moved_.TURNED  # the sides are not zoomed alike


def test_colour_images_come_in_another_light() -> None:
    """V4: without contrast all that changes is the colour; what has some keeps nearly as much."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, COLOURS, 32, 32, generator=generator)
    images[0] = 0.5
    found = moved_.lit(images, generator)
    assert found.dtype == images.dtype
    assert (found[0].std((1, 2)) < 1e-5).all()
    wider = (found[1:] - found[1:].mean((2, 3), keepdim=True)).std((1, 2, 3)) / images[1:].std((1, 2, 3))
    assert ((wider > 0.99 - moved_.LIGHT) & (wider < 1.01 + moved_.LIGHT)).all()
    assert wider.std() > 0.05
    lighter = found.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert 0.1 < float(lighter.abs().max()) <= moved_.LIGHT + moved_.TINT + 0.01
    tinted = found[0].mean((1, 2))
    assert 0 < float(tinted.max() - tinted.min()) <= 2.02 * moved_.TINT


def _with_normalizations(model: ir.Model, *, size: int = 64) -> tuple[Normalizations, Any, dict[str, Any]]:
    torch = pytest.importorskip("torch")
    weights = {
        name: torch.nn.Parameter(torch.from_numpy(np.array(value.const_value.numpy())))
        for name, value in model.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }
    own = Normalizations(model)
    (feeds,) = stream(io.specs(model)[0][0], count=size)(size)
    given = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
    with torch.no_grad():
        torch_graph.function(model, behind=own.watch)(weights, given)
    own.start()
    return own, weights, given


def _without_a_bias() -> ir.Model:
    m = Model(seed=4)
    y = m.add("Conv", m.input("x", ("N", 4, 8, 8)), m.weight(6, 2, 3, 3), group=2, pads=[1] * 4)
    y = m.add("Conv", m.add("Relu", y), m.weight(5, 6, 1, 1), m.weight(5))
    return as_ir(m.build(m.add("Gemm", m.add("Flatten", m.add("GlobalAveragePool", y)), m.weight(5, 3))))


@pytest.mark.parametrize("model", [_network(), _without_a_bias()], ids=["residual", "grouped, no bias"])
def test_normalizations_change_nothing_at_first_and_fold_away(model: ir.Model) -> None:
    """To 1e-4 of the largest output, float32."""
    own, weights, given = _with_normalizations(model)
    plain = next(iter(torch_graph.function(model)(weights, given).values())).detach().numpy()
    own.settle(1)
    normed = torch_graph.function(model, behind=own.normalized)(weights, given)
    assert own.weights
    (first,) = (value.detach().numpy() for value in normed.values())
    assert np.abs(first - plain).max() <= 1e-4 * np.abs(plain).max()
    other = model.clone()
    own.fold(other, weights)
    for name, tensor in weights.items():
        other.graph.initializers[name].const_value = ir.tensor(tensor.detach().numpy().copy(), name=name)
    folded = next(iter(InProcess(other, RunOptions()).run({n: t.numpy() for n, t in given.items()}).values()))
    assert np.abs(folded - plain).max() <= 1e-3 * np.abs(plain).max()  # variances with and without Bessel


def test_folding_carries_what_was_learned() -> None:
    """Sabotage: another gamma and beta are another model, the same as with its normalizations."""
    model = _network()
    own, weights, given = _with_normalizations(model)
    for parameter in own.parameters:
        parameter.data.mul_(1.5).add_(0.1)
    own.settle(1)
    evaluated = torch_graph.function(model, behind=own.normalized)(weights, given)
    (wanted,) = (value.detach().numpy() for value in evaluated.values())
    plain = next(iter(InProcess(model, RunOptions()).run({"x": given["x"].numpy()}).values()))
    own.fold(model, weights)
    for name, tensor in weights.items():
        model.graph.initializers[name].const_value = ir.tensor(tensor.detach().numpy().copy(), name=name)
    folded = next(iter(InProcess(model, RunOptions()).run({"x": given["x"].numpy()}).values()))
    assert np.abs(folded - wanted).max() <= 0.01 * np.abs(wanted - plain).max()


def test_what_has_too_few_numbers_or_is_shared_is_not_normalized() -> None:
    """B1, B2."""
    own, _, _ = _with_normalizations(_network(), size=3)
    assert not own.weights
    m = Model(seed=5)
    weight = m.weight(4, 4, 3, 3)
    y = m.add("Conv", m.input("x", ("N", 4, 16, 16)), weight, pads=[1] * 4)
    shared = as_ir(m.build(m.add("Conv", y, weight, pads=[1] * 4)))
    assert not _with_normalizations(shared)[0].weights


def test_judges_are_spread_over_the_data() -> None:
    """F2: data may lie class by class; whole batches, and what is left over."""

    def batches(size: int) -> Iterator[dict[str, Any]]:
        numbers = np.arange(100)
        for start in range(0, 100, size):
            yield {"x": numbers[start : start + size]}

    found = [feeds["x"].tolist() for feeds in refine_._judges(batches)(3)]
    assert found == [[0, 16, 32], [48, 64, 80], [96]]


def test_means_are_those_of_all_samples_where_data_lies_in_order() -> None:
    """Sabotage: the first half of the samples is of another size; what is folded has to fit both."""
    pytest.importorskip("torch")
    found, gone, pruned = _pruned(_network())
    rng = np.random.default_rng(0)
    data = rng.standard_normal((4096, 3, 8, 8)).astype(np.float32)
    data[:2048] *= 0.1

    def batches(size: int) -> Iterator[dict[str, Any]]:
        for start in range(0, len(data), size):
            yield {"x": data[start : start + size]}

    trained, _ = recover(
        found.model, pruned, batches=batches, count=4096, epochs=2, seed=0, threads=1, but_every=16
    )
    errors = [
        output_error(found.model, each, open_model=InProcess, batches=refine_._judges(batches), count=256)
        for each in (pruned, trained)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert gone
