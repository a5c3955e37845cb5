"""Target gpu-webgpu on SwiftShader: placement, numerics, memory, refusals; its times judge nothing.

Tolerances: float32 within 1e-4 of the output's range of the CPU's; int8 too, because both compute in float
between rounding to the same integers. Seed 0.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker_process import EngineError
from edgekit.bundle import placement
from edgekit.bundle.manifest import Tolerance, entry_from_artifact
from edgekit.bundle.run_snippets import install_line, snippet
from edgekit.errors import ExitCode, InputError, MissingBackendError, TargetRefusalError
from edgekit.ir import io
from edgekit.pipeline import doctor
from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.fallback import said_of, with_placements
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.proof import where
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Array, Artifact, Precision, RunOptions, to_json
from tests.gpu import models
from tests.gpu.models import Floats, floats

RECIPE = """
schema = 1
[model]
name = "digits"
version = "1.0.0"
source = "digits-cnn.onnx"
[data]
calibration = { source = "calibration.npz", samples = 2 }
evaluation = { source = "evaluation.npz", metric = "top1", samples = 4 }
preprocess = [
  { op = "resize", size = [28, 28] }, { op = "scale", by = 0.0625 }, { op = "layout", to = "NCHW" },
]
[budget]
max_drop_pp = 100
max_latency_ms = 60000
[optimize]
quantize = { precision = "fp32" }
[[target]]
name = "gpu-webgpu"
"""

pytestmark = pytest.mark.usefixtures("swiftshader")
TARGET = targets.load("gpu-webgpu")
BACKEND = registry.backend("onnxruntime")


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return models.cnn()


@pytest.fixture(scope="module")
def artifact(
    model: ir.Model, swiftshader: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """Compiled once: compiling opens two sessions on the GPU."""
    del swiftshader
    return compiled(model, tmp_path_factory.mktemp("gpu"))


def copied(artifact: Artifact, folder: Path) -> Artifact:
    shutil.copytree(artifact.folder, folder, dirs_exist_ok=True)
    return replace(artifact, folder=folder)


def options(**settings: str) -> RunOptions:
    merged = {**TARGET.run.settings, **settings}
    return replace(TARGET.run.options(), settings=tuple(sorted(merged.items())))


def compiled(form: ir.Model, folder: Path, run: RunOptions | None = None, **more: str) -> Artifact:
    precision = Precision(more.get("precision", "fp32"))
    return BACKEND.compile(CompileRequest(form, TARGET, precision, run or options(), "m"), folder)


def on_cpu(form: ir.Model, feeds: Mapping[str, Floats]) -> Floats:
    with open_model(form, RunOptions()) as session:
        return next(iter(session.run(feeds).values())).astype(np.float32)


def hold(got: Array, wanted: Floats, *, part: float = 1e-4) -> None:
    np.testing.assert_allclose(got.astype(np.float32), wanted, atol=part * float(np.ptp(wanted)), rtol=0)


@pytest.mark.parametrize("memory", ["device", "host"])
def test_every_node_is_on_the_gpu_and_open_batches_alternate(
    model: ir.Model, artifact: Artifact, memory: str
) -> None:
    artifact = replace(artifact, options=options(**{"io.memory": memory}))
    with open_artifact(artifact) as session:
        assert re.fullmatch(r"WebGpu \d+", session.facts["placed"])
        assert session.facts["device"] == "gpu"
        assert session.facts["providers"].startswith("WebGpuExecutionProvider")
        assert "SwiftShader" in session.facts["gpu"]
        assert session.facts["software"] == session.facts["gpu"]
        for batch in (1, 3, 1):
            image = floats(batch, 3, 16, 16, seed=batch)
            got = session.run({"image": image})["logits"]
            hold(got, on_cpu(model, {"image": image}))
        assert len(session.time_ms({"image": image}, runs=3)) == 3
        hold(session.run({"image": image})["logits"], on_cpu(model, {"image": image}))
        assert placement.difference(artifact, session.facts, recorded={}) == ""


def test_nodes_without_a_kernel_are_refused_by_name_and_listed_where_that_is_allowed(tmp_path: Path) -> None:
    lone = models.with_det()
    (rejection,) = BACKEND.check(lone, TARGET)
    assert (rejection.node, rejection.rule) == ("det_0", "kernel")
    assert "--allow-fallback" in rejection.remedy
    with pytest.raises(TargetRefusalError, match="det_0"):
        compiled(lone, tmp_path)
    artifact = compiled(lone, tmp_path, targets.with_fallback(options()))
    x = floats(4, 4)
    with open_artifact(artifact) as session:
        assert "CPU 1" in session.facts["placed"]
        hold(session.run({"x": x})["y"], on_cpu(lone, {"x": x}))
        facts = session.facts
    said = said_of(lambda: open_artifact(artifact), seed=0, facts=facts)
    assert re.match(r"1 operator runs on the CPU and takes? .*%.*: det_0 \(Det\) \d", said), said
    # the same file where nobody has allowed it: an error that names the node, and no session
    with pytest.raises(TargetRefusalError, match=r"1 operator would run on the CPU.*det_0 \(Det\)") as caught:
        open_artifact(replace(artifact, options=options()))
    assert caught.value.rejections == (rejection,)


def test_int8_is_refused_because_quantize_linear_has_no_kernel_and_runs_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    form = models.qdq()
    rejections = BACKEND.check(form, TARGET)
    assert rejections[0].node == "quantizelinear_0"  # and what the layout pass makes of it
    assert all("takes this QuantizeLinear" in each.reason for each in rejections)
    artifact = compiled(form, tmp_path, targets.with_fallback(options()), precision="w8a8")
    feeds = {"image": floats(2, 3, 16, 16)}
    with open_artifact(artifact) as session:
        got = session.run(feeds)["y"]
        assert f"CPU {len(rejections)}" in session.facts["placed"]
    hold(got, on_cpu(form, feeds))


def test_float16_is_refused_where_the_driver_has_none(model: ir.Model) -> None:
    (rejection,) = BACKEND.check(to_float16(model), TARGET)
    assert rejection.rule == "float16"


def test_bench_marks_the_device_and_judges_nothing_on_it(model: ir.Model, tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    io.save(model, source)
    edgekit.compile(source, target="gpu-webgpu", out=tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.onnx")
    (row,) = edgekit.bench([file], budget_s=1).rows
    assert any("SwiftShader" in each and "latency means nothing" in each for each in row.caveats)
    with pytest.raises(InputError, match="no verdict about speed") as caught:
        edgekit.bench([file, source], baseline=source, budget_s=1)
    assert "SwiftShader" in caught.value.what
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_a_release_here_proves_numerics_and_times_nothing() -> None:
    place = where(TARGET, options())
    assert not place.timed
    assert "SwiftShader" in place.caveat
    found = doctor.target_here(TARGET)
    assert (found.compiles, found.runs, found.stands_in) == (True, True, "")
    assert "latency means nothing" in found.reason


def test_without_permission_the_software_driver_is_no_gpu(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEKIT_SOFTWARE_GPU")
    monkeypatch.setenv("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1")  # the plug-in's own says nothing to us
    with pytest.raises(MissingBackendError, match="computes on the processor") as caught:
        open_artifact(artifact)
    assert "EDGEKIT_SOFTWARE_GPU=1" in caught.value.remedy
    assert not registry.availability(TARGET).ok
    place = where(TARGET, options())
    assert place.options is not None
    assert (place.options.device, place.timed) == ("cpu", False)


@pytest.mark.usefixtures("no_driver")
def test_a_hidden_driver_compiles_and_runs_nowhere(model: ir.Model, tmp_path: Path) -> None:
    """The sabotage of placement: without a driver the plug-in itself would answer on the CPU, in silence."""
    artifact = compiled(model, tmp_path)
    with pytest.raises(MissingBackendError, match="there is no GPU that it could use") as caught:
        open_artifact(artifact)
    assert caught.value.exit_code == ExitCode.BACKEND_MISSING
    assert "driver" in caught.value.why
    assert "apt-get install" in caught.value.remedy
    assert "VK_DRIVER_FILES" in caught.value.remedy  # the driver is here, and hidden
    found = doctor.target_here(TARGET)
    assert (found.compiles, found.runs, found.stands_in) == (True, False, "cpu")


@pytest.mark.usefixtures("no_driver")
def test_validate_stands_in_for_no_hidden_gpu(model: ir.Model, tmp_path: Path) -> None:
    """What `release` and `verify` do, and say; whoever names an artifact asks for what it is for."""
    io.save(model, tmp_path / "m.onnx")
    made = edgekit.compile(tmp_path / "m.onnx", target="gpu-webgpu", out=tmp_path / "out")
    np.savez(tmp_path / "d.npz", image=floats(4, 3, 16, 16), labels=np.arange(4))
    with pytest.raises(MissingBackendError, match="there is no GPU that it could use"):
        edgekit.validate(made.path, reference=tmp_path / "m.onnx", data=str(tmp_path / "d.npz"))


@pytest.mark.usefixtures("no_driver")
def test_no_setting_makes_it_run_on_the_cpu(artifact: Artifact) -> None:
    with pytest.raises(MissingBackendError):
        open_artifact(replace(artifact, options=targets.with_fallback(options())))


def test_the_file_runs_on_the_cpu_only_by_another_name(artifact: Artifact) -> None:
    """What must not fire: asked for on the CPU it runs there, and says so; placement calls the difference."""
    with open_artifact(replace(artifact, options=replace(artifact.options, device="cpu"))) as session:
        assert session.facts["device"] == "cpu"
        assert "WebGpuExecutionProvider was asked for" in placement.difference(
            artifact, session.facts, recorded={}
        )


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


def test_a_damaged_file_is_an_error_of_the_file(tmp_path: Path, artifact: Artifact) -> None:
    artifact = copied(artifact, tmp_path)
    artifact.path.write_bytes(artifact.path.read_bytes()[:100])
    with pytest.raises((InputError, EngineError)) as caught:
        open_artifact(artifact)
    assert "CPU" not in caught.value.what


def test_options_survive_the_sidecar() -> None:
    assert json.loads(json.dumps(to_json(options())))["device"] == "gpu"


def test_the_model_card_s_lines_run(
    artifact: Artifact, tmp_path: Path, swiftshader: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime alone takes the software driver by a variable of its own."""
    monkeypatch.setenv("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1")
    entry = entry_from_artifact(
        copied(artifact, tmp_path / "artifacts"), tolerance=Tolerance(steps=1, relative_to_range=1)
    )
    code = snippet(entry) + "print(session.get_providers()[0], outputs['logits'].shape)"
    seen = {**os.environ, **swiftshader, "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=seen, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["WebGpuExecutionProvider", "(1,", "5)"], done.stderr
    assert install_line(entry).endswith(" onnxruntime-ep-webgpu")


def test_the_flag_lists_nodes_with_their_share_where_compile_and_bench_are_given_it(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    io.save(models.with_det(), source)
    with pytest.raises(TargetRefusalError, match="det_0"):
        edgekit.compile(source, target="gpu-webgpu", out=tmp_path / "strict")
    allowed = edgekit.compile(source, target="gpu-webgpu", out=tmp_path / "out", allow_fallback=True)
    (note,) = with_placements(CompileResult((allowed,))).notes
    assert re.search(r"^gpu-webgpu: 1 operator runs on the CPU .* det_0 \(Det\) \d", note), note
    (row,) = edgekit.bench([allowed.path], budget_s=1).rows
    assert any(re.search(r"det_0 \(Det\) \d", each) for each in row.caveats), row.caveats
    sidecar = allowed.path.with_name(allowed.path.name + ".json")
    sidecar.write_text(sidecar.read_text().replace('"0"', '"1"'))  # as if nobody had allowed it
    (failed,) = edgekit.bench([allowed.path], budget_s=1).failures
    assert "det_0 (Det)" in failed.reason
    (row,) = edgekit.bench([allowed.path], budget_s=1, allow_fallback=True).rows
    assert any("det_0 (Det)" in each for each in row.caveats)


def test_a_release_proves_numerics_and_judges_no_latency(tmp_path: Path) -> None:
    for path in (Path(edgekit.__file__).parent / "_examples" / "digits-cnn").iterdir():
        shutil.copy2(path, tmp_path / path.name)
    (tmp_path / "edgekit.lock").unlink(missing_ok=True)
    (tmp_path / "edgekit.toml").write_text(RECIPE)
    result = edgekit.release(tmp_path / "edgekit.toml", out=tmp_path / "dist", cache_dir=tmp_path / "cache")
    (row,) = result.targets
    (shipped,) = row.candidates
    assert result.exit_code == ExitCode.OK
    assert shipped.accuracy is not None
    assert shipped.accuracy.drop_pp == 0
    assert shipped.latency is None
    assert "SwiftShader" in shipped.caveat
    (latency,) = (gate for gate in shipped.gates if gate.name == "latency")
    assert latency.status == "not_measured"
    assert "latency means nothing" in latency.reason
