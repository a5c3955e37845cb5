"""Settings of ONNX Runtime by whom they are for, and a session's memory on the device over a fake runtime."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import onnxruntime_settings
from edgekit.backends.onnxruntime_device import GRAPHS, DeviceBinding
from edgekit.backends.onnxruntime_lowering import options_for
from edgekit.errors import InputError
from edgekit.passes import canonicalize
from edgekit.spec import Array, Precision


def test_settings_go_where_they_belong() -> None:
    found = onnxruntime_settings.read(
        {
            "graph_optimization_level": "basic",
            "cuda.graph": "1",
            "cuda.prefer_nhwc": "1",
            "io.memory": "host",
            "session.intra_op.allow_spinning": "1",
        },
        device="cuda",
    )
    assert found.level == "basic"
    assert dict(found.session) == {"session.intra_op.allow_spinning": "1"}
    ((name, options),) = found.providers
    assert name == "CUDAExecutionProvider"
    assert dict(options) == {"use_tf32": "0", "prefer_nhwc": "1", "enable_cuda_graph": "1"}
    assert (found.graph, found.host) == (True, True)


def test_tensorrt_leaves_the_rest_to_cuda_and_nothing_to_the_cpu() -> None:
    found = onnxruntime_settings.read(
        {"provider": "tensorrt", "tensorrt.trt_fp16_enable": "1", "cuda.graph": "1"}, device="cuda"
    )
    assert [name for name, _ in found.providers] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert dict(found.providers[0][1])["trt_fp16_enable"] == "1"
    assert dict(found.providers[0][1])["trt_cuda_graph_enable"] == "1"
    assert "enable_cuda_graph" not in dict(found.providers[1][1])


def test_on_the_cpu_settings_of_providers_say_nothing() -> None:
    found = onnxruntime_settings.read({"cuda.graph": "1", "tensorrt.trt_fp16_enable": "1"}, device="cpu")
    assert (found.providers, found.provider, dict(found.session)) == ((), "", {})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"enable_cuda_graph": "1"}, "unknown ONNX Runtime setting 'enable_cuda_graph'"),
        ({"provider": "rocm"}, "unknown provider 'rocm'"),
        ({"cuda.graph": "yes"}, "unknown cuda.graph 'yes'"),
        ({"io.memory": "pinned"}, "unknown io.memory 'pinned'"),
        ({"graph_optimization_level": "most"}, "unknown graph_optimization_level 'most'"),
        ({"webgpu.preferedLayout": "NCHW"}, "unknown ONNX Runtime setting 'webgpu.preferedLayout'"),
    ],
)
def test_unknown_settings_are_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        onnxruntime_settings.read(settings, device="cuda")
    assert "[run.settings]" in caught.value.remedy


def test_tensorrt_is_allowed_what_the_precision_needs_and_keeps_its_engines_in_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", "kept")
    options = targets.load("gpu-tensorrt").run.options()
    for precision, wanted in (("fp32", ("0", "0")), ("fp16", ("1", "0")), ("w8a8", ("0", "1"))):
        allowed = options_for(Precision(precision), options)
        found = dict(onnxruntime_settings.read(dict(allowed.settings), device="cuda").providers[0][1])
        assert (found["trt_fp16_enable"], found["trt_int8_enable"]) == wanted
        assert found["trt_engine_cache_path"].startswith("kept")


@pytest.mark.parametrize(
    ("graph", "shape", "precision", "given", "wanted"),
    [
        ("Conv(x, w)", "1, 1, 1, 1", "fp16", {}, "1"),
        ("Conv(x, w)", "1, 1, 1, 1", "fp16", {"cuda.prefer_nhwc": "0"}, "0"),  # whoever says so decides
        ("Conv(x, w)", "1, 1, 1, 1", "fp32", {}, None),
        ("Conv(x, w)", "1, 1, 1", "fp16", {}, None),
        ("Add(x, w)", "1, 1, 1, 1", "fp16", {}, None),
    ],
)
def test_cuda_convolves_in_float16_channels_last(
    graph: str, shape: str, precision: str, given: dict[str, str], wanted: str | None
) -> None:
    """L11 of ``onnxruntime_lowering``."""
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[{shape}] x) => (float[{shape}] y) <float[{shape}] w = {{1}}> {{ y = {graph} }}"""
    )
    options = targets.load("gpu-cuda").run.options()
    options = replace(options, settings=tuple({**dict(options.settings), **given}.items()))
    found = options_for(Precision(precision), options, model=model)
    assert dict(found.settings).get("cuda.prefer_nhwc") == wanted
    assert onnxruntime_settings.read(dict(found.settings), device="cuda").provider


def test_webgpu_is_the_provider_of_any_gpu() -> None:
    given = {"webgpu.preferredLayout": "NCHW", "io.memory": "host"}
    found = onnxruntime_settings.read(given, device="gpu")
    assert found.providers == (("WebGpuExecutionProvider", {"preferredLayout": "NCHW"}),)
    assert (found.host, dict(found.session)) == (True, {})


@pytest.mark.parametrize("name", ["gpu-cuda", "gpu-tensorrt", "gpu-webgpu"])
def test_the_targets_settings_are_known(name: str) -> None:
    options = targets.load(name).run.options()
    assert onnxruntime_settings.read(dict(options.settings), device=options.device).provider


