"""The ``.tflite`` files of EDGEKIT_DATA: read, canonicalized, held against themselves on LiteRT.

Float within 1e-4 of the output's range (basic_pitch takes a logarithm of values near zero, where 1e-5 is not
reached), int8 within 1 step on 95 % of the values and 5 on 99.9 %. Seed 0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.ir.graph import constant
from edgekit.passes import canonicalize
from edgekit.spec import Array
from tests.unit.frontends.tflite_files import loaded, run_plain
from tests.unit.litert.litert_models import relative_error

DATA = os.environ.get("EDGEKIT_DATA")


@dataclass(frozen=True)
class Case:
    id: str
    path: str
    integer: bool = False
    batch: int = 3


CASES = (
    Case("resnet8", "mlperf_tiny_ic/pretrainedResnet.tflite"),
    Case("resnet8-int8", "mlperf_tiny_ic/pretrainedResnet_quant.tflite", integer=True),
    Case("wake-word-int8", "mlperf_tiny_sww/str_ww_ref_model.tflite", integer=True),
    Case("mnist", "mnist/conv_fc_mnist.tflite"),
    Case("mnist-lstm", "mnist/trained_lstm.tflite", batch=1),
    Case("basic-pitch", "basic_pitch/basic_pitch/saved_models/icassp_2022/nmp.tflite", batch=1),
)


@pytest.mark.skipif(not DATA, reason="EDGEKIT_DATA is not set")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_file_is_read_as_what_it_computes(case: Case) -> None:
    source = loaded(Path(str(DATA)) / case.path)
    assert source.reference is not None
    canonical = canonicalize(source.model)
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for spec in source.reference.inputs:
        shape = [dim if isinstance(dim, int) else case.batch for dim in spec.shape]
        values: npt.NDArray[np.floating[Any]] = rng.standard_normal(shape)
        if case.integer:  # the whole range of the input
            first = next(node for node in canonical.graph if node.op_type == "QuantizeLinear")
            scale, zero = (float(np.asarray(constant(value))) for value in first.inputs[1:3])
            values = (rng.integers(-128, 128, shape) - zero) * scale
        feeds[spec.name] = values.astype(spec.dtype)
    expected = source.reference.run(feeds)
    for model in (source.model, canonical):
        for (name, want), found in zip(expected.items(), run_plain(model, feeds), strict=True):
            if not case.integer:
                assert relative_error(found, want) <= 1e-4
                continue
            steps = (
                np.abs(np.asarray(want, np.float64) - np.asarray(found, np.float64))
                / source.output_steps[name]
            )
            assert np.mean(steps <= 1.01) >= 0.95
            assert np.mean(steps <= 5.01) >= 0.999
