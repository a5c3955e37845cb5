"""findings: each fires on what it is for, and not on good data; each has a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.calibration.collect import collect
from edgekit.calibration.samples import overlap, sample_hashes
from edgekit.passes import canonicalize
from edgekit.spec import Array, RunOptions, Session

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Open = Callable[[ir.Model, RunOptions], Session]

PLANES = "g (float[n, 3, 24, 24] x) => (float[n, 8, 24, 24] y)"
CHANNELS_LAST = "g (float[n, 24, 24, 3] x) => (float[n, 8, 24, 24] y)"


def network(head: str, *, scale: float = 1.0, bias: float = 0.1, seed: int = 0) -> ir.Model:
    """A 3x3 convolution with Relu whose answers have a spread near ``scale`` for inputs near 1."""
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(8, 3, 3, 3)) * scale * 27**-0.5).astype(np.float32)
    arrays = {"w": weight, "b": np.full(8, bias, np.float32)}
    body = "t = Transpose<perm = [0, 3, 1, 2]>(x)" if head == CHANNELS_LAST else "t = Identity(x)"
    text = (
        f'<ir_version: 10, opset_import: ["" : 21]> {head} <float[8, 3, 3, 3] w, float[8] b>'
        f" {{ {body} c = Conv<pads = [1, 1, 1, 1]>(t, w, b) y = Relu(c) }}"
    )
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(text, initializers=tensors))


def photographs(count: int = 20, seed: int = 1) -> Floats:
    """(count, 24, 24, 3), 0 to 255 in whole numbers: smooth, with colours that differ."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:24, 0:24] / 24
    waves = [
        np.sin(down * rng.uniform(2, 5) + across * rng.uniform(2, 5) + rng.uniform(0, 6))
        for _ in range(count * 3)
    ]
    smooth = np.stack(waves).reshape(count, 3, 24, 24).transpose(0, 2, 3, 1)
    colour = rng.uniform(40, 215, (count, 1, 1, 3))
    return np.clip(np.rint(smooth * 40 + colour), 0, 255).astype(np.float32)


def greyish() -> Floats:
    """Nearly the same colour in all three: neighbours in memory are alike either way."""
    images = photographs()
    return np.rint(images[..., :1] * 0.98 + images * 0.02).astype(np.float32)


def normalized(images: Floats) -> Floats:
    return ((images - 127.5) / 64).astype(np.float32)


def planes(images: Floats) -> Floats:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def codes(opener: Open, model: ir.Model, **arrays: Array) -> list[str]:
    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(next(iter(arrays.values()))), size):
            yield {name: array[start : start + size] for name, array in arrays.items()}

    count = len(next(iter(arrays.values())))
    found = collect(model, open_model=opener, batches=batches, count=count, method="minmax").findings
    assert all(each.remedy for each in found)
    assert all(str(each).startswith(f"{each.code}: ") for each in found)
    return [each.code for each in found]


def test_good_photographs_have_no_findings(opener: Open) -> None:
    assert codes(opener, network(PLANES), x=planes(normalized(photographs()))) == []
    assert codes(opener, network(CHANNELS_LAST), x=normalized(photographs())) == []
    assert codes(opener, network(PLANES), x=planes(normalized(greyish()))) == []
    assert codes(opener, network(CHANNELS_LAST), x=normalized(greyish())) == []


def test_bytes_where_the_model_was_trained_on_small_numbers(opener: Open) -> None:
    assert "raw-bytes" in codes(opener, network(PLANES), x=planes(photographs()))


def test_bytes_where_the_first_layer_answers_weakly(opener: Open) -> None:
    """The first convolution of resnet8 answers the data of training with a spread of 0.4, bytes with 25."""
    assert "raw-bytes" in codes(opener, network(PLANES, scale=0.4), x=planes(photographs()))


def test_bytes_where_the_model_takes_bytes(opener: Open) -> None:
    """A layer whose weights divide by 255 itself answers bytes with a spread near 1."""
    assert codes(opener, network(PLANES, scale=1 / 64), x=planes(photographs())) == []


def test_small_numbers_where_the_model_takes_bytes(opener: Open) -> None:
    data = planes(photographs()) / np.float32(255)
    assert "tiny-input" in codes(opener, network(PLANES, scale=1 / 64, bias=2.0), x=data)


def test_small_numbers_where_the_model_takes_small_numbers(opener: Open) -> None:
    data = planes(photographs()) / np.float32(255)
    assert "tiny-input" not in codes(opener, network(PLANES, bias=2.0), x=data)


@dataclass(frozen=True)
class Swap:
    id: str
    head: str
    data: Floats


