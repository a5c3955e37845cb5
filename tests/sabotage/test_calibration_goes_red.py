"""Each check of calibration is switched off once, and what it guards against then passes unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import Calibration, collect
from edgekit.errors import DataError
from edgekit.passes import canonicalize
from edgekit.spec import Array

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Patch = Callable[[pytest.MonkeyPatch], None]

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 64] x, float[n, 64] unused) => (float[n, 64] y) <float l = {LEAST}>
{ a = Log(x) b = Add(a, l) y = Relu(b) }
"""


def run(data: Floats, *, least: float = 0.0) -> Calibration:
    model = canonicalize(ir.from_onnx_text(TEXT.replace("LEAST", str(least))))

    def batches(size: int) -> Iterator[dict[str, Array]]:
        for start in range(0, len(data), size):
            yield {"x": data[start : start + size], "unused": data[start : start + size]}

    return collect(model, open_model=open_model, batches=batches, count=len(data), method="minmax")


def good(count: int = 20) -> Floats:
    return np.random.default_rng(0).uniform(1, 9, (count, 64)).astype(np.float32)


def repeated() -> Floats:
    data = good()
    data[9] = data[3]
    return data


def stretched() -> Floats:
    data = good()
    data[9, 5] = 1e6
    return data


@dataclass(frozen=True)
class Sabotage:
    """A finding, data that causes it, and what silences it: a name in the package and its replacement."""

    code: str
    data: Floats
    where: str
    instead: object
    least: float = 0.0


SABOTAGES = (
    Sabotage("too-few-samples", good(4), "edgekit.calibration.findings.FEW_SAMPLES", 0),
    Sabotage("duplicate-samples", repeated(), "edgekit.calibration.samples.REMEMBERED_SAMPLES", 0),
    Sabotage("same-samples", good(1).repeat(20, axis=0), "edgekit.calibration.samples.REMEMBERED_SAMPLES", 0),
    Sabotage("halves-disagree", stretched(), "edgekit.calibration.findings.DISAGREEMENT", 1e9),
    Sabotage("unused-input", good(), "edgekit.calibration.input_hints.unused_inputs", lambda model: ()),
    Sabotage(
        "unchanging-output",
        good(),
        "edgekit.calibration.reading.OutputChange.see",
        lambda self, extrema: setattr(self, "change", True),
        least=-99.0,
    ),
)


@pytest.mark.parametrize("case", SABOTAGES, ids=lambda case: case.code)
def test_a_finding_is_gone_without_its_check(case: Sabotage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.code in {each.code for each in run(case.data, least=case.least).findings}
    monkeypatch.setattr(case.where, case.instead)
    assert case.code not in {each.code for each in run(case.data, least=case.least).findings}


def test_nan_passes_where_no_sum_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's extrema do not see it (T4), and it is not the 1 value in 64 that is sampled."""
    data = good()
    data[7, 33] = -1.0
    with pytest.raises(DataError, match="activation 'a' is not finite in sample 7"):
        run(data)
    monkeypatch.setattr("edgekit.calibration.taps._MAKES_NAN", frozenset())
    monkeypatch.setattr("edgekit.calibration.collect.PROBED", 1)
    run(data)


def test_a_minimum_is_wrong_without_the_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """T3: nothing is clamped at 50 above, and the least value is not among the sampled ones."""
    monkeypatch.setattr("edgekit.calibration.collect.PROBED", 4)
    data = good()
    data[7, 33] = 0.5
    least = float(np.log(np.float32(0.5))) + 50
    assert run(data, least=50.0).tensors["y"].low == pytest.approx(least, rel=1e-6)
    monkeypatch.setattr("edgekit.calibration.collect._Learned.complete", lambda self: None)
    assert run(data, least=50.0).tensors["y"].low > least + 0.1
