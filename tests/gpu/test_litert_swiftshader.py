"""Target gpu-litert on SwiftShader: placement, numerics, refusals; its times judge nothing.

Tolerances: float32 within 1e-4 of the range of the CPU's output; int8 within one step of it. Seed 0.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert import backend as litert
from edgekit.backends.litert.gpu_forms import PINNED
from edgekit.backends.litert.gpu_kernels import NUMBERS_RULE
from edgekit.bundle import placement
from edgekit.errors import ExitCode, MissingBackendError, TargetRefusalError
from edgekit.passes import canonicalize
from edgekit.pipeline import doctor
from edgekit.pipeline.fallback import fell_back, said_of
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.proof import open_at, where
from edgekit.spec import Artifact, Precision, RunOptions
from tests.gpu import models
from tests.gpu.models import built, floats

pytestmark = pytest.mark.usefixtures("swiftshader")
TARGET = targets.load("gpu-litert")
BACKEND = registry.backend("litert")
TOP_K = """
g (float[1, 3, 8] x) => (float[1, 3, 4] y, int64[1, 3, 4] i) <int64[1] k = {4}>
{ a = Relu(x) b = Sin(a) y, i = TopK <axis = -1> (b, k) }
"""
LOG_SOFTMAX = "g (float[1, 3, 8] x) => (float[1, 3, 8] y) { a = Relu(x) y = LogSoftmax(a) }"
STRIDED = """
g (float[n, 16, 8, 8] x) => (float[n, 8, 4, 4] y)
<float s = {0.03}, int8 z = {5}, float t = {0.2}, int8[8, 16, 1, 1] w, float[8] sw>
{
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear <axis = 0> (w, sw)
  c = Conv <strides = [2, 2]> (d, v) e = QuantizeLinear(c, t, z) y = DequantizeLinear(e, t, z)
}
"""
SHUFFLED = """
g (float[n, 4, 6, 6] x) => (float[n, 16, 3, 3] y) { a = Relu(x) y = SpaceToDepth <blocksize = 2> (a) }
"""


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return models.cnn()


@pytest.fixture(scope="module")
def artifact(
    model: ir.Model, swiftshader: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    del swiftshader
    return compiled(model, tmp_path_factory.mktemp("gpu"))


def strided() -> ir.Model:
    weights = np.random.default_rng(1).integers(-127, 128, (8, 16, 1, 1), np.int8)
    return built(STRIDED, w=weights, sw=np.full(8, 0.01, np.float32))


def compiled(
    form: ir.Model, folder: Path, run: RunOptions | None = None, precision: Precision = Precision.FP32
) -> Artifact:
    return BACKEND.compile(CompileRequest(form, TARGET, precision, run or TARGET.run.options(), "m"), folder)


def on_cpu(artifact: Artifact) -> Artifact:
    return replace(artifact, options=RunOptions())


def test_every_operator_is_on_the_gpu_and_open_batches_alternate(artifact: Artifact) -> None:
    with open_artifact(artifact) as session, open_artifact(on_cpu(artifact)) as cpu:
        assert re.fullmatch(r"GPU \d+", session.facts["placed"])
        assert (session.facts["device"], session.facts["kernels"]) == ("gpu", "gpu")
        assert "SwiftShader" in session.facts["adapter"]
        assert session.facts["software"] == session.facts["gpu"]
        for batch in (1, 3, 1):
            feeds = {"image": floats(batch, 3, 16, 16, seed=batch)}
            got, wanted = session.run(feeds)["logits"], cpu.run(feeds)["logits"]
            assert float(np.abs(np.subtract(got, wanted)).max()) < 1e-4 * float(np.ptp(wanted))
        assert len(session.time_ms(feeds, runs=2)) == 2
        assert {row.device for row in session.executed() or ()} == {"gpu"}  # type: ignore[attr-defined]
        assert placement.difference(artifact, session.facts, recorded={}) == ""
        assert "XNNPACK" not in placement.difference(artifact, cpu.facts, recorded={})
        assert "a GPU was asked for" in placement.difference(artifact, cpu.facts, recorded={})


def test_strided_points_of_integers_are_right_in_a_form_of_their_own(tmp_path: Path) -> None:
    """W7, and what must not fire: the file is as good on a CPU."""
    found = compiled(strided(), tmp_path, precision=Precision.W8A8)
    feeds = {"x": floats(2, 16, 8, 8)}
    with open_artifact(found) as session, open_artifact(on_cpu(found)) as cpu:
        got, wanted = session.run(feeds)["y"], cpu.run(feeds)["y"]
    assert float(np.abs(np.subtract(got, wanted)).max()) <= 0.2 * 1.001


def test_sabotage_without_that_form_other_numbers_are_found_by_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "with_gpu_forms", lambda graph: graph)
    with pytest.raises(TargetRefusalError, match="of the range that LiteRT's CPU kernels give") as caught:
        compiled(strided(), tmp_path, precision=Precision.W8A8)
    assert {each.rule for each in caught.value.rejections} == {NUMBERS_RULE}
    assert not list(tmp_path.iterdir())


def test_a_graph_that_takes_no_open_batch_gets_a_batch_of_one(tmp_path: Path) -> None:
    found = compiled(canonicalize(built(SHUFFLED)), tmp_path)
    assert PINNED in found.notes
    assert found.inputs[0].reference.shape == (1, 4, 6, 6)


def test_operators_that_are_not_taken_are_refused_by_name(tmp_path: Path) -> None:
    form = canonicalize(built(TOP_K))
    assert {each.node for each in BACKEND.check(form, TARGET)} == {"topk_2"}
    with pytest.raises(TargetRefusalError, match="topk_2") as caught:
        compiled(form, tmp_path)
    assert caught.value.exit_code == ExitCode.TARGET_REFUSES


def test_sabotage_what_the_table_forgets_the_accelerator_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "gpu_rejections", lambda graph, model: ())
    with pytest.raises(TargetRefusalError, match=r"does not take CAST: Tensor type\(INT64\)"):
        compiled(canonicalize(built(TOP_K)), tmp_path)


def test_the_fall_back_is_listed_where_it_is_allowed(tmp_path: Path) -> None:
    allowed = targets.with_fallback(TARGET.run.options())
    found = compiled(canonicalize(built(LOG_SOFTMAX)), tmp_path, allowed)
    x = floats(1, 3, 8)
    with open_artifact(found) as session:
        assert session.facts["placed"] == "GPU 1, CPU 1"
        positive = np.maximum(x, 0)
        wanted = positive - np.log(np.exp(positive).sum(axis=-1, keepdims=True))
        assert float(np.abs(np.subtract(session.run({"x": x})["y"], wanted)).max()) < 1e-5
        assert placement.difference(found, session.facts, recorded={}) == ""
        rows = session.executed() or ()  # type: ignore[attr-defined]
        assert [(each.operator, each.device) for each in rows if each.device != "gpu"] == [
            ("LOG_SOFTMAX", "cpu")
        ]
        assert fell_back(session.facts)
        said = said_of(lambda: open_artifact(found), seed=0, facts=session.facts)
        assert re.fullmatch(
            r"1 operator runs on the CPU and takes [\d.]+% of .*: y \(LOG_SOFTMAX\) [\d.]+%", said
        )
        strict = replace(found, options=TARGET.run.options())
        assert "operators run on the CPU" in placement.difference(strict, session.facts, recorded={})
    with pytest.raises(TargetRefusalError, match=r"refuses m\.tflite"):
        open_artifact(strict)


def test_a_software_driver_is_marked_and_needs_permission(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctor.target_here(TARGET)
    assert (found.compiles, found.runs) == (True, True)
    assert "latency means nothing" in found.reason
    assert not where(TARGET, artifact.options).timed
    monkeypatch.delenv("EDGEKIT_SOFTWARE_GPU")
    with pytest.raises(MissingBackendError, match="computes on the processor"):
        open_artifact(artifact)


@pytest.mark.usefixtures("no_driver")
def test_a_hidden_driver_compiles_and_runs_nowhere(model: ir.Model, tmp_path: Path) -> None:
    """The sabotage of placement."""
    found = compiled(model, tmp_path)
    with pytest.raises(MissingBackendError, match="there is no GPU that it could use") as caught:
        open_artifact(found)
    assert caught.value.exit_code == ExitCode.BACKEND_MISSING
    assert "apt-get install" in caught.value.remedy
    here = doctor.target_here(TARGET)
    assert (here.compiles, here.runs, here.stands_in) == (True, False, "cpu")
    assert here.reason
    place = where(TARGET, found.options)
    assert not place.timed
    with open_at(found, place) as session:  # numerics only, and it says where
        assert (session.facts["device"], session.facts["kernels"]) == ("cpu", "xnnpack")


def test_it_starts_without_droppings(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    with open_artifact(artifact) as session:
        session.run({"image": floats(1, 3, 16, 16)})
    assert os.listdir(home) == []
