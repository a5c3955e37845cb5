"""Target gpu-webgpu on Mesa 25, which computes float16: within 1 % of the CPU's output range; seed 0."""

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
TARGET = targets.load("gpu-webgpu")


def test_float16_is_computed_in_float16_on_the_gpu(tmp_path: Path) -> None:
    model, image = models.cnn(), models.floats(4, 3, 16, 16)
    request = CompileRequest(to_float16(model), TARGET, Precision.FP16, TARGET.run.options(), "m")
    artifact = registry.backend("onnxruntime").compile(request, tmp_path)
    with open_model(model, RunOptions()) as session:
        wanted = session.run({"image": image})["logits"].astype(np.float32)
    with open_artifact(artifact) as session:
        got = session.run({"image": image})["logits"].astype(np.float32)
        assert "CPU" not in session.facts["placed"]
        assert "llvmpipe" in session.facts["software"]
        executed = session.executed() or ()  # type: ignore[attr-defined]
    assert {row.precision for row in executed if row.multiplies} == {"float16"}
    away = np.abs(got - wanted).max() / np.ptp(wanted)
    assert 0 < away < 1e-2  # 0 would be float32
