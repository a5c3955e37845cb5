"""collect: ranges of every float tensor, findings, and refusals that name tensor and sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.calibration.collect import Calibration, collect, with_activations
from edgekit.calibration.samples import REMEMBERED_SAMPLES, SampleLog
from edgekit.errors import DataError, ModelFileError
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.spec import Array, BatchStream, Range, RunOptions, Session, Silent

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[BATCH, 2, 3] x) => (float[BATCH, 6] y)
<int64[2] s = {-1, 6}, float one = {1}, float two = {2}>
{
  a = Mul(x, two)
  b = Reshape(a, s)
  y = Clip(b, one)
}
"""


class HasSessions(Protocol):
    @property
    def sessions(self) -> list[SessionRecord]: ...
    def __call__(self, model: ir.Model, options: RunOptions) -> Session: ...


class SessionRecord(Protocol):
    closed: bool
    batch_sizes: list[int]


def model(batch: str = "n") -> ir.Model:
    return canonicalize(ir.from_onnx_text(TEXT.replace("BATCH", batch)))


def stream(**arrays: Array) -> BatchStream:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        total = len(next(iter(arrays.values())))
        for start in range(0, total, size):
            yield {name: array[start : start + size] for name, array in arrays.items()}

    return batches


def samples(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, 2, 3)).astype(np.float32)


def run(
    opener: Callable[[ir.Model, RunOptions], Session],
    data: Array,
    *,
    batch: str = "n",
    method: str = "minmax",
    count: int | None = None,
    batch_size: int = 8,
) -> Calibration:
    return collect(
        model(batch),
        open_model=opener,
        batches=stream(x=data),
        count=len(data) if count is None else count,
        method=method,
        batch_size=batch_size,
    )


def test_every_float_tensor_gets_its_range_and_no_initializer_does(opener: HasSessions) -> None:
    data = samples(20)
    found = run(opener, data)
    low, high = float(data.min()), float(data.max())
    assert found.tensors == {
        "x": Range(low, high),
        "a": Range(2 * low, 2 * high),
        "b": Range(2 * low, 2 * high),  # from "a": a Reshape is not taken out of the runtime
        "y": Range(1.0, 2 * high),
    }
    assert found.samples == 20
    assert found.findings == ()
    assert opener.sessions[0].closed


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_ranges_do_not_depend_on_the_batch_size(batch_size: int, opener: HasSessions) -> None:
    assert run(opener, samples(20), batch_size=batch_size).tensors == run(opener, samples(20)).tensors


def test_no_more_than_count_samples_are_read(opener: HasSessions) -> None:
    data = samples(40)
    found = run(opener, data, count=20)
    assert found.samples == 20
    assert found.tensors["x"] == Range(float(data[:20].min()), float(data[:20].max()))


def test_a_fixed_batch_is_kept_and_the_last_one_is_filled_up(opener: HasSessions) -> None:
    data = samples(18)
    found = run(opener, data, batch="4")
    assert opener.sessions[0].batch_sizes == [4, 4, 4, 4, 4]
    assert (found.samples, found.tensors["x"]) == (18, Range(float(data.min()), float(data.max())))


