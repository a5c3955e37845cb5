"""[run.settings] of a target on ONNX Runtime -> what is said to the session, to the provider, and to edgekit.

    graph_optimization_level     "all", "extended", "basic", "none"
    session.* (any dotted name)  a session configuration key
    provider                     "cuda" or "tensorrt" on the device "cuda", "webgpu" on "gpu"
    cuda.graph                   "1": capture the kernels in a CUDA graph and replay it
    cuda.*, tensorrt.*           an option of that provider by its own name: cuda.prefer_nhwc
    webgpu.*                     likewise, one of WEBGPU: the plug-in itself ignores a slip in silence
    io.memory                    "device": inputs and outputs lie on the GPU, and no copy is timed;
                                 "host": the copies are timed

Source: onnxruntime.ai, "CUDA execution provider" and "TensorRT execution provider"; onnxruntime
core/providers/webgpu/webgpu_provider_options.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit import settings as environment
from edgekit.errors import InputError

OPTIMIZATION = "graph_optimization_level"
LEVELS = ("all", "extended", "basic", "none")
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
DEFAULTS = {"cuda": "cuda", "gpu": "webgpu"}
"""Run device -> the provider where none is named."""

WEBGPU = (
    *("preferredLayout", "enableGraphCapture", "enableInt64", "powerPreference", "validationMode"),
    *("enableRobustness", "maxStorageBufferBindingSize", "maxNumPendingDispatches", "storageBufferCacheMode"),
    *("uniformBufferCacheMode", "sessionBufferPoolGenerations", "forceCpuNodeNames", "dawnBackendType"),
)
_OWN = {"provider": tuple(PROVIDERS), "cuda.graph": ("0", "1"), "io.memory": ("device", "host")}
_CUDA = {"use_tf32": "0"}  # fp32 means float32: TF32 rounds the factors of a product to 10 bits


@dataclass(frozen=True)
class Settings:
    """The settings by whom they are for.

    Attributes:
        level: of graph optimization.
        session: configuration keys.
        providers: name and options of each, the first choice first; empty = the CPU.
        graph: whether kernels are captured.
        host: whether copies are timed.
    """

    level: str = "all"
    session: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[tuple[str, Mapping[str, str]], ...] = ()
    graph: bool = False
    host: bool = False

    @property
    def provider(self) -> str:
        """The first choice; "" = the CPU."""
        return self.providers[0][0] if self.providers else ""


def read(settings: Mapping[str, str], *, device: str) -> Settings:
    """Sort ``settings``; on the CPU those of providers say nothing.

    Raises:
        InputError: a name without a dot that nobody knows, or a value that is none.
    """
    rest = dict(settings)
    level = rest.pop(OPTIMIZATION, "all")
    own = {name: rest.pop(name) for name in _OWN if name in rest}
    wrong = next((name for name, value in own.items() if value not in _OWN[name]), None)
    unknown = next((name for name in rest if not _is_known(name)), None)
    if unknown or level not in LEVELS or wrong:
        raise InputError(
            f"unknown ONNX Runtime setting {unknown!r}"
            if unknown
            else f"unknown {wrong} {own[wrong]!r}"
            if wrong
            else f"unknown {OPTIMIZATION} {level!r}",
            why=f"{OPTIMIZATION} is one of {', '.join(LEVELS)}; provider one of {', '.join(PROVIDERS)}; "
            "cuda.graph 0 or 1; io.memory device or host; every other setting is an "
            f"option of a provider (cuda.*, tensorrt.*, webgpu.* with {', '.join(WEBGPU)}) or a session "
            "configuration key, such as session.intra_op.allow_spinning",
            remedy="correct [run.settings] of the target",
        )
    options = {
        provider: {
            name.removeprefix(f"{provider}."): rest.pop(name)
            for name in tuple(rest)
            if name.startswith(f"{provider}.")
        }
        for provider in PROVIDERS
    }
    if device == "cpu":
        return Settings(level, rest)
    graph = own.get("cuda.graph") == "1"
    first = own.get("provider", DEFAULTS[device])
    providers = _providers(first, options, graph=graph)
    return Settings(level, rest, providers, graph, own.get("io.memory") == "host")


def _is_known(name: str) -> bool:
    family, dot, own = name.partition(".")
    return own in WEBGPU if family == "webgpu" else bool(dot)


def _providers(
    first: str, options: Mapping[str, Mapping[str, str]], *, graph: bool
) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """TensorRT leaves what it cannot take to CUDA on the same GPU; none leaves anything to the CPU."""
    if first == "webgpu":
        return ((PROVIDERS["webgpu"], options["webgpu"]),)
    cuda = {**_CUDA, **options["cuda"]}
    if first == "cuda":
        return ((PROVIDERS["cuda"], {**cuda, "enable_cuda_graph": "1"} if graph else cuda),)
    kept = str(environment.cache_dir() / "tensorrt")  # without a path they land in the working folder
    paths = {"trt_engine_cache_path": kept, "trt_timing_cache_path": kept}
    tensorrt = {**paths, **options["tensorrt"], **({"trt_cuda_graph_enable": "1"} if graph else {})}
    return ((PROVIDERS["tensorrt"], tensorrt), (PROVIDERS["cuda"], cuda))
