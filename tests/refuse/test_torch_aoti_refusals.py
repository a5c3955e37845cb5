"""gpu-torch-aoti without PyTorch, CUDA or a GPU, or with kernels of another one: exit 6, with the reason."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry, torch_package
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.torch_aoti_engine import checked
from edgekit.backends.torch_device import torch_on
from edgekit.errors import ExitCode, InputError, MissingBackendError, ModelFileError, TargetRefusalError
from edgekit.passes import canonicalize
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Artifact, Precision, RunOptions

TARGET = targets.load("gpu-torch-aoti")
MODEL = """
g (float[n, 4] x) => (float[n, 3] y) <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>
{ a = Relu(x) y = MatMul(a, w) }
"""


def model(text: str = MODEL) -> ir.Model:
    return canonicalize(ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 21]>\n' + text))


def compiled(
    folder: Path, form: ir.Model, precision: Precision = Precision.FP32, stem: str = "m"
) -> Artifact:
    request = CompileRequest(form, TARGET, precision, TARGET.run.options(), stem)
    return registry.backend("torch-aoti").compile(request, folder)


def fake_torch(cuda: str | None, *, error: str = "", count: int = 0) -> Any:
    def init() -> None:
        if error:
            raise RuntimeError(error)

    return SimpleNamespace(
        __version__="9.9",
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(init=init, device_count=lambda: count),
    )


@pytest.mark.parametrize(
    ("torch", "says", "types"),
    [
        (None, "PyTorch cannot be imported", 'pip install "edgekit[torch]"'),
        (fake_torch(None), "is built without CUDA", "pip install torch"),
        (
            fake_torch("13.0", error="Found no NVIDIA driver\non your system"),
            "finds no NVIDIA GPU",
            "nvidia-smi",
        ),
        (fake_torch("13.0"), "finds no NVIDIA GPU", "CUDA_VISIBLE_DEVICES"),
    ],
    ids=["no PyTorch", "a build for the CPU", "no driver", "every device hidden"],
)
def test_what_is_missing_is_named_with_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch, torch: Any, says: str, types: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(MissingBackendError, match=says) as caught:
        torch_on("cuda")
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING
    assert types in caught.value.remedy


def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch("13.0", count=1))
    assert torch_on("cuda").__version__ == "9.9"


def here() -> bool:
    return registry.backend("torch-aoti").probe(TARGET).ok


def test_it_compiles_everywhere_runs_its_numerics_on_the_cpu_and_is_never_silent_about_it(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if here():
        pytest.skip("there is a GPU: tests/unit/backends/test_on_a_gpu.py")
    first = compiled(tmp_path, to_float16(model()), Precision.FP16)
    second = compiled(tmp_path, to_float16(model()), Precision.FP16, stem="another-name")
    assert first.files[0].sha256 == second.files[0].sha256
    assert "when it is first opened" in first.notes[0]
    backend = registry.backend("torch-aoti")
    with pytest.raises(MissingBackendError) as caught:
        backend.open(first, first.options)
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING
    assert caught.value.remedy
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    with (
        backend.open(first, RunOptions(settings=first.options.settings)) as session,
        open_model(model(), RunOptions()) as reference,
    ):
        assert session.facts["device"] == "cpu"
        assert "numerics only" in session.facts["kernels"]
        for rows in (x, x[:1]):
            wanted = reference.run({"x": rows})["y"].astype(np.float32)
            got = session.run({"x": rows})["y"].astype(np.float32)
            np.testing.assert_allclose(got, wanted, atol=2e-3 * float(np.ptp(wanted)), rtol=0)


def test_an_operator_without_a_counterpart_is_refused_with_its_node(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    lone = model("g (float[3, 3] x) => (float y) { y = Det(x) }")
    (found,) = registry.backend("torch-aoti").check(lone, TARGET)
    assert found.rule == "operator"
    with pytest.raises(TargetRefusalError, match="Det"):
        compiled(tmp_path, lone)


def package(path: Path, **metadata: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/aotinductor/model/a.wrapper_metadata.json", json.dumps(metadata))
    return path


@pytest.mark.parametrize(
    ("metadata", "device", "says"),
    [
        ({"AOTI_DEVICE_KEY": "cuda", "AOTI_COMPUTE_CAPABILITY": "90"}, "cpu", "holds kernels for cuda"),
        ({"AOTI_DEVICE_KEY": "cpu"}, "cuda", "holds kernels for cpu"),
        ({"AOTI_DEVICE_KEY": "cuda", "AOTI_COMPUTE_CAPABILITY": "80"}, "cuda", "this GPU has 90"),
    ],
)
def test_kernels_for_something_else_are_refused(
    tmp_path: Path, metadata: dict[str, str], device: str, says: str
) -> None:
    path = package(tmp_path / "m.pt2", **metadata)
    found = torch_package.compiled_for(path)
    assert found is not None
    with pytest.raises(MissingBackendError, match=says) as caught:
        torch_package.hold_to_device(path, found, device, "90")
    assert caught.value.remedy


def test_kernels_for_this_gpu_are_taken(tmp_path: Path) -> None:
    path = package(tmp_path / "m.pt2", AOTI_DEVICE_KEY="cuda", AOTI_COMPUTE_CAPABILITY="90")
    torch_package.hold_to_device(path, torch_package.compiled_for(path) or {}, "cuda", "90")


def test_what_is_no_archive_is_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"no archive")
    with pytest.raises(ModelFileError, match="not a readable"):
        torch_package.compiled_for(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/something", "else")
    with pytest.raises(ModelFileError, match="neither a program nor compiled code") as caught:
        torch_package.compiled_for(path)
    assert caught.value.exit_code is ExitCode.BAD_INPUT


@pytest.mark.parametrize("settings", [{"cuda.graphs": "1"}, {"cuda.graph": "yes"}, {"io.memory": "pinned"}])
def test_unknown_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InputError, match="unknown setting"):
        checked(settings)
    assert checked({"cuda.graph": "0", "inductor.max_autotune": "true"})
