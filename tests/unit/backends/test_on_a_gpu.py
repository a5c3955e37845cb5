"""Targets of NVIDIA GPUs on a real one: placement, numerics, CUDA graphs, refusals. Skipped where none is.

Tolerances: float32 within 1e-4 of the output's range of the CPU's, float16 within 1e-2; seed 0.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

import edgekit
from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.calibration.collect import collect
from edgekit.errors import EdgekitError, MissingBackendError, TargetRefusalError
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.float16 import to_float16
from edgekit.quantization.place import place
from edgekit.spec import Array, Artifact, Precision, Range, RunOptions, Silent
from tests.gpu.models import CNN

TARGETS = ("gpu-cuda", "gpu-torch-aoti")
RNG = np.random.default_rng(0)

OVERFLOWS = """
g (float[n, 4] x) => (float[n, 4] y) <float k = {100000}, float low = {0.001}>
{ a = Mul(x, k) y = Mul(a, low) }
"""


Floats = npt.NDArray[np.float32]


def floats(*shape: int) -> Floats:
    return RNG.standard_normal(shape).astype(np.float32)


def built(text: str, **arrays: Array) -> ir.Model:
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    head = '<ir_version: 10, opset_import: ["" : 21]>\n'
    return canonicalize(ir.from_onnx_text(head + text, initializers=tensors))


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return built(CNN, w1=floats(8, 3, 3, 3), b1=floats(8), w2=floats(5, 8), b2=floats(5))


@pytest.fixture(params=TARGETS)
def compiled(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Artifact]:
    """Model x precision -> artifact of a target that runs here; skips where it does not."""
    target = targets.load(request.param)
    backend = registry.backend(target.backend)
    here = backend.probe(target)
    if shutil.which("nvidia-smi") is None or subprocess.run(["nvidia-smi"], capture_output=True).returncode:
        pytest.skip("no NVIDIA GPU: nvidia-smi finds none")
    if not here.ok:
        pytest.skip(f"{target.name} does not run here: {here.reason}")

    def make(form: ir.Model, precision: Precision = Precision.FP32, **settings: str) -> Artifact:
        merged = {**dict(target.run.options().settings), **settings}
        if target.backend == "torch-aoti":
            merged = {"torch.package": "kernels", **settings, "cuda.graph": merged["cuda.graph"]}
        options = RunOptions(1, "cuda", tuple(sorted(merged.items())))
        return backend.compile(CompileRequest(form, target, precision, options, "m"), tmp_path)

    return make


def on_cpu(form: ir.Model, image: Floats) -> Floats:
    with open_model(form, RunOptions()) as session:
        (name,) = (spec.name for spec in session.inputs)
        return next(iter(session.run({name: image}).values())).astype(np.float32)


def ranges_of(form: ir.Model, image: Floats) -> dict[str, Range]:
    """Of every value, over the samples of ``image``."""
    found = collect(
        form,
        open_model=open_model,
        batches=lambda size: ({"image": image[start : start + size]} for start in range(0, len(image), size)),
        count=len(image),
        method="minmax",
        progress=Silent(),
        seed=0,
    )
    return dict(found.tensors)


def hold(got: Array, wanted: Floats, *, part: float) -> None:
    """Differences are at most ``part`` of the range."""
    np.testing.assert_allclose(got.astype(np.float32), wanted, atol=part * float(np.ptp(wanted)), rtol=0)


def opened(artifact: Artifact, options: RunOptions | None = None):  # type: ignore[no-untyped-def]
    return registry.backend(artifact.backend).open(artifact, options or artifact.options)


@pytest.mark.parametrize("graph", ["0", "1"])
def test_float32_and_two_shapes(compiled: Callable[..., Artifact], model: ir.Model, graph: str) -> None:
    """With CUDA graphs each shape is replayed by its own: alternating must not mix them."""
    artifact = compiled(model, **{"cuda.graph": graph})
    with opened(artifact) as session:
        assert session.facts["device"] == "cuda"
        for batch in (1, 3, 1, 3):
            image = floats(batch, 3, 16, 16)
            got, wanted = session.run({"image": image})["logits"], on_cpu(model, image)
            assert got.shape == wanted.shape
            hold(got, wanted, part=1e-4)
        if artifact.backend == "onnxruntime":
            assert "CPU" not in session.facts["placed"]
        assert len(session.time_ms({"image": floats(1, 3, 16, 16)}, runs=5)) == 5


def test_float16(compiled: Callable[..., Artifact], model: ir.Model) -> None:
    image = floats(4, 3, 16, 16)
    with opened(compiled(to_float16(model), Precision.FP16)) as session:
        got, wanted = session.run({"image": image})["logits"], on_cpu(model, image)
    hold(got, wanted, part=1e-2)


@pytest.mark.parametrize("compiled", ["gpu-cuda"], indirect=True)
def test_w8a8_is_wholly_on_the_gpu(compiled: Callable[..., Artifact], model: ir.Model) -> None:
    """Biases of int32 have no kernel there (L10 of ``onnxruntime_lowering``); 2 steps of the output."""
    image = floats(4, 3, 16, 16)
    target = targets.load("gpu-cuda")
    ranges = ranges_of(model, image)
    form = apply(model, place(model, target, ranges))
    artifact = compiled(form, Precision.W8A8)
    with opened(artifact) as session:
        assert "CPU" not in session.facts["placed"]
        got, wanted = session.run({"image": image})["logits"], on_cpu(form, image)
    hold(got, wanted, part=2 / 255)


def test_float16_overflows_without_the_repair_and_not_with_it(compiled: Callable[..., Artifact]) -> None:
    x = np.full((2, 4), 3.0, np.float32)
    wide = built(OVERFLOWS)
    repaired = to_float16(wide, ranges={"x": Range(-3, 3), "a": Range(-3e5, 3e5), "y": Range(-300, 300)})
    with opened(compiled(repaired, Precision.FP16)) as session:
        got = session.run({"x": x})["y"].astype(np.float32)
        np.testing.assert_allclose(got, on_cpu(wide, x), rtol=1e-2)
    with opened(compiled(to_float16(wide), Precision.FP16)) as session:
        lone = session.run({"x": x})["y"].astype(np.float32)
    # a constant beyond float16 is found without ranges, what it makes is not
    assert np.isinf(lone).all()


def test_host_memory_gives_the_same(compiled: Callable[..., Artifact], model: ir.Model) -> None:
    image = floats(2, 3, 16, 16)
    with opened(compiled(model, **{"io.memory": "host"})) as session:
        wanted = on_cpu(model, image)
        got = session.run({"image": image})["logits"]
        hold(got, wanted, part=1e-4)
        session.time_ms({"image": image}, runs=3)
        got = session.run({"image": image})["logits"]
        hold(got, wanted, part=1e-4)


def test_a_hidden_gpu_is_an_error_and_no_silent_cpu(
    compiled: Callable[..., Artifact], model: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = compiled(model)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(MissingBackendError) as caught:
        opened(artifact)
    assert caught.value.exit_code == 6
    assert caught.value.why
    assert caught.value.remedy


def test_a_node_without_a_kernel_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    target = targets.load("gpu-cuda")
    backend = registry.backend(target.backend)
    if not backend.probe(target).ok:
        pytest.skip("gpu-cuda does not run here")
    lone = built("g (float[4, 4] x) => (float[4, 4] y) { a = Det(x) b = Relu(x) y = Mul(a, b) }")
    assert backend.check(lone, target)
    for graph in ("1", "0"):  # a capture is refused by a message of its own
        strict = {**dict(target.run.options().settings), "cuda.graph": graph}
        with (
            pytest.raises(
                TargetRefusalError, match=r"1 operator would run on the CPU in place of CUDA: .*Det"
            ),
            open_model(lone, replace(target.run.options(), settings=tuple(strict.items()))),
        ):
            pass
    io.save(lone, tmp_path / "lone.onnx")
    artifact = edgekit.compile(
        tmp_path / "lone.onnx", target="gpu-cuda", allow_fallback=True, out=tmp_path / "out"
    )
    with edgekit.open(artifact) as session:
        assert "CPU" in session.facts["placed"]
        session.run({"x": floats(4, 4)})
        devices = {row.device for row in session.executed() or ()}  # type: ignore[attr-defined]
        assert "cpu" in devices


def test_a_program_is_compiled_where_it_is_first_opened(
    compiled: Callable[..., Artifact],
    model: ir.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact = compiled(model, **{"torch.package": "program"} if _is_torch(compiled, model) else {})
    if artifact.backend != "torch-aoti":
        pytest.skip("ONNX Runtime compiles nothing ahead of time")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    image = floats(2, 3, 16, 16)
    for first in (True, False):
        with opened(artifact) as session:
            assert ("compiled here" in session.facts) is first
            hold(session.run({"image": image})["logits"], on_cpu(model, image), part=1e-4)


def _is_torch(compiled: Callable[..., Artifact], model: ir.Model) -> bool:
    return compiled(model).backend == "torch-aoti"


def test_kernels_of_another_gpu_are_refused(compiled: Callable[..., Artifact], model: ir.Model) -> None:
    artifact = compiled(model)
    if artifact.backend != "torch-aoti":
        pytest.skip("its file holds no kernels")
    with pytest.raises(EdgekitError, match="holds kernels for cuda"):
        opened(artifact, replace(artifact.options, device="cpu"))
