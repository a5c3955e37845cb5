"""TorchScript files are exported, with the axes that were declared; other .pt files are told apart.

Tolerance: 1e-5 of the output's range in float32; seed 0.
"""

# TorchScript reads annotations, and takes no comment beside them; torch may be absent.
# mypy: disable-error-code=name-defined
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import settings
from edgekit.frontends import parity
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.shapes import set_input_shapes
from edgekit.frontends.source import load
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
MODULE: Any = torch.nn.Module

X = TensorSpec("x", "float32", ("batch", 3, 8, 8))


class Net(MODULE):  # type: ignore[misc]  # torch may be absent, then nothing here runs
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.linear = torch.nn.Linear(256, 5)

    # TorchScript reads the annotations.
    def forward(self, x: torch.Tensor, cache: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        y = torch.relu(self.conv(x)).flatten(1)
        return {"logits": self.linear(y), "sum": cache[0] + cache[1]}


def save(module: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(module.eval()), str(path))


def assert_parity(loaded: Loaded) -> None:
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(loaded.model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    assert loaded.reference is not None
    report = parity.check(loaded.reference, FunctionRunner(inputs, outputs, run), tolerance=1e-5, seed=0)
    assert report.passed, report


def test_a_script_is_exported_with_the_declared_axes(tmp_path: Path) -> None:
    save(Net(), tmp_path / "m.pt")
    caches = (TensorSpec("cache_0", "float32", ("batch", 2)), TensorSpec("cache_1", "float32", ("batch", 2)))
    loaded = load(SourceRequest("m.pt", tmp_path, inputs=(X, *caches)))
    inputs, outputs = io.specs(loaded.model)
    assert inputs == (X, *caches)
    assert [(spec.name, spec.shape[0]) for spec in outputs] == [("logits", "batch"), ("sum", "batch")]
    assert_parity(loaded)


def test_a_program_under_another_ending_is_read(tmp_path: Path) -> None:
    with quiet():
        torch.export.save(
            torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),)), tmp_path / "m.pt2"
        )
    (tmp_path / "m.pt2").rename(tmp_path / "m.pt")
    assert [spec.name for spec in io.specs(load(SourceRequest("m.pt", tmp_path)).model)[1]] == ["output"]


def test_a_pickled_module_is_exported_when_trusted(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(4, 3), tmp_path / "m.pth")
    spec = TensorSpec("input", "float32", ("batch", 4))
    loaded = load(SourceRequest("m.pth", tmp_path, inputs=(spec,), trust_source=True))
    assert_parity(loaded)


def test_sizes_that_are_computed_from_a_fixed_axis_are_forgotten_not_kept() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[s0, s1] x) => (float[N] y, float[M] z)'
        "{ y = Relu(x)\n z = Neg(x) }"
    )
    model.graph.outputs[0].shape = ir.Shape(["2*s0"])
    model.graph.outputs[1].shape = ir.Shape(["2*s1"])
    fixed = set_input_shapes(model, (TensorSpec("x", "float32", ("batch", 4)),))
    assert [str(value.shape) for value in fixed.graph.outputs] == ["[2*batch]", "[None]"] or [
        [getattr(dim, "value", dim) for dim in value.shape or ()] for value in fixed.graph.outputs
    ] == [["2*batch"], [None]]


def test_a_script_on_a_single_sample_keeps_the_declared_number(tmp_path: Path) -> None:
    class Plain(MODULE):  # type: ignore[misc]  # as above
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x).flatten(1)

    save(Plain(), tmp_path / "m.pt")
    fixed = TensorSpec("x", "float32", (1, 3, 8, 8))
    loaded = load(SourceRequest("m.pt", tmp_path, inputs=(fixed,)))
    assert io.specs(loaded.model)[0] == (fixed,)
    assert loaded.reference is not None
    assert loaded.reference.run({"x": np.zeros(fixed.shape, np.float32)})["output"].shape == (1, 192)  # type: ignore[arg-type]  # all sizes are numbers