def test_batches_shrink_until_activations_fit(opener: HasSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.calibration.collect.MEMORY_BYTES", 5 * 2 * 6 * 4)  # 5 samples, 2 activations
    run(opener, samples(20), batch_size=32)
    assert max(opener.sessions[0].batch_sizes) == 5


def test_the_model_is_untouched_and_keeps_its_outputs_first(opener: HasSessions) -> None:
    float_model = model()
    before = io.to_bytes(float_model)
    collect(float_model, open_model=opener, batches=stream(x=samples(16)), count=16, method="minmax")
    assert io.to_bytes(float_model) == before
    exposed = with_activations(float_model, {"a": None, "y": None, "x": None})
    assert [value.name for value in exposed.graph.outputs] == ["y", "a"]


def test_percentile_cuts_an_outlier(opener: HasSessions) -> None:
    data = samples(200)
    data[7, 0, 0] = 1000.0
    assert run(opener, data, method="percentile:99").tensors["x"].high < 10
    assert run(opener, data).tensors["x"].high == 1000.0


def test_progress_counts_samples(opener: HasSessions) -> None:
    class Counting(Silent):
        steps = 0

        def advance(self, steps: int = 1) -> None:
            self.steps += steps

    progress = Counting()
    collect(
        model(),
        open_model=opener,
        batches=stream(x=samples(20)),
        count=20,
        method="minmax",
        progress=progress,
    )
    assert progress.steps == 20


def test_few_samples_are_a_finding(opener: HasSessions) -> None:
    assert [item.code for item in run(opener, samples(15)).findings] == ["too-few-samples"]
    assert run(opener, samples(16)).findings == ()


def test_repeated_samples_are_a_finding(opener: HasSessions) -> None:
    data = samples(20)
    data[13] = data[5]
    (finding,) = run(opener, data).findings
    assert finding.code == "duplicate-samples"
    assert "1 of 20" in finding.text
    assert "sample 13" in finding.text


def test_a_constant_input_and_dead_activations_are_findings(opener: HasSessions) -> None:
    data = np.full((20, 2, 3), 0.25, np.float32)
    codes = {item.code for item in run(opener, data).findings}
    assert codes == {"same-samples", "constant-input", "dead-activation"}


def test_the_memory_of_seen_samples_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.calibration.samples.REMEMBERED_SAMPLES", 4)
    log = SampleLog()
    log.add({"x": samples(20)}, start=0, count=20)
    assert len(log.seen) == 4
    assert REMEMBERED_SAMPLES * 8 < 2**20


def refuse(opener: HasSessions, says: str, **arrays: Array) -> None:
    with pytest.raises(DataError, match=says) as caught:
        collect(model(), open_model=opener, batches=stream(**arrays), count=99, method="minmax", batch_size=8)
    assert caught.value.remedy
    assert all(session.closed for session in opener.sessions)


def test_no_samples_are_refused(opener: HasSessions) -> None:
    refuse(opener, "has no samples", x=samples(0))


def test_nan_in_the_data_names_input_and_sample(opener: HasSessions) -> None:
    data = samples(20)
    data[13, 1, 2] = np.nan
    refuse(opener, "calibration data 'x' is not finite in sample 13", x=data)


def test_infinity_in_the_data_is_refused(opener: HasSessions) -> None:
    data = samples(20)
    data[0, 0, 0] = -np.inf
    refuse(opener, "not finite in sample 0", x=data)


def test_overflow_in_an_activation_names_tensor_and_sample(opener: HasSessions) -> None:
    data = samples(20)
    data[11, 0, 0] = 3e38  # times two is infinite
    refuse(opener, "activation 'a' is not finite in sample 11", x=data)


def test_a_wrong_name_is_refused(opener: HasSessions) -> None:
    refuse(opener, r"has \['y'\], the model takes \['x'\]", y=samples(20))


def test_an_extra_name_is_refused(opener: HasSessions) -> None:
    refuse(opener, r"has \['x', 'z'\]", x=samples(20), z=samples(20))


def test_a_wrong_shape_is_refused(opener: HasSessions) -> None:
    refuse(
        opener, r"is float32\[8, 2, 4\], the model takes x:float32:nx2x3", x=np.zeros((20, 2, 4), np.float32)
    )


def test_a_wrong_rank_is_refused(opener: HasSessions) -> None:
    refuse(opener, r"is float32\[8, 6\]", x=np.zeros((20, 6), np.float32))


def test_a_wrong_type_is_refused(opener: HasSessions) -> None:
    refuse(opener, r"is float64\[8, 2, 3\]", x=samples(20).astype(np.float64))


TWO = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[LEFT, 2] x, float[RIGHT, 2] z) => (float[OUT, 2] y) { y = Add(x, z) }
"""


def two_inputs(left: str, right: str, out: str) -> ir.Model:
    return ir.from_onnx_text(TWO.replace("LEFT", left).replace("RIGHT", right).replace("OUT", out))


def test_inputs_of_different_length_are_refused(opener: HasSessions) -> None:
    two = canonicalize(two_inputs("n", "n", "n"))

    def batches(size: int) -> Iterator[dict[str, Array]]:
        yield {"x": np.zeros((4, 2), np.float32), "z": np.zeros((1, 2), np.float32)}

    with pytest.raises(DataError, match="different numbers of samples"):
        collect(two, open_model=opener, batches=batches, count=4, method="minmax")


def test_inputs_that_fix_different_batches_are_refused(opener: HasSessions) -> None:
    two = canonicalize(two_inputs("4", "1", "4"))
    with pytest.raises(ModelFileError, match="inputs disagree about the batch"):
        collect(two, open_model=opener, batches=stream(x=samples(4)), count=4, method="minmax")


def test_auto_says_what_it_chose_for_each_tensor(opener: HasSessions) -> None:
    x = samples(64) ** 5
    found = run(opener, x, method="auto")
    plain = run(opener, x, method="minmax")
    assert found.methods.keys() == found.tensors.keys()
    assert found.tensors["x"] == plain.tensors["x"]  # an input stays uncut
    assert not plain.methods
