"""Artifact -> a few lines of Python that run it: what the model card shows, and a test executes.

    onnxruntime · openvino · litert · executorch; one sample of zeros, in the artifact's own names and types

Run options are part of it: neither numerics nor speed are determined by the file alone. A back end that is
not in the table has no lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from edgekit.bundle.manifest import ARTIFACTS, TargetEntry
from edgekit.bundle.markdown_text import python
from edgekit.spec import NO_CPU_FALLBACK, Dim, IoBinding

_PACKAGES = {"litert": "ai-edge-litert"}
# the settings of ONNX Runtime that are session configuration keys: the others are for providers, or ours
_SESSION = "session."
_WEBGPU = "webgpu."
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def snippet(entry: TargetEntry) -> str:
    """Lines that run in the bundle's folder; "" where none are known for the back end."""
    lines = _BY_BACKEND.get(entry.artifact.backend)
    return "\n".join(lines(entry)) + "\n" if lines else ""


def install_line(entry: TargetEntry) -> str:
    """What has to be installed for it, in the version that it was proved with."""
    backend, device = entry.artifact.backend, entry.artifact.options.device
    name = _PACKAGES.get(backend, backend)
    version = entry.artifact.tools.get(name, "").partition("+")[0]
    if device == "cuda" and backend == "onnxruntime":
        name = "onnxruntime-gpu"
    line = f"{name}=={version}" if version else name
    if device == "gpu" and backend == "onnxruntime":
        line += " onnxruntime-ep-webgpu"
    return re.sub(r"[^A-Za-z0-9._= -]", "", line)  # it stands in a line of code


def _zeros(binding: IoBinding) -> str:
    shape = tuple(_size(dim) for dim in binding.shape)
    return f"np.zeros({shape}, np.dtype({python(binding.dtype)}))"


def _size(dim: Dim) -> int:
    return dim if isinstance(dim, int) else 1


def _main(entry: TargetEntry) -> str:
    return python(f"{ARTIFACTS}/{entry.artifact.files[0].path}")


def _feeds(entry: TargetEntry) -> Iterator[str]:
    yield "feeds = {"
    for binding in entry.artifact.inputs:
        yield f"    {python(binding.name)}: {_zeros(binding)},  # one sample"
    yield "}"


def _onnxruntime(entry: TargetEntry) -> Iterator[str]:
    options = entry.artifact.options
    settings = dict(options.settings)
    webgpu = options.device == "gpu"
    provider = _PROVIDERS.get(settings.get("provider", "cuda" if options.device == "cuda" else ""))
    names = [python(binding.name) for binding in entry.artifact.outputs]
    yield "import numpy as np"
    yield "import onnxruntime as ort"
    if webgpu:
        yield "import onnxruntime_ep_webgpu as webgpu"
    yield ""
    yield "options = ort.SessionOptions()"
    yield f"options.intra_op_num_threads = {options.threads}"
    for name, value in options.settings:
        if name.startswith(_SESSION):
            yield f"options.add_session_config_entry({python(name)}, {python(value)})"
    if webgpu:
        yield from _webgpu(settings)
        yield f"session = ort.InferenceSession({_main(entry)}, options, enable_fallback=0)"
    else:
        providers = [provider] if provider else ["CPUExecutionProvider"]
        yield f"session = ort.InferenceSession({_main(entry)}, options, providers={providers})"
    yield from _feeds(entry)
    yield f"outputs = dict(zip([{', '.join(names)}], session.run([{', '.join(names)}], feeds)))"


def _webgpu(settings: Mapping[str, str]) -> Iterator[str]:
    """The plug-in in place of a provider of the package: without the last line it falls back in silence."""
    own = {name.removeprefix(_WEBGPU): value for name, value in settings.items() if name.startswith(_WEBGPU)}
    yield "ort.register_execution_provider_library(webgpu.get_ep_name(), webgpu.get_library_path())"
    yield "devices = [each for each in ort.get_ep_devices() if each.ep_name == webgpu.get_ep_name()]"
    yield f"options.add_provider_for_devices(devices[:1], {python(own)})"
    if NO_CPU_FALLBACK not in settings:
        yield f'options.add_session_config_entry({python(NO_CPU_FALLBACK)}, "1")'


