"""taps: statistics out of the graph are those of the values, whatever form the tensors have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.calibration.collect import Calibration, collect, with_activations
from edgekit.calibration.taps import tapped
from edgekit.calibration.watched import heirs, watched
from edgekit.errors import DataError
from edgekit.passes import canonicalize
from edgekit.spec import Array, Range, RunOptions, Session

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Sessions(Protocol):
    @property
    def sessions(self) -> list[Session]: ...
    def __call__(self, model: ir.Model, options: RunOptions) -> Session: ...


IMAGE = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[BATCH, 3, 16, 12] x) => (float[BATCH, 5] y)
<float[64, 3, 3, 3] w1, float[64] b1, float[64, 1, 3, 3] w2, float[64] b2, float[5, 64] w3,
 float zero = {0}, float six = {6}>
{
  c1 = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  r1 = Relu(c1)
  c2 = Conv<pads = [1, 1, 1, 1], group = 64>(r1, w2, b2)
  r2 = Clip(c2, zero, six)
  s = Add(r2, r1)
  p = GlobalAveragePool(s)
  f = Flatten(p)
  y = Gemm<transB = 1>(f, w3)
}
"""


def image(batch: str = "n", *, bias: float = 0.0) -> ir.Model:
    rng = np.random.default_rng(0)
    arrays = {
        "w1": rng.normal(size=(64, 3, 3, 3)) * 0.5,
        "b1": rng.normal(size=64) + bias,
        "w2": rng.normal(size=(64, 1, 3, 3)),
        "b2": rng.normal(size=64),
        "w3": rng.normal(size=(5, 64)),
    }
    tensors = [ir.tensor(array.astype(np.float32), name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(IMAGE.replace("BATCH", batch), initializers=tensors))


def images(count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 12)).astype(np.float32)


def stream(**arrays: Array) -> Callable[[int], Iterator[dict[str, Array]]]:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(next(iter(arrays.values()))), size):
            yield {name: array[start : start + size] for name, array in arrays.items()}

    return batches


def run(
    opener: Sessions,
    model: ir.Model,
    data: Array,
    *,
    method: str = "minmax",
    batch: int = 8,
    seed: int = 0,
    channels: dict[str, int] | None = None,
    name: str = "x",
) -> Calibration:
    return collect(
        model,
        open_model=opener,
        batches=stream(**{name: data}),
        count=len(data),
        method=method,
        batch_size=batch,
        seed=seed,
        channels=channels,
    )


def activations(opener: Sessions, model: ir.Model, data: Array, name: str = "x") -> dict[str, Array]:
    """All of them, sample by sample, as the runtime gives them."""
    names = dict.fromkeys(value.name or "" for node in model.graph for value in node.outputs)
    with opener(with_activations(model, names), RunOptions()) as session:
        runs = [session.run({name: data[index : index + 1]}) for index in range(len(data))]
    return {each: np.concatenate([found[each] for found in runs]) for each in runs[0]}


def test_extrema_of_an_image_network_are_exact(opener: Sessions) -> None:
    """r1 and r2 are proved by the sample, c1 and c2 have the range of what they are clamped to."""
    model, data = image(), images(20)
    found = run(opener, model, data)
    values = activations(opener, model, data)
    for name in ("r1", "r2", "s", "p", "y"):
        expected = Range(float(values[name].min()), float(values[name].max()))
        assert found.tensors[name].low == pytest.approx(expected.low, rel=1e-6, abs=1e-12)
        assert found.tensors[name].high == pytest.approx(expected.high, rel=1e-6)
    assert found.tensors["c1"] == found.tensors["r1"]
    assert found.tensors["c2"] == found.tensors["r2"]
    assert found.tensors["r1"].low == found.tensors["r2"].low == 0.0
    assert len(opener.sessions) == 2, "one pass, and the one of this test"


def test_a_minimum_that_no_sample_proves_is_found_in_a_second_pass(opener: Sessions) -> None:
    """With a large bias no value is clamped: the least one is somewhere between the sampled ones."""
    model, data = image(bias=50.0), images(20)
    found = run(opener, model, data)
    assert len(opener.sessions) == 2
    least = float(activations(opener, model, data)["r1"].min())
    assert least > 0
    assert found.tensors["r1"].low == pytest.approx(least, rel=1e-6)


