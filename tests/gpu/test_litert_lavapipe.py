"""Target gpu-litert on Mesa 25, which computes float16: within 1 % of the CPU's output range; seed 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.pipeline.open import open_artifact
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Precision, RunOptions
from tests.gpu import models

pytestmark = pytest.mark.usefixtures("lavapipe")
TARGET = targets.load("gpu-litert")


def test_float16_is_computed_in_float16_and_float32_is_not(tmp_path: Path) -> None:
    model, feeds = models.cnn(), {"image": models.floats(4, 3, 16, 16)}
    with open_model(model, RunOptions()) as session:
        wanted = session.run(feeds)["logits"]
    away = {}
    for precision, form in ((Precision.FP16, to_float16(model)), (Precision.FP32, model)):
        request = CompileRequest(form, TARGET, precision, TARGET.run.options(), str(precision))
        artifact = registry.backend("litert").compile(request, tmp_path)
        with open_artifact(artifact) as session:
            got = session.run(feeds)["logits"]
            assert session.facts["precision"] == ("f16" if precision is Precision.FP16 else "f32")
            assert "llvmpipe" in session.facts["software"]
            assert "CPU" not in session.facts["placed"]
        away[precision] = float(np.abs(np.subtract(got, wanted)).max() / np.ptp(wanted))
    assert away[Precision.FP32] < 1e-5
    assert 1e-5 < away[Precision.FP16] < 1e-2  # less would be float32