def _openvino(entry: TargetEntry) -> Iterator[str]:
    options = entry.artifact.options
    plugin = "GPU" if options.device == "gpu" else "CPU"
    threads = {"INFERENCE_NUM_THREADS": options.threads} if plugin == "CPU" else {}
    config: Mapping[str, object] = {**threads, **dict(options.settings)}
    yield "import numpy as np"
    yield "import openvino"
    yield ""
    yield f"config = {python(dict(config))}"
    yield f'compiled = openvino.Core().compile_model({_main(entry)}, "{plugin}", config)'
    yield from _feeds(entry)
    yield "result = compiled(feeds)"
    yield "outputs = {"
    for binding in entry.artifact.outputs:
        yield f"    {python(binding.name)}: result[{python(binding.name)}],"
    yield "}"


def _litert(entry: TargetEntry) -> Iterator[str]:
    if entry.artifact.options.device != "cpu":
        yield from _litert_gpu(entry)
        return
    yield "import numpy as np"
    yield "from ai_edge_litert.interpreter import Interpreter"
    yield ""
    yield f"interpreter = Interpreter({_main(entry)}, num_threads={entry.artifact.options.threads})"
    yield from _feeds(entry)
    yield 'inputs = {each["name"]: each["index"] for each in interpreter.get_input_details()}'
    yield "for name, value in feeds.items():"
    yield "    interpreter.resize_tensor_input(inputs[name], value.shape)"
    yield "interpreter.allocate_tensors()"
    yield "for name, value in feeds.items():"
    yield "    interpreter.set_tensor(inputs[name], value)"
    yield "interpreter.invoke()"
    yield "outputs = {"
    yield '    each["name"]: interpreter.get_tensor(each["index"])'
    yield "    for each in interpreter.get_output_details()"
    yield "}"


def _litert_gpu(entry: TargetEntry) -> Iterator[str]:
    exact = dict(entry.artifact.options.settings).get("gpu.precision", "f32") == "f32"
    yield "import numpy as np"
    yield "from ai_edge_litert.compiled_model import CompiledModel, GpuOptions, HardwareAccelerator, Options"
    yield ""
    yield f"gpu = GpuOptions(enforce_f32={exact})"
    yield "options = Options(hardware_accelerators=HardwareAccelerator.GPU, gpu_options=gpu)"
    yield f"model = CompiledModel.from_file({_main(entry)}, options=options)"
    yield "assert model.is_fully_accelerated()"
    yield from _feeds(entry)
    yield 'key = "serving_default"'
    yield "inputs = {name: model.create_input_buffer_by_name(key, name) for name in feeds}"
    yield "for name, value in feeds.items():"
    yield "    inputs[name].write(value)"
    yield "made = model.get_output_tensor_details(key)"
    yield "buffers = {name: model.create_output_buffer_by_name(key, name) for name in made}"
    yield "model.run_by_name(key, inputs, buffers)"
    yield "outputs = {"
    yield '    name: buffers[name].read(np.prod(each["shape"]), each["dtype"]).reshape(each["shape"])'
    yield "    for name, each in made.items()"
    yield "}"


def _executorch(entry: TargetEntry) -> Iterator[str]:
    names = [python(binding.name) for binding in entry.artifact.outputs]
    yield "import numpy as np"
    yield "import torch"
    yield "from executorch.runtime import Runtime"
    yield ""
    yield f'method = Runtime.get().load_program({_main(entry)}).load_method("forward")'
    yield from _feeds(entry)
    yield "values = method.execute([torch.from_numpy(value) for value in feeds.values()])"
    yield f"outputs = dict(zip([{', '.join(names)}], [each.numpy() for each in values]))"


_BY_BACKEND: Mapping[str, Callable[[TargetEntry], Iterator[str]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "litert": _litert,
    "executorch": _executorch,
}