def test_clamped_values_are_not_looked_at_before_the_clamp() -> None:
    model = image()
    assert [value.name for value in watched(model)] == ["r1", "r2", "s", "p", "y"]
    assert heirs(model) == {"c1": "r1", "c2": "r2", "f": "p"}


def test_a_value_with_another_reader_is_looked_at_before_the_clamp() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) { a = Add(x, x) y = Relu(a) z = Sigmoid(a) }
    """
    assert [value.name for value in watched(canonicalize(ir.from_onnx_text(text)))] == ["a", "y", "z"]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_nothing_depends_on_the_batch(opener: Sessions, batch: int) -> None:
    """But for rounding of convolutions: 1e-5 of the range."""
    for method in ("minmax", "moving-average"):
        one, other = (run(opener, image(), images(20), method=method, batch=size) for size in (8, batch))
        for name, range_ in one.tensors.items():
            width = range_.high - range_.low
            assert abs(other.tensors[name].high - range_.high) <= 1e-5 * width
            assert abs(other.tensors[name].low - range_.low) <= 1e-5 * width


def test_a_fixed_batch_counts_its_filling_once(opener: Sessions) -> None:
    """18 samples in batches of 4: the two that fill the last batch are in no histogram."""
    fixed = run(opener, image("4"), images(18), method="percentile")
    free = run(opener, image(), images(18), method="percentile", batch=4)
    assert fixed.histograms == free.histograms


def test_the_moving_average_is_that_of_each_sample(opener: Sessions) -> None:
    model, data = image(), images(20)
    found = run(opener, model, data, method="moving-average")
    peaks = activations(opener, model, data)["r1"].reshape(20, -1)
    assert found.tensors["r1"].high == pytest.approx(float(peaks.max(axis=1).mean()), rel=1e-5)
    assert found.tensors["r1"].low == pytest.approx(float(peaks.min(axis=1).mean()), abs=1e-6)


@pytest.mark.parametrize("method", ["percentile:99", "entropy", "mse"])
def test_a_sampled_histogram_gives_the_range_of_the_full_one(
    opener: Sessions, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Tolerance 10 %, with one value in three of 16 small images: a tail has few values; seeds 1 and 7."""
    model, data = image(), images(16)
    monkeypatch.setattr("edgekit.calibration.collect.SAMPLED", 10**6)
    full = run(opener, model, data, method=method)
    monkeypatch.setattr("edgekit.calibration.collect.SAMPLED", 4096)
    some = run(opener, model, data, method=method, seed=7)
    for name, range_ in full.tensors.items():
        width = max(range_.high, 0.0) - min(range_.low, 0.0)
        found = max(some.tensors[name].high, 0.0) - min(some.tensors[name].low, 0.0)
        assert found == pytest.approx(width, rel=0.1), name


