"""Runtimes that are absent, and a CUDA session that comes up on the CPU: refused, with what to type next."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.backends.onnxruntime_engine import OnnxRuntimeEngine
from edgekit.backends.openvino_engine import OpenVinoEngine, convert
from edgekit.errors import MissingBackendError, TargetRefusalError
from edgekit.spec import RunOptions

CUDA = RunOptions(device="cuda")


class FakeFailError(Exception):
    """Stands for onnxruntime's Fail."""


class OtherError(Exception):
    """Stands for onnxruntime's other states."""


def fake_onnxruntime(*, offers: list[str], session: Callable[..., Any]) -> Any:
    states = SimpleNamespace(
        Fail=FakeFailError, InvalidProtobuf=OtherError, NoSuchFile=OtherError, InvalidArgument=OtherError
    )
    levels = SimpleNamespace(ORT_ENABLE_ALL=99, ORT_ENABLE_EXTENDED=2, ORT_ENABLE_BASIC=1, ORT_DISABLE_ALL=0)
    return SimpleNamespace(
        __version__="1.0",
        get_available_providers=lambda: offers,
        capi=SimpleNamespace(onnxruntime_pybind11_state=states),
        GraphOptimizationLevel=levels,
        ExecutionMode=SimpleNamespace(ORT_SEQUENTIAL=0),
        SessionOptions=FakeOptions,
        InferenceSession=session,
    )


class FakeOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


def on(*providers: str) -> Callable[..., Any]:
    return lambda path, options, **rest: SimpleNamespace(
        get_providers=lambda: list(providers), io_binding=lambda: None
    )


def failing(path: str, options: FakeOptions, **rest: Any) -> Any:
    """As CUDA without a driver: refused without the fall-back, and with it a session on the CPU."""
    assert rest["enable_fallback"] == 0
    assert [name for name, _ in rest["providers"]] == ["CUDAExecutionProvider"]
    if options.entries["session.disable_cpu_ep_fallback"] == "0":
        return on("CPUExecutionProvider")(path, options)
    raise FakeFailError("fallback to CPU EP has been explicitly disabled")


def leaving_one(path: str, options: FakeOptions, **rest: Any) -> Any:
    """CUDA is there, and has no kernel for one node."""
    if options.entries["session.disable_cpu_ep_fallback"] == "1":
        raise FakeFailError("fallback to CPU EP has been explicitly disabled")
    parts = [
        SimpleNamespace(ep_name=name, get_nodes=lambda node=node: [node])
        for name, node in (
            ("CUDAExecutionProvider", SimpleNamespace(name="relu", op_type="Relu")),
            ("CPUExecutionProvider", SimpleNamespace(name="det_token_3", op_type="Det")),
        )
    ]
    return SimpleNamespace(
        get_providers=lambda: ["CUDAExecutionProvider"], get_provider_graph_assignment_info=lambda: parts
    )


@pytest.mark.parametrize(
    ("offers", "session", "says"),
    [
        (["CPUExecutionProvider"], on("CPUExecutionProvider"), "has no CUDA provider"),
        (["CUDAExecutionProvider"], failing, "cannot run the model here"),
        (["CUDAExecutionProvider"], on("CPUExecutionProvider"), "cannot run the model here"),
    ],
    ids=["a build without CUDA", "the runtime says so", "the runtime says nothing"],
)
def test_cuda_never_becomes_cpu(
    monkeypatch: pytest.MonkeyPatch, offers: list[str], session: Callable[..., Any], says: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", fake_onnxruntime(offers=offers, session=session))
    with pytest.raises(MissingBackendError, match=says) as caught:
        OnnxRuntimeEngine(Path("m.onnx"), CUDA, ["x"], ["y"])
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("offers", "session"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], on("CUDAExecutionProvider")),
        (["TensorrtExecutionProvider", "CUDAExecutionProvider"], on("CUDAExecutionProvider")),
        (["TensorrtExecutionProvider", "CUDAExecutionProvider"], on("CPUExecutionProvider")),
    ],
    ids=["a build without TensorRT", "it comes up on CUDA", "it comes up on the CPU"],
)
def test_tensorrt_never_becomes_cuda_or_cpu(
    monkeypatch: pytest.MonkeyPatch, offers: list[str], session: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", fake_onnxruntime(offers=offers, session=session))
    asked = RunOptions(device="cuda", settings=(("provider", "tensorrt"),))
    with pytest.raises(MissingBackendError, match="Tensorrt provider") as caught:
        OnnxRuntimeEngine(Path("m.onnx"), asked, ["x"], ["y"])
    assert "TensorRT" in caught.value.remedy


def test_a_node_without_a_kernel_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_onnxruntime(offers=["CUDAExecutionProvider"], session=leaving_one)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(
        TargetRefusalError, match=r"1 operator would run on the CPU .*: det \(Det\)"
    ) as caught:
        OnnxRuntimeEngine(Path("m.onnx"), CUDA, ["x"], ["y"])
    assert [each.node for each in caught.value.rejections] == ["det"]
    assert "--allow-fallback" in caught.value.remedy


def test_webgpu_without_its_plug_in_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_onnxruntime(offers=["CPUExecutionProvider"], session=on("CPUExecutionProvider"))
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_webgpu", None)
    with pytest.raises(MissingBackendError) as caught:
        OnnxRuntimeEngine(Path("m.onnx"), RunOptions(device="gpu"), ["x"], ["y"])
    assert caught.value.remedy == 'pip install "edgekit[webgpu]"'


def test_cuda_that_comes_up_on_cuda_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    session = on("CUDAExecutionProvider", "CPUExecutionProvider")
    fake = fake_onnxruntime(offers=["CUDAExecutionProvider"], session=session)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    engine = OnnxRuntimeEngine(Path("m.onnx"), CUDA, ["x"], ["y"])
    assert engine.facts["device"] == "cuda"
    assert engine.facts["providers"].startswith("CUDA")


def test_a_failure_on_the_cpu_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*args: Any, **rest: Any) -> Any:
        raise FakeFailError("a bad model")

    monkeypatch.setitem(sys.modules, "onnxruntime", fake_onnxruntime(offers=[], session=session))
    with pytest.raises(FakeFailError):
        OnnxRuntimeEngine(Path("m.onnx"), RunOptions(), ["x"], ["y"])


def test_a_runtime_that_cannot_be_imported_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingBackendError) as caught:
        OnnxRuntimeEngine(Path("m.onnx"), RunOptions(), ["x"], ["y"])
    assert caught.value.remedy == "pip install onnxruntime"
    for use in (lambda: OpenVinoEngine(Path("m.xml"), RunOptions(), [], []), lambda: convert("a", "b")):
        with pytest.raises(MissingBackendError) as caught:
            use()
        assert caught.value.remedy == 'pip install "edgekit[openvino]"'
