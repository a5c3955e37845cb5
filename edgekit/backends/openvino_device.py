"""Run options -> the OpenVINO plug-in that computes, proved to be there, and how it is configured.

    cpu         CPU
    cpu-bf16    CPU, with instructions that multiply bfloat16
    gpu         GPU: an Intel GPU, integrated or not

No device stands in for another, and neither AUTO nor HETERO is ever asked for: both go to the CPU in silence.

D1 another device than these
D2 no GPU among ``available_devices``: no OpenCL loader, or no driver for an Intel GPU. The plug-in passes by
   GPUs of others, and OpenCL on a CPU (PoCL)
D3 bfloat16 that the CPU only simulates: with AVX-512 alone 2026.4 takes the hint and multiplies with
   ``jit_gemm_bf16``, in the numerics of bfloat16 and not faster for it; with AVX2 alone it fails to compile
D4 the compiled model executes elsewhere (EXECUTION_DEVICES)

Source: docs.openvino.ai, "GPU Device", "CPU Device"; D2 to D4 measured on OpenVINO 2026.4, D3 with
ONEDNN_MAX_CPU_ISA.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgekit.errors import MissingBackendError
from edgekit.spec import RunOptions

HINT = "INFERENCE_PRECISION_HINT"
BF16_DEVICE = "cpu-bf16"
GPU_DRIVER = (
    "install Intel's compute runtime: apt-get install intel-opencl-icd (Linux; Windows: the GPU's driver), "
    "and see `clinfo` list the GPU"
)
OTHER_CPU = (
    "run it on an x86-64 CPU with AVX512-BF16 or AMX-BF16 (Xeon since 2023, EPYC since 2022), "
    "or choose openvino-cpu"
)
_PLUGINS = {"cpu": "CPU", BF16_DEVICE: "CPU", "gpu": "GPU"}
_SIMULATED = ("jit_gemm", "gemm", "ref")  # kernels that convert to float32 and multiply that; D3
_SIDE = 64  # of the product that is looked at: large enough for every tiled kernel
_LOADER = "OpenCL.dll" if sys.platform == "win32" else "libOpenCL.so.1"


@dataclass(frozen=True)
class Device:
    """A plug-in that is there.

    Attributes:
        name: as in ``spec.RunOptions``.
        plugin: OpenVINO's name.
        facts: what it says of itself.
    """

    name: str
    plugin: str
    facts: dict[str, str] = field(default_factory=dict)

    def proved(self, compiled: Any) -> str:
        """Where ``compiled`` executes: "cpu", "gpu" or, of several GPUs, "gpu.0".

        Raises:
            MissingBackendError: D4.
        """
        executing = list(compiled.get_property("EXECUTION_DEVICES"))
        if any(each.partition(".")[0] != self.plugin for each in executing) or not executing:
            raise MissingBackendError(
                f"OpenVINO was asked for {self.plugin} and executes on {', '.join(executing) or 'nothing'}",
                why="running on another device is no option",
                remedy="compile it for the device that is here (`edgekit targets --here`)",
            )
        return ",".join(executing).lower()


def ready(openvino: Any, core: Any, options: RunOptions) -> Device:
    """The device that ``options`` name.

    Raises:
        MissingBackendError: D1 to D3.
    """
    if options.device not in _PLUGINS:  # D1
        raise MissingBackendError(
            f"OpenVINO sessions run on {', '.join(_PLUGINS)} here, not on {options.device!r}",
            why="edgekit drives no other plug-ins of OpenVINO; running on another device is no option",
            remedy='set device = "cpu" in the target',
        )
    found = Device(options.device, _PLUGINS[options.device])
    if found.plugin == "GPU":
        return _gpu(core, found)
    if found.name == BF16_DEVICE:
        _require_bfloat16(openvino, core)
    return found


def configuration(options: RunOptions, device: Device) -> dict[str, str]:
    """Ours, then what the target or the recipe says; a GPU has no threads."""
    threads = {"INFERENCE_NUM_THREADS": str(options.threads)} if device.plugin == "CPU" else {}
    return {
        HINT: "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        **threads,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        **dict(options.settings),
    }


def _gpu(core: Any, device: Device) -> Device:
    """D2."""
    there = list(core.available_devices)
    if any(each.partition(".")[0] == "GPU" for each in there):
        name = str(core.get_property("GPU", "FULL_DEVICE_NAME"))
        return replace(device, facts={"gpu": name})
    try:
        ctypes.CDLL(_LOADER)
        reason = "OpenCL is here, and lists no Intel GPU with a driver"
    except OSError:
        reason = f"there is no OpenCL here ({_LOADER} is not found)"
    raise MissingBackendError(
        "OpenVINO finds no Intel GPU here",
        why=f"{reason}; its devices are {', '.join(there) or 'none'}, and the CPU is no substitute",
        remedy=GPU_DRIVER,
        more="edgekit doctor",
    )


def _require_bfloat16(openvino: Any, core: Any) -> None:
    """D3, by compiling one product and asking which kernel multiplies: a CPU's list of features says less."""
    shape = [_SIDE, _SIDE]
    ops = openvino.opset13
    x = ops.parameter(shape, np.float32)
    weight = ops.constant(np.ones(shape, np.float32))
    model = openvino.Model([ops.matmul(x, weight, False, False)], [x], "product")
    kernel = "no kernel at all"
    try:
        compiled = core.compile_model(model, "CPU", {HINT: "bf16"})
    except RuntimeError:  # OpenVINO raises nothing finer
        compiled = None
    for node in compiled.get_runtime_model().get_ordered_ops() if compiled else ():
        info = node.get_rt_info()
        if str(info["layerType"].astype(str)) in {"FullyConnected", "MatMul"}:
            kernel = str(info["primitiveType"].astype(str))
    if "bf16" in kernel and not kernel.startswith(_SIMULATED):
        return
    raise MissingBackendError(
        "this CPU does not multiply bfloat16",
        why=f"OpenVINO would compute with {kernel}; float32 or a simulation is no substitute",
        remedy=OTHER_CPU,
        more="edgekit doctor",
    )