class FakeValue:
    """An OrtValue: an array, how often it was copied over, and how often it was read back."""

    def __init__(self, array: Array) -> None:
        self.array, self.updates, self.reads = array.copy(), 0, 0

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def update_inplace(self, array: Array) -> None:
        assert array.shape == self.array.shape
        self.array, self.updates = array.copy(), self.updates + 1

    def numpy(self) -> Array:
        self.reads += 1
        return self.array


class FakeRunOptions:
    def __init__(self) -> None:
        self.graph = "0"

    def add_run_config_entry(self, name: str, value: str) -> None:
        assert name == "gpu_graph_id"
        self.graph = value


class FakeBinding:
    def __init__(self) -> None:
        self.inputs: dict[str, FakeValue] = {}
        self.outputs: dict[str, FakeValue | None] = {}

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        self.outputs[name] = value

    def bind_output(self, name: str, device: str) -> None:
        assert device in {"cuda", "webgpu"}
        self.outputs[name] = None

    def get_outputs(self) -> list[FakeValue | None]:
        return list(self.outputs.values())


class FakeSession:
    """y = 2 x. A run under a graph's number replays on the tensors that the number was first run with."""

    def __init__(self) -> None:
        self.graphs: dict[str, FakeBinding] = {}

    def io_binding(self) -> FakeBinding:
        return FakeBinding()

    def run_with_iobinding(self, binding: FakeBinding, options: FakeRunOptions) -> None:
        if options.graph not in {"-1", "0"}:
            binding = self.graphs.setdefault(options.graph, binding)
        found = binding.inputs["x"].array * 2
        target = binding.outputs["y"]
        if target is None:
            binding.outputs["y"] = FakeValue(found)
        else:
            target.array = found


def device(*, graph: bool, host: bool = False, memory: str = "cuda") -> tuple[DeviceBinding, FakeSession]:
    values = SimpleNamespace(ortvalue_from_numpy=lambda array, *_: FakeValue(array))
    ort: Any = SimpleNamespace(OrtValue=values, RunOptions=FakeRunOptions)
    session = FakeSession()
    binding = DeviceBinding(ort, session, (["x"], ["y"]), memory=memory, graph=graph, host=host)
    return binding, session


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("host", [False, True])
def test_alternating_shapes_do_not_mix(graph: bool, host: bool) -> None:
    binding, session = device(graph=graph, host=host)
    for turn, size in enumerate((1, 3, 1, 3, 2)):
        x = np.full((size, 2), turn + 1.0, np.float32)
        binding.bind({"x": x})
        binding.invoke()
        np.testing.assert_array_equal(binding.fetch()["y"], 2 * x)
    assert len(session.graphs) == (3 if graph else 0)


def test_shapes_beyond_the_last_graph_run_without_one() -> None:
    binding, session = device(graph=True)
    for size in range(1, GRAPHS + 3):
        x = np.full((size, 2), float(size), np.float32)
        binding.bind({"x": x})
        binding.invoke()
        np.testing.assert_array_equal(binding.fetch()["y"], 2 * x)
    assert len(session.graphs) == GRAPHS


def test_copies_are_timed_only_where_that_is_asked_for() -> None:
    for host, copies in ((False, 0), (True, 2)):
        binding, _ = device(graph=False, host=host)
        binding.bind({"x": np.ones((1, 2), np.float32)})
        value = binding._bound().inputs["x"]
        before = value.updates
        binding.invoke()
        binding.invoke()
        assert value.updates - before == copies


@pytest.mark.parametrize(("memory", "reads"), [("cuda", 0), ("webgpu", 1)])
def test_an_inference_on_webgpu_ends_when_an_output_is_here(memory: str, reads: int) -> None:
    """I3: its run returns at once, and a clock around it would see nothing; CUDA's waits by itself."""
    binding, _ = device(graph=False, memory=memory)
    binding.bind({"x": np.ones((1, 2), np.float32)})
    value = binding._bound().smallest
    before = value.reads
    binding.invoke()
    assert value.reads - before == reads


@pytest.mark.parametrize(
    ("name", "text", "layout"),
    [
        ("gpu-webgpu", "(int64[n, 1, 6, 6] y) { c = Conv (x, w) y = ArgMax <axis = 1> (c) }", "NCHW"),
        ("gpu-webgpu", "(float[n, 4, 6, 6] y) { c = Conv (x, w) y = Relu (c) }", None),
        ("gpu-cuda", "(int64[n, 1, 6, 6] y) { c = Conv (x, w) y = ArgMax <axis = 1> (c) }", None),
    ],
    ids=["integers", "floats", "another provider"],
)
def test_webgpu_keeps_the_layout_of_a_graph_with_integer_images(
    name: str, text: str, layout: str | None
) -> None:
    """L9 of ``onnxruntime_lowering``; benchmarks/gpu_software has digits_detector on the GPU."""
    weights = ir.tensor(np.ones((4, 3, 3, 3), np.float32), name="w")
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 21]>\ng (float[n, 3, 8, 8] x) => {text}',
        initializers=[weights],
    )
    options = options_for(Precision.FP32, targets.load(name).run.options(), model=canonicalize(model))
    assert dict(options.settings).get("webgpu.preferredLayout") == layout