def test_the_seed_chooses_the_sample(opener: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.calibration.collect.SAMPLED", 512)
    first, again, other = (
        run(opener, image(), images(16), method="percentile", seed=seed) for seed in (1, 1, 2)
    )
    assert first.histograms == again.histograms
    assert first.histograms["r1"] != other.histograms["r1"]
    assert first.histograms["s"] != other.histograms["s"]
    assert set(first.histograms) == {"x", "r1", "r2", "s", "p", "y"}
    assert run(opener, image(), images(16)).histograms == {}


def test_per_channel_peaks_are_exact(opener: Sessions) -> None:
    model, data = image(), images(20)
    found = run(opener, model, data, channels={"r1": 1, "x": 1, "y": -1})
    values: dict[str, Floats] = {
        name: np.asarray(array, np.float32)
        for name, array in {**activations(opener, model, data), "x": data}.items()
    }
    for name, axes in (("r1", (0, 2, 3)), ("x", (0, 2, 3)), ("y", (0,))):
        np.testing.assert_allclose(
            np.asarray(found.channels[name], np.float32), np.abs(values[name]).max(axis=axes), rtol=1e-5
        )
        lows, highs = (np.asarray(each, np.float32) for each in found.channel_extrema[name])
        rounding = 1e-6 * float(np.abs(values[name]).max())  # a batch sums in another order than one sample
        np.testing.assert_allclose(lows, values[name].min(axis=axes), rtol=1e-5, atol=rounding)
        np.testing.assert_allclose(highs, values[name].max(axis=axes), rtol=1e-5, atol=rounding)


@dataclass(frozen=True)
class Form:
    id: str
    text: str
    shape: tuple[int, ...]
    names: tuple[str, ...]


FORMS = (
    Form(
        "open sizes",
        "g (float[n, t, 8] x) => (float[n, t, 8] y) { a = Add(x, x) y = Sigmoid(a) }",
        (20, 40, 8),
        ("a", "y"),
    ),
    Form(
        "open sizes behind a clamp",
        "g (float[n, t, 8] x) => (float[n, t, 8] y) { a = Add(x, x) r = Relu(a) y = Sigmoid(r) }",
        (20, 40, 8),
        ("r", "y"),
    ),
    Form(
        "no batch axis",
        "g (float[n, 6, 8] x) => (float[n, 6, 8] y) <int64[2] s = {-1, 8}, int64[3] u = {-1, 6, 8}>"
        " { a = Reshape(x, s) b = Add(a, a) c = Relu(b) d = Mul(c, a) y = Reshape(d, u) }",
        (20, 6, 8),
        ("c", "d", "y"),
    ),
    Form("a number for each sample", "g (float[n] x) => (float[n] y) { y = Sigmoid(x) }", (20,), ("y",)),
    Form(
        "a number for the batch",
        "g (float[n, 4] x) => (float[n, 4] y) { m = ReduceMax<keepdims = 0>(x) y = Sub(x, m) }",
        (20, 4),
        ("m", "y"),
    ),
)


@pytest.mark.parametrize("method", ["minmax", "percentile:100", "moving-average", "mse"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.id)
def test_tensors_of_every_form(opener: Sessions, form: Form, method: str) -> None:
    model = canonicalize(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {form.text}'))
    data = np.random.default_rng(3).normal(size=form.shape).astype(np.float32)
    found = run(opener, model, data, method=method, batch=20)
    names = dict.fromkeys(form.names)
    with opener(with_activations(model, names), RunOptions()) as session:
        values = session.run({"x": data})
    for name in form.names:
        low, high = float(values[name].min()), float(values[name].max())
        assert low - 1e-6 <= found.tensors[name].low <= found.tensors[name].high <= high + 1e-6
        if method in {"minmax", "percentile:100"}:
            assert found.tensors[name].low == pytest.approx(low, rel=1e-6, abs=1e-7)
            assert found.tensors[name].high == pytest.approx(high, rel=1e-6)


def test_nan_that_a_maximum_would_pass_over_is_found(opener: Sessions) -> None:
    """Log of a negative number in the middle of a tensor (T4)."""
    text = "g (float[n, 500] x) => (float[n, 500] y) { a = Log(x) y = Sigmoid(a) }"
    model = canonicalize(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))
    data = np.ones((20, 500), np.float32)
    data[13, 271] = -1.0
    with pytest.raises(DataError, match="activation 'a' is not finite in sample 13"):
        run(opener, model, data)


def test_a_sum_that_overflows_alone_is_no_error(opener: Sessions) -> None:
    text = "g (float[n, 500] x) => (float[n, 500] y) { y = Exp(x) }"
    model = canonicalize(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))
    data = np.full((16, 500), 88.0, np.float32)
    assert run(opener, model, data).tensors["y"].high == pytest.approx(np.exp(88.0), rel=1e-4)


def test_the_model_keeps_its_outputs_where_nothing_is_watched() -> None:
    text = "g (int64[n, 4] x) => (int64[n, 4] y) { y = Add(x, x) }"
    model = canonicalize(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))
    taps = tapped(model, [], sampled=64, seed=0)
    assert [value.name for value in taps.model.graph.outputs] == ["y"]


def test_taps_of_the_last_tensor_come_first() -> None:
    """T1: what ONNX Runtime orders nodes by."""
    taps = tapped(image(), ["r1", "r2", "s", "p", "y"], sampled=64, seed=0)
    pooled = [node.inputs[0] for node in taps.model.graph if node.op_type == "GlobalMaxPool"]
    assert [value.name for value in pooled if value is not None] == ["r2", "r1"]
    assert [value.name for value in taps.model.graph.outputs] == ["edgekit_rows"]


def test_a_tensor_without_a_clamp_gives_more_where_tails_decide() -> None:
    """T6."""

    def widths(tails: int) -> dict[str, int]:
        taps = tapped(image(), ["r1", "s"], sampled=64, seed=0, tails=tails)
        return {taps.names[each.tensor]: each.stop - each.start for each in taps.rows.samples.columns}

    once, twice = widths(1), widths(2)
    assert twice["r1"] == once["r1"]
    assert twice["s"] >= 1.7 * once["s"]
