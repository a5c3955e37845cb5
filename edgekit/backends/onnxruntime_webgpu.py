"""Session options + ONNX Runtime's WebGPU plug-in -> the options with that provider, and what it runs on.

    plug-in library --register--> ep devices --first one--> add_provider_for_devices

W1 the plug-in takes whichever GPU Dawn finds first, and the CPU provider where Dawn finds none, in silence:
   so ``vulkan_devices`` says beforehand who that is, and whether it may be
W2 it offers itself only where ONNX Runtime knows of a GPU, which leaves containers and WSL out, unless
   ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1. W1 decides what may run; so that variable is always set
W3 Mesa keeps compiled shaders in the user's home; here, in edgekit's cache

Source: onnxruntime-ep-webgpu 0.4.0, its README; onnxruntime pull request 32287.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit import settings as environment
from edgekit.backends import vulkan_devices
from edgekit.errors import MissingBackendError, missing_extra

RUNTIME = "ONNX Runtime's WebGPU provider"
_REGISTERED: list[str] = []  # one process registers a library once


def added(ort: Any, session_options: Any, options: Mapping[str, str]) -> dict[str, str]:
    """Put the provider into ``session_options``; facts about the GPU: name, driver, whether it is one (W1).

    Raises:
        MissingBackendError: the plug-in or a GPU is not here.
    """
    try:
        import onnxruntime_ep_webgpu as plugin
    except ImportError as error:
        raise missing_extra("onnxruntime-ep-webgpu", "webgpu", needed_for=RUNTIME) from error
    facts = vulkan_devices.chosen(runtime=RUNTIME, software=environment.software_gpu())
    environment.default("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1")  # W2
    environment.default("MESA_SHADER_CACHE_DIR", str(environment.cache_dir() / "shaders"))  # W3
    name = plugin.get_ep_name()
    if name not in _REGISTERED:
        ort.set_default_logger_severity(3)  # the plug-in warns of W2 through the default logger
        ort.register_execution_provider_library(name, plugin.get_library_path())
        _REGISTERED.append(name)
    found = [each for each in ort.get_ep_devices() if each.ep_name == name]
    if not found:
        raise MissingBackendError(
            f"{RUNTIME} cannot run here: it finds no device",
            why="ONNX Runtime knows of no GPU on this machine",
            remedy="install the GPU's driver",
            more="docs/gpu.md",
        )
    session_options.add_provider_for_devices(found[:1], dict(options))
    return {"plugin": str(found[0].ep_metadata.get("version", "")), **facts}
