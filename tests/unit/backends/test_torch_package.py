"""AOTInductor on the CPU: the path that a GPU takes, with the device that is here. It takes a minute."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends import torch_package
from edgekit.backends.base import file_entries
from edgekit.backends.bindings import same_layout
from edgekit.backends.onnxruntime import open_model
from edgekit.backends.worker import call_in_worker, open_worker
from edgekit.errors import MissingBackendError
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.spec import Artifact, Precision, RunOptions

pytest.importorskip("torch", reason="PyTorch is not installed")

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 4] x) => (float[n, 3] y) <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>
{ a = Relu(x) b = MatMul(a, w) y = Softmax(b) }
"""
WRITE = "edgekit.backends.torch_package:write_package"
COMPILE = "edgekit.backends.torch_package:compile_file"
ENGINE = "edgekit.backends.torch_aoti_engine:TorchAotiEngine"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs g++")
@pytest.mark.parametrize("first", ["kernels", "program"])
def test_compiled_code_computes_what_the_model_does_for_any_batch(tmp_path: Path, first: str) -> None:
    model = canonicalize(ir.from_onnx_text(MODEL))
    out = tmp_path / "m.pt2"
    source = str(io.save(model, tmp_path / "m.onnx")[0])
    device = "cpu" if first == "kernels" else ""
    arguments = {"source": source, "out": str(out), "settings": {}, "device": device}
    call_in_worker(WRITE, arguments, subject="PyTorch", doing="compiling")
    if first == "program":  # as the engine does where a GPU is wanted
        assert torch_package.compiled_for(out) is None
        held, out = out, tmp_path / "compiled.pt2"
        arguments = {"path": str(held), "out": str(out), "settings": {}, "device": "cpu"}
        call_in_worker(COMPILE, arguments, subject="PyTorch", doing="compiling")
    found = torch_package.compiled_for(out)
    assert found is not None
    assert found["AOTI_DEVICE_KEY"] == "cpu"
    torch_package.hold_to_device(out, found, "cpu", "")
    inputs, outputs = io.specs(model)
    artifact = Artifact(
        folder=tmp_path,
        files=file_entries(tmp_path, (out.name,)),
        target="gpu-torch-aoti",
        backend="torch-aoti",
        precision=Precision.FP32,
        options=RunOptions(),
        inputs=tuple(map(same_layout, inputs)),
        outputs=tuple(map(same_layout, outputs)),
    )
    rng = np.random.default_rng(0)
    with open_worker(ENGINE, artifact, RunOptions()) as session, open_model(model, RunOptions()) as wanted:
        assert session.facts["kernels"] == "AOTInductor"
        for batch in (1, 3, 1):
            x = rng.standard_normal((batch, 4)).astype(np.float32)
            got, right = (each.run({"x": x})["y"].astype(np.float32) for each in (session, wanted))
            np.testing.assert_allclose(got, right, atol=1e-5, rtol=0)


def test_a_package_with_a_cpp_library_of_its_own_is_refused_and_removed(tmp_path: Path) -> None:
    """PyTorch crashes when it loads one; a compiler with ``-static-libstdc++`` makes it."""
    name = "m/data/aotinductor/model/c.wrapper.so"
    for needs, refused in (
        (b"libtorch.so\0libstdc++.so.6\0", False),
        (b"libtorch.so\0libgcc_s.so.1\0", True),
    ):
        out = tmp_path / "m.pt2"
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, b"\x7fELF" + needs)
        with (
            pytest.raises(MissingBackendError, match="its own C\\+\\+ library") if refused else nullcontext()
        ):
            torch_package._hold_to_shared_library(out)
        assert out.exists() is not refused
