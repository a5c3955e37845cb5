"""Modules show their inputs, take nested ones, hand states on, and say why an axis stayed fixed.

Tolerance: 1e-5 of the output's range in float32; seed 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import settings
from edgekit.frontends import parity
from edgekit.frontends.request import FunctionRunner, Loaded, SourceRequest
from edgekit.frontends.torch import load_module
from edgekit.ir import io
from edgekit.spec import TensorSpec

settings.silence_native_libraries()  # before importorskip imports one
torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
MODULE: Any = torch.nn.Module


def export(module: Any, *inputs: TensorSpec, **changes: Any) -> Loaded:
    return load_module(module, SourceRequest("model.py:build", Path(), inputs=inputs, **changes))


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


def shapes(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Any]]:
    inputs, outputs = io.specs(loaded.model)
    return {spec.name: spec.shape for spec in inputs}, {spec.name: spec.shape for spec in outputs}


class Masked(MODULE):  # type: ignore[misc]  # torch may be absent, then nothing here runs
    def forward(self, x: Any, mask: Any) -> Any:
        return x.sum(1, keepdim=True) * mask

    def example_inputs(self) -> Any:
        return torch.ones(1, 4), torch.ones(1, 3)


def test_what_a_module_shows_is_exported_with_a_dynamic_batch() -> None:
    loaded = export(Masked())
    assert shapes(loaded) == ({"x": ("batch", 4), "mask": ("batch", 3)}, {"output": ("batch", 3)})
    assert loaded.notes == ()
    assert_parity(loaded)


def test_what_is_declared_goes_before_what_is_shown() -> None:
    loaded = export(Masked(), TensorSpec("x", "float32", (1, 5)), TensorSpec("mask", "float32", (1, 2)))
    assert shapes(loaded)[0] == {"x": (1, 5), "mask": (1, 2)}


class FixedSum(MODULE):  # type: ignore[misc]  # as above
    def forward(self, x: Any) -> Any:
        return x + torch.ones(3, 4)

    def example_inputs(self) -> Any:
        return {"x": torch.ones(3, 4)}


class Unrolled(FixedSum):
    def forward(self, x: Any) -> Any:
        return torch.stack([x[index] * 2 for index in range(x.shape[0])])


@dataclass(frozen=True)
class Fixed:
    id: str
    module: type[Any]
    reason: str


@pytest.mark.parametrize(
    "case",
    [
        Fixed("fails-at-another-batch", FixedSum, "stays fixed at 3: .*does not run .*size of tensor"),
        Fixed("torch-fixes-it", Unrolled, "stays fixed at 3: .*the model fixes it at 2"),
    ],
    ids=lambda case: case.id,
)
def test_a_batch_that_the_model_fixes_stays_fixed_and_the_reason_is_said(case: Fixed) -> None:
    loaded = export(case.module())
    assert shapes(loaded)[0] == {"x": (3, 4)}
    (note,) = loaded.notes
    assert re.search(case.reason, note)
    assert_parity(loaded)


class Decoder(MODULE):  # type: ignore[misc]  # as above
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(10, 4)

    def forward(self, token: Any, cache: list[Any]) -> Any:
        keys = torch.cat([cache[0], self.embedding(token)], 1)
        return {"logits": keys.sum(1), "cache": [keys, cache[1] * 2]}


def test_a_cache_is_a_list_of_inputs_and_comes_out_under_names_of_its_own() -> None:
    loaded = export(
        Decoder(),
        TensorSpec("token", "int64", ("batch", 1)),
        TensorSpec("cache_0", "float32", ("batch", "past", 4)),
        TensorSpec("cache_1", "float32", ("batch", 4)),
    )
    inputs, outputs = shapes(loaded)
    assert list(inputs) == ["token", "cache_0", "cache_1"]
    assert list(outputs) == ["logits", "cache_0_out", "cache_1_out"]
    assert_parity(loaded)


class Nested(MODULE):  # type: ignore[misc]  # as above
    def forward(self, x: Any, past: Any, *, double: bool = True) -> Any:
        return x, past["a"][0] + (2 * x if double else x), past["a"][1]

    def example_inputs(self) -> Any:
        return torch.ones(2, 3), {"a": [torch.ones(2, 3), torch.zeros(2, 3)], "b": torch.ones(2, 3)}


def test_outputs_that_are_inputs_are_copies_and_unread_inputs_are_told() -> None:
    loaded = export(Nested())
    inputs, outputs = shapes(loaded)
    assert list(inputs) == ["x", "past_a_0", "past_a_1", "past_b"]
    assert list(outputs) == ["output_0", "output_1", "output_2"]
    assert loaded.notes == ("the outputs do not depend on input past_b",)
    assert_parity(loaded)


class Recurrent(MODULE):  # type: ignore[misc]  # as above
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = torch.nn.LSTM(4, 6, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.cells(x)[0]


def test_time_steps_that_torch_wrote_as_a_number_are_dynamic() -> None:
    loaded = export(Recurrent(), TensorSpec("x", "float32", ("batch", "T", 4)))
    assert shapes(loaded)[1] == {"output": ("batch", "T", 6)}
    session = ort.InferenceSession(io.to_bytes(loaded.model), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((3, 9, 4)).astype(np.float32)
    assert loaded.reference is not None
    want: Any = loaded.reference.run({"x": x})["output"]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], want, atol=1e-6)


def test_weights_are_shared_with_the_module_and_not_copied() -> None:
    module = torch.nn.Linear(64, 64)
    loaded = export(module, TensorSpec("input", "float32", ("batch", 64)))
    weight = loaded.model.graph.initializers["weight"].const_value
    assert weight is not None
    assert np.shares_memory(weight.numpy(), module.weight.detach().numpy())


def test_the_same_model_is_written_after_a_round_trip() -> None:
    loaded = export(Masked())
    content = io.to_bytes(loaded.model)
    assert io.to_bytes(io.from_bytes(content)) == content


@dataclass(frozen=True)
class Kind:
    id: str


@pytest.mark.parametrize(
    "kind", [Kind("float16"), Kind("float64"), Kind("int32"), Kind("uint8")], ids=lambda k: k.id
)
def test_element_types_are_kept(kind: Kind) -> None:
    class Double(MODULE):  # type: ignore[misc]  # as above
        def forward(self, x: Any) -> Any:
            return x + x

    loaded = export(Double(), TensorSpec("x", kind.id, ("batch", 4)))
    assert io.specs(loaded.model)[1][0].dtype == kind.id
    assert_parity(loaded)


def test_a_buffer_that_no_output_reads_may_change() -> None:
    class Counter(MODULE):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x * 2

    assert_parity(export(Counter(), TensorSpec("x", "float32", (2, 4))))


def test_what_wraps_a_module_is_taken_off() -> None:
    loaded = export(torch.nn.DataParallel(torch.nn.Linear(4, 3)), TensorSpec("input", "float32", (1, 4)))
    assert "weight" in loaded.model.graph.initializers
