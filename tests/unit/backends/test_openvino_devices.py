"""gpu-openvino and openvino-cpu-bf16: they compile everywhere, and run on their device or not at all.

No Intel GPU is at hand: what one would answer is played by a plain object; a CPU without bfloat16 is what
ONEDNN_MAX_CPU_ISA makes of this one. bfloat16 has 8 bits of mantissa: 1 % of the output's range. Seed 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import openvino_device, registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino import OpenVino
from edgekit.backends.openvino_device import Device, ready
from edgekit.bundle import placement
from edgekit.errors import ExitCode, MissingBackendError
from edgekit.measure.machine import cpu_features
from edgekit.passes import canonicalize
from edgekit.pipeline.doctor import target_here
from edgekit.pipeline.proof import where
from edgekit.spec import Artifact, Precision, RunOptions

pytest.importorskip("openvino")

GPU, BF16 = targets.load("gpu-openvino"), targets.load("openvino-cpu-bf16")
RNG = np.random.default_rng(0)
MLP = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 64] x) => (float[n, 8] y)
{ a = Gemm <transB = 1> (x, w1) b = Relu(a) y = Gemm <transB = 1> (b, w2) }
"""
NATIVE = bool(cpu_features() & {"avx512_bf16", "amx_bf16"})
X = RNG.standard_normal((4, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    weights = {"w1": (64, 64), "w2": (8, 64)}
    tensors = [ir.tensor(RNG.standard_normal(s).astype(np.float32), name=n) for n, s in weights.items()]
    return canonicalize(ir.from_onnx_text(MLP, initializers=tensors))


@pytest.fixture
def made(model: ir.Model, tmp_path: Path) -> Callable[[targets.Target, Precision], Artifact]:
    def compile_for(target: targets.Target, precision: Precision) -> Artifact:
        request = CompileRequest(model, target, precision, target.run.options(), "m")
        return OpenVino().compile(request, tmp_path)

    return compile_for


# The GPU: absent -------------------------------------------------------------------------------------------


def test_without_a_gpu_it_compiles_and_does_not_run(
    made: Callable[[targets.Target, Precision], Artifact],
) -> None:
    if registry.availability(GPU).ok:
        pytest.skip("an Intel GPU is here")
    artifact = made(GPU, Precision.FP16)
    assert dict(artifact.options.settings)["INFERENCE_PRECISION_HINT"] == "f16"
    with pytest.raises(MissingBackendError, match="no Intel GPU") as caught:
        OpenVino().open(artifact, artifact.options)
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING
    assert "intel-opencl-icd" in caught.value.remedy
    here = target_here(GPU)
    assert (here.compiles, here.runs, here.stands_in) == (True, False, "cpu")
    assert "intel-opencl-icd" in here.remedy


def test_the_cpu_stands_in_for_numerics_in_float32_and_says_so(
    made: Callable[[targets.Target, Precision], Artifact],
) -> None:
    if registry.availability(GPU).ok:
        pytest.skip("an Intel GPU is here")
    artifact = made(GPU, Precision.FP16)
    place = where(GPU, artifact.options)
    assert not place.timed
    assert "not run on a GPU here" in place.caveat
    assert place.options is not None
    with OpenVino().open(artifact, replace(place.options, settings=artifact.options.settings)) as session:
        assert (session.facts["device"], session.facts["precision_hint"]) == ("cpu", "f32")
        assert session.run({"x": X})["y"].shape == (4, 8)


# The GPU: played -------------------------------------------------------------------------------------------


def core_with(*devices: str) -> Any:
    return SimpleNamespace(available_devices=list(devices), get_property=lambda device, name: "Arc")


def compiled_on(*devices: str) -> Any:
    return SimpleNamespace(get_property=lambda name: list(devices))


@pytest.mark.parametrize("devices", [("CPU", "GPU"), ("CPU", "GPU.0", "GPU.1")])
def test_a_gpu_that_is_listed_is_taken(devices: tuple[str, ...]) -> None:
    device = ready(None, core_with(*devices), RunOptions(device="gpu"))
    assert (device.plugin, device.facts) == ("GPU", {"gpu": "Arc"})


@pytest.mark.parametrize("devices", [("CPU",), (), ("CPU", "NPU")])
def test_sabotage_a_gpu_that_is_not_listed_is_no_cpu(devices: tuple[str, ...]) -> None:
    with pytest.raises(MissingBackendError, match="no Intel GPU"):
        ready(None, core_with(*devices), RunOptions(device="gpu"))


def test_sabotage_a_session_that_executes_on_the_cpu_is_refused() -> None:
    device = Device("gpu", "GPU")
    for elsewhere in (("CPU",), ("GPU.0", "CPU"), ()):
        with pytest.raises(MissingBackendError, match="was asked for GPU"):
            device.proved(compiled_on(*elsewhere))
    assert device.proved(compiled_on("GPU.0")) == "gpu.0"
    assert Device("cpu", "CPU").proved(compiled_on("CPU")) == "cpu"


def test_a_gpu_gets_no_threads_and_a_cpu_does() -> None:
    options = RunOptions(2, "gpu", (("INFERENCE_PRECISION_HINT", "f16"),))
    gpu = openvino_device.configuration(options, Device("gpu", "GPU"))
    assert "INFERENCE_NUM_THREADS" not in gpu
    assert gpu["INFERENCE_PRECISION_HINT"] == "f16"
    assert openvino_device.configuration(options, Device("cpu", "CPU"))["INFERENCE_NUM_THREADS"] == "2"


def test_placement_takes_the_device_that_was_asked_for_and_no_other(
    made: Callable[[targets.Target, Precision], Artifact],
) -> None:
    artifact = made(GPU, Precision.FP32)
    assert placement.difference(artifact, {"device": "gpu.0"}, recorded={}) == ""
    assert placement.difference(artifact, {"device": "cpu"}, recorded={})
    assert placement.difference(artifact, {"devices": "GPU.0,CPU"}, recorded={})
    bf16 = replace(artifact, options=replace(artifact.options, device="cpu-bf16"))
    assert placement.difference(bf16, {"device": "cpu"}, recorded={}) == ""
    assert placement.difference(bf16, {"device": "gpu.0"}, recorded={})


# bfloat16 --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not NATIVE, reason="this CPU does not multiply bfloat16")
def test_bfloat16_multiplies_where_the_cpu_can(
    made: Callable[[targets.Target, Precision], Artifact],
) -> None:
    exact = made(BF16, Precision.FP32)
    with OpenVino().open(exact, exact.options) as session:  # the float reference of the target stays float
        assert session.facts["precision_hint"] == "f32"
        wanted = session.run({"x": X})["y"]
    artifact = made(BF16, Precision.BF16)
    with OpenVino().open(artifact, artifact.options) as session:
        assert session.facts["precision_hint"] == "bf16"
        found = session.run({"x": X})["y"]
    away = float(np.abs(np.subtract(found, wanted)).max() / np.ptp(wanted))
    assert 1e-6 < away < 1e-2  # rounded, and no more than that


@pytest.mark.parametrize("isa", ["AVX512_CORE", "AVX2"], ids=["simulated", "not even that"])
def test_sabotage_a_cpu_without_bfloat16_compiles_and_does_not_run(
    made: Callable[[targets.Target, Precision], Artifact], monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    artifact = made(BF16, Precision.BF16)
    with pytest.raises(MissingBackendError, match="does not multiply bfloat16") as caught:
        OpenVino().open(artifact, artifact.options)
    assert "openvino-cpu" in caught.value.remedy
    place = where(BF16, artifact.options)
    assert not place.timed
    assert "not run in bfloat16 here" in place.caveat
    assert place.options is not None
    with OpenVino().open(artifact, replace(place.options, settings=artifact.options.settings)) as session:
        assert session.facts["precision_hint"] == "f32"


# The quirk that the target's rows go round: signed asymmetric activations under the bf16 hint ---------------

SIGNED = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y)
<float s = {0.02}, int8 z = {-7}, float sw = {0.01}, int8 zw = {0}>
{
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
  w = DequantizeLinear(wq, sw, zw)
  c = Conv <pads = [1, 1, 1, 1]> (d, w)
  cq = QuantizeLinear(c, s, z)
  y = DequantizeLinear(cq, s, z)
}
"""


@pytest.mark.skipif(not NATIVE, reason="this CPU does not multiply bfloat16")
def test_signed_activations_of_a_model_that_comes_quantized_run_as_unsigned_ones(tmp_path: Path) -> None:
    import edgekit

    weight = RNG.integers(-127, 128, (8, 8, 3, 3)).astype(np.int8)
    source = tmp_path / "signed.onnx"
    ir.save(ir.from_onnx_text(SIGNED, initializers=[ir.tensor(weight, name="wq")]), source)
    feeds = {"x": RNG.standard_normal((1, 8, 8, 8)).astype(np.float32)}
    found = {}
    for target in ("openvino-cpu-bf16", "onnxruntime-cpu"):
        artifact = edgekit.compile(source, target=target, out=tmp_path / target)
        with edgekit.open(artifact.path) as session:
            found[target] = session.run(feeds)["y"]
    away = np.abs(np.subtract(found["openvino-cpu-bf16"], found["onnxruntime-cpu"])) / 0.02
    assert away.max() <= 1.01  # one step of the output
