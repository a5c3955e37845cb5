"""PyTorch modules and .pt2 files become ONNX with the declared names, and compute the same.

Tolerance: 1e-5 of the output's range in float32; seed 0.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.frontends import parity, torch_export
from edgekit.frontends.request import FunctionRunner
from edgekit.frontends.source import Loaded, SourceRequest, load
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")

X = TensorSpec("x", "float32", ("batch", 4))
PREAMBLE = "import torch\nfrom torch import nn\ntorch.manual_seed(0)\n"
LINEAR = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return {result}
def build():
    return Model().train()
"""


def request(folder: Path, code: str, *inputs: TensorSpec, **changes: Any) -> SourceRequest:
    (folder / "model.py").write_text(PREAMBLE + code)
    return SourceRequest("model.py:build", folder, inputs=inputs, **changes)


def onnx_runner(loaded: Loaded) -> FunctionRunner:
    settings.silence_native_libraries()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    inputs, outputs = io.specs(loaded.model)
    names = [spec.name for spec in outputs]

    def run(arrays: tuple[Any, ...]) -> dict[str, Any]:
        feeds = dict(zip((spec.name for spec in inputs), arrays, strict=True))
        return dict(zip(names, session.run(names, feeds), strict=True))

    return FunctionRunner(inputs, outputs, run)


def assert_parity(loaded: Loaded) -> None:
    assert loaded.reference is not None
    report = parity.check(loaded.reference, onnx_runner(loaded), tolerance=1e-5, seed=0)
    assert report.passed, report


def test_a_module_is_exported_in_evaluation_mode(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, LINEAR.format(result="self.drop(self.linear(x))"), X))
    inputs, outputs = io.specs(loaded.model)
    assert inputs == (X,)
    assert outputs == (TensorSpec("output", "float32", ("batch", 3)),)
    assert loaded.framework == "torch"
    assert loaded.model.opset_imports[""] == 21
    assert_parity(loaded)  # with dropout active, reference and export would differ


def test_no_trace_of_this_machine_is_left(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, LINEAR.format(result="self.linear(x)"), X))
    content = io.to_bytes(loaded.model)
    assert str(tmp_path).encode() not in content
    assert b"site-packages" not in content


@dataclass(frozen=True)
class Result:
    id: str
    result: str
    names: tuple[str, ...]


@pytest.mark.parametrize(
    "case",
    [
        Result("mapping", "{'logits': self.linear(x), 'copy': x * 2}", ("logits", "copy")),
        Result("tuple", "(self.linear(x), [x * 2, x * 3])", ("output_0", "output_1_0", "output_1_1")),
        Result("none-is-left-out", "{'logits': self.linear(x), 'loss': None}", ("logits",)),
    ],
    ids=lambda case: case.id,
)
def test_outputs_are_named_after_the_structure(case: Result, tmp_path: Path) -> None:
    loaded = load(request(tmp_path, LINEAR.format(result=case.result), X))
    assert tuple(spec.name for spec in io.specs(loaded.model)[1]) == case.names
    assert_parity(loaded)


TWO = """
class Model(nn.Module):
    def forward(self, left, right):
        return left * 2 - right
def build():
    return Model()
"""


@dataclass(frozen=True)
class Inputs:
    id: str
    names: tuple[str, str]
    expected: float  # left = 1, right = 10


@pytest.mark.parametrize(
    "case",
    [
        Inputs("parameters-in-order", ("left", "right"), -8.0),
        Inputs("parameters-swapped", ("right", "left"), -8.0),
        Inputs("own-names-by-position", ("a", "b"), -8.0),
    ],
    ids=lambda case: case.id,
)
def test_inputs_go_by_name_else_by_position(case: Inputs, tmp_path: Path) -> None:
    specs = tuple(TensorSpec(name, "float32", ("batch", 2)) for name in case.names)
    loaded = load(request(tmp_path, TWO, *specs))
    values = {"left": 1.0, "right": 10.0, "a": 1.0, "b": 10.0}
    feeds = {spec.name: np.full((3, 2), values[spec.name], np.float32) for spec in specs}
    assert loaded.reference is not None
    for runner in (loaded.reference, onnx_runner(loaded)):
        np.testing.assert_array_equal(runner.run(feeds)["output"], np.full((3, 2), case.expected, np.float32))


def test_fixed_batch_stays_fixed_and_dynamic_is_added(tmp_path: Path) -> None:
    fixed = TensorSpec("x", "float32", (1, 4))
    code = LINEAR.format(result="self.linear(x)")
    assert io.specs(load(request(tmp_path, code, fixed)).model)[1][0].shape == (1, 3)
    loaded = load(request(tmp_path, code, fixed, dynamic={"x": {0: "n"}}))
    assert io.specs(loaded.model)[1][0].shape == ("n", 3)


def test_a_program_file_is_exported(tmp_path: Path) -> None:
    from edgekit.frontends.quiet import quiet

    module = torch.nn.Linear(4, 3).eval()
    with quiet():
        dim = torch.export.Dim("rows")
        program = torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: dim},))
        torch.export.save(program, tmp_path / "m.pt2")
    loaded = load(SourceRequest("m.pt2", tmp_path))
    (given,) = io.specs(loaded.model)[0]
    assert given.shape == ("batch", 4)
    assert_parity(loaded)
    fixed = load(SourceRequest("m.pt2", tmp_path, inputs=(TensorSpec(given.name, "float32", (7, 4)),)))
    assert [spec.shape for spec in io.specs(fixed.model)[1]] == [(7, 3)]


def test_reference_restores_the_thread_count(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    loaded = load(request(tmp_path, LINEAR.format(result="self.linear(x)"), X))
    assert loaded.reference is not None
    loaded.reference.run({"x": np.zeros((1, 4), np.float32)})
    assert torch.get_num_threads() == before


def test_the_caller_owns_what_the_reference_gives(tmp_path: Path) -> None:
    loaded = load(request(tmp_path, LINEAR.format(result="x"), X))
    feeds = {"x": np.zeros((1, 4), np.float32)}
    assert loaded.reference is not None
    loaded.reference.run(feeds)["output"].fill(9)
    assert feeds["x"].sum() == 0


@pytest.mark.parametrize("forgets", [True, False])
def test_nobody_keeps_the_exporter_s_graph(
    forgets: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights would be a second copy of a large model. Sabotage: onnxscript's rules keep the last one."""
    if not forgets:
        monkeypatch.setattr(torch_export, "_forget_the_last_graph", lambda: None)
    code = LINEAR.format(result="self.linear(x)").replace("4, 3", "4, 3001")
    loaded = load(request(tmp_path, code, X))
    assert loaded.model.graph.initializers
    del loaded
    gc.collect()
    real = {torch.Tensor, torch.nn.Parameter}  # isinstance wakes what warns
    held = [each for each in gc.get_objects() if type(each) in real]
    assert any(list(each.shape) == [3001, 4] for each in held) != forgets