SWAPS = (
    Swap("interleaved for planes", PLANES, normalized(photographs()).reshape(20, 3, 24, 24)),
    Swap("grey ones interleaved for planes", PLANES, normalized(greyish()).reshape(20, 3, 24, 24)),
    Swap("grey planes for interleaved", CHANNELS_LAST, planes(normalized(greyish())).reshape(20, 24, 24, 3)),
    Swap("planes for interleaved", CHANNELS_LAST, planes(normalized(photographs())).reshape(20, 24, 24, 3)),
)


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.id)
def test_data_that_was_reshaped_and_not_transposed(opener: Open, swap: Swap) -> None:
    assert "swapped-layout" in codes(opener, network(swap.head), x=swap.data)


def test_noise_has_no_layout(opener: Open) -> None:
    data = np.random.default_rng(0).normal(size=(20, 3, 24, 24)).astype(np.float32)
    assert codes(opener, network(PLANES), x=data) == []


def dense(text: str) -> ir.Model:
    return canonicalize(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))


SMALL = dense("g (float[n, 4] x) => (float[n, 4] y) { y = Sigmoid(x) }")


def rows(count: int = 20, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_one_sample_again_and_again(opener: Open) -> None:
    found = codes(opener, SMALL, x=np.repeat(rows(1), 20, axis=0))
    assert found == ["same-samples"]


def test_few_repetitions_are_not_all_the_same(opener: Open) -> None:
    data = rows()
    data[3] = data[2]
    assert codes(opener, SMALL, x=data) == ["duplicate-samples"]


def test_one_sample_is_no_repetition(opener: Open) -> None:
    assert codes(opener, SMALL, x=rows(1)) == ["too-few-samples"]


def test_outputs_that_never_change(opener: Open) -> None:
    """Everything is clamped away: the data differs and nothing of it arrives."""
    model = dense(
        "g (float[n, 4] x) => (float[n, 4] y) <float l = {-100}> { a = Add(x, l) r = Relu(a) y = Exp(r) }"
    )
    found = codes(opener, model, x=rows())
    assert "unchanging-output" in found
    assert "dead-activation" in found


def test_outputs_behind_a_reshape_are_compared_too(opener: Open) -> None:
    text = (
        "g (float[n, 4] x) => (float[n, 2, 2] y) <float l = {LEAST}, int64[3] s = {-1, 2, 2}>"
        " { a = Add(x, l) r = Relu(a) y = Reshape(r, s) }"
    )
    assert "unchanging-output" in codes(opener, dense(text.replace("LEAST", "-100")), x=rows())
    assert "unchanging-output" not in codes(opener, dense(text.replace("LEAST", "1")), x=rows())


def test_an_input_that_nothing_reads(opener: Open) -> None:
    model = dense("g (float[n, 4] x, float[n, 4] z) => (float[n, 4] y) { y = Sigmoid(x) }")
    assert codes(opener, model, x=rows(), z=rows(seed=2)) == ["unused-input"]


def test_an_input_that_a_branch_reads(opener: Open) -> None:
    model = dense(
        "g (float[n, 4] x, float[n, 4] z) => (float[n, 4] y) {"
        " m = ReduceMax<keepdims = 0>(x) zero = Constant<value = float {0}>() c = Greater(m, zero)"
        " y = If(c) <then_branch = t () => (float[n, 4] a) { a = Sigmoid(z) },"
        " else_branch = e () => (float[n, 4] b) { b = Sigmoid(x) }> }"
    )
    assert "unused-input" not in codes(opener, model, x=rows(), z=rows(seed=2))


def test_halves_that_disagree(opener: Open) -> None:
    data = rows(20)
    data[7, 2] = 50.0
    assert "halves-disagree" in codes(opener, SMALL, x=data)


def test_halves_that_agree(opener: Open) -> None:
    data = rows(20)
    data[7, 2] = data[8, 1] = 50.0
    assert "halves-disagree" not in codes(opener, SMALL, x=data)


def test_few_samples_are_not_halved(opener: Open) -> None:
    data = rows(8)
    data[7, 2] = 50.0
    assert codes(opener, SMALL, x=data) == ["too-few-samples"]


def test_samples_in_both_sets() -> None:
    learning = [{"x": row} for row in rows(20)]
    judging = [{"x": row} for row in rows(30, seed=5)]
    assert overlap(sample_hashes(learning), sample_hashes(judging)) is None
    finding = overlap(sample_hashes(learning), sample_hashes([*judging, learning[3], learning[4]]))
    assert finding is not None
    assert finding.code == "data-overlap"
    assert "2 of 32" in finding.text
    assert finding.remedy


def test_hashes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.calibration.samples.REMEMBERED_SAMPLES", 4)
    assert len(sample_hashes({"x": row} for row in rows(20))) == 4
