"""ONNX file -> ONNX Runtime session inside the worker (onnxruntime_session_options_config_keys.h).

Threads: one thread by default, and then there is no pool. With more, spinning between operators is off:
on 2 cores, with 2 threads each, a neighbour that had just finished kept a core busy and raised the median
of a small CNN from 166 us alone to 302 us interleaved; without spinning it was 343 us alone and 333 us
interleaved, so a comparison is fair. The setting ``session.intra_op.allow_spinning = "1"`` of a target
turns it on again.

CUDA, TensorRT and WebGPU: ONNX Runtime falls back to the CPU in silence, so the fall-back is disabled, the
session's own retry too, the provider list is read back, and the provider of each node is asked for (facts
"placed"; ``onnxruntime_placed``). Inputs and outputs lie on the device (``onnxruntime_device``). Whoever
wants nodes on the CPU says so with the setting ``session.disable_cpu_ep_fallback = "0"``; they are listed.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends import onnxruntime_placed, onnxruntime_profile, onnxruntime_settings, onnxruntime_webgpu
from edgekit.backends.onnxruntime_device import DeviceBinding
from edgekit.backends.onnxruntime_settings import Settings
from edgekit.errors import EdgekitError, MissingBackendError, ModelFileError
from edgekit.spec import NO_CPU_FALLBACK, RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_ERRORS_ONLY = 3  # ORT's log severity; warnings about shapes and fusions are no news to a user
_SHORT = "ExecutionProvider"
_NO_DEVICE = re.compile(r"no CUDA-capable device is detected|CUDA driver version is insufficient[\w ]*")
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class OnnxRuntimeEngine:
    """``backends.engine.Engine`` for ONNX Runtime on "cpu", "cuda" or "gpu"."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        ort = _imported()
        self._path, self._options = path, options
        settings = onnxruntime_settings.read(dict(options.settings), device=options.device)
        self._session, gpu = _session(ort, path, options)
        self._inputs, self._outputs = input_names, output_names
        self._binding = self._session.io_binding()
        self._on_device = (
            DeviceBinding(
                ort,
                self._session,
                (input_names, output_names),
                memory="webgpu" if settings.provider == onnxruntime_settings.PROVIDERS["webgpu"] else "cuda",
                graph=settings.graph,
                host=settings.host,
            )
            if settings.providers
            else None
        )
        self._feeds: Mapping[str, Array] = {}
        self.facts = {
            "runtime": "onnxruntime",
            "version": ort.__version__,
            "device": options.device,
            "threads": str(options.threads),
            "providers": ",".join(self._session.get_providers()),
        }
        if settings.providers:
            self.facts |= {
                "placed": onnxruntime_placed.placed(self._session),
                **({"cuda graph": "yes" if settings.graph else "no"} if options.device == "cuda" else gpu),
                "timed": "with copies" if settings.host else "on the device",
            }

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime."""
        _imported()

    @property
    def _unreplayed(self) -> RunOptions:
        """The options without a CUDA graph: a replay has no kernels that a profiler could see."""
        settings = tuple(each for each in self._options.settings if each[0] != "cuda.graph")
        return replace(self._options, settings=settings)

    def executed(self) -> list[dict[str, Any]]:
        """What runs, read from a profile of one inference (``onnxruntime_profile``).

        The session that profiles takes the place of this one, which ``bind`` opens again: each of them holds
        the weights once more than the file does.
        """
        if self._on_device is None and self._feeds:
            self._session = self._binding = None
        return onnxruntime_profile.executed(
            lambda into: _session(_imported(), self._path, self._unreplayed, profile=into)[0], self._feeds
        )

    def profile(self, runs: int) -> dict[str, Any]:
        """Every kernel with its times, from a second session that runs in turn with this one."""
        return onnxruntime_profile.timed(
            lambda into: _session(_imported(), self._path, self._unreplayed, profile=into)[0],
            self._feeds,
            plain=self.invoke,
            runs=runs,
        )

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Inputs are used in place (CPU); outputs are allocated by the runtime, so their size may vary."""
        if self._on_device is not None:
            self._feeds = feeds
            self._on_device.bind(feeds)
            return
        if self._session is None:
            self._session, _ = _session(_imported(), self._path, self._options)
            self._binding = self._session.io_binding()
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._feeds = feeds  # the binding points into these arrays
        for name in self._inputs:
            self._binding.bind_cpu_input(name, feeds[name])
        for name in self._outputs:
            self._binding.bind_output(name, "cpu")

    def place(self, results: Mapping[str, Array]) -> bool:
        """Outputs go where ``results`` are; ONNX Runtime raises where one has another shape."""
        if self._on_device is not None:
            return False
        self._binding.clear_binding_outputs()
        for name in self._outputs:
            array = results[name]
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return True

    def invoke(self) -> None:
        """One inference."""
        if self._on_device is not None:
            self._on_device.invoke()
        else:
            self._session.run_with_iobinding(self._binding)

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        if self._on_device is not None:
            return self._on_device.fetch()
        return dict(zip(self._outputs, self._binding.copy_outputs_to_cpu(), strict=True))


def save_optimized(path: Path, out: Path, options: RunOptions) -> None:
    """Load ``path`` as it would run and write the graph that remains after all optimizations to ``out``."""
    ort = _imported()
    session_options = _session_options(ort, options)
    session_options.optimized_model_filepath = str(out)
    ort.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _imported() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingBackendError(
            f"onnxruntime cannot be imported: {error}",
            why="it is the reference runtime and part of edgekit's base install",
            remedy="pip install onnxruntime",
            more="edgekit doctor",
        ) from error
    return onnxruntime


def _session(
    ort: Any, path: Path, options: RunOptions, *, profile: Path | None = None
) -> tuple[Any, dict[str, str]]:
    """The session, and what the plug-in for its device says of the GPU."""
    settings = onnxruntime_settings.read(dict(options.settings), device=options.device)
    if options.device == "gpu":
        return _on_webgpu(ort, path, options, settings, profile)
    if settings.provider and settings.provider not in ort.get_available_providers():
        raise MissingBackendError(
            f"this onnxruntime {ort.__version__} has no {settings.provider.removesuffix(_SHORT)} provider",
            why=f"it offers {', '.join(ort.get_available_providers())}; the CPU is no substitute",
            remedy='pip uninstall onnxruntime, then pip install "onnxruntime-gpu[cuda,cudnn]"'
            + (
                ", and TensorRT's libraries (pip install tensorrt)" if "Tensorrt" in settings.provider else ""
            ),
        )
    if settings.provider and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # of the packages that "onnxruntime-gpu[cuda,cudnn]" brings
    states = ort.capi.onnxruntime_pybind11_state
    providers: list[Any] = [(name, dict(each)) for name, each in settings.providers]
    try:
        session = ort.InferenceSession(
            str(path),
            _session_options(ort, options, profile),
            providers=providers or ["CPUExecutionProvider"],
            enable_fallback=0,  # the Python class would retry on the CPU by itself
        )
    except (states.InvalidProtobuf, states.NoSuchFile) as error:
        raise _unreadable(path, error) from error
    except states.InvalidArgument as error:
        if "No graph was found" in str(error):  # an empty file is a protobuf message without fields
            raise _unreadable(path, error) from error
        raise
    except states.Fail as error:
        left = (onnxruntime_placed.REFUSED, onnxruntime_placed.NO_GRAPH)
        if settings.provider and any(each in str(error) for each in left):
            raise _unplaced(ort, path, options) from error
        if settings.provider:
            raise _no_gpu(settings, str(error)) from error
        raise
    except RuntimeError as error:  # libraries and devices are looked for before a session exists
        if settings.provider and "TensorRT" in str(error):
            raise _no_gpu(settings, "TensorRT's libraries are not installed") from error
        if settings.provider and (found := _NO_DEVICE.search(str(error))):
            raise _no_gpu(settings, f"{found.group()} (CUDA_VISIBLE_DEVICES may hide it)") from error
        raise
    if settings.provider and session.get_providers()[0] != settings.provider:
        raise _no_gpu(settings, f"the session came up on {', '.join(session.get_providers())}")
    return session, {}


def _on_webgpu(
    ort: Any, path: Path, options: RunOptions, settings: Settings, profile: Path | None
) -> tuple[Any, dict[str, str]]:
    """The plug-in's session. Whatever it cannot start on is an error here: its own answer is the CPU."""
    states = ort.capi.onnxruntime_pybind11_state
    session_options = _session_options(ort, options, profile)
    gpu = onnxruntime_webgpu.added(ort, session_options, settings.providers[0][1])
    try:
        session = ort.InferenceSession(str(path), session_options, enable_fallback=0)
    except (states.InvalidProtobuf, states.NoSuchFile) as error:
        raise _unreadable(path, error) from error
    except states.Fail as error:
        if onnxruntime_placed.REFUSED in str(error):
            raise _unplaced(ort, path, options) from error
        if "adapter" in str(error):
            raise _no_gpu(settings, str(error)) from error
        raise
    if session.get_providers()[0] != settings.provider:
        raise _no_gpu(settings, f"the session came up on {', '.join(session.get_providers())}")
    return session, gpu


def _unplaced(ort: Any, path: Path, options: RunOptions) -> EdgekitError:
    """Who it is that would run on the CPU: asked of a session that may, and runs nothing.

    A session that is to be captured in a CUDA graph may not, so it is not. Where the provider itself cannot
    start, all of it would, and the message of the first session is the same.
    """
    asked = {**dict(options.settings), NO_CPU_FALLBACK: "0", "cuda.graph": "0"}
    allowed = replace(options, settings=tuple(asked.items()))
    session_options = _session_options(ort, allowed)
    settings = onnxruntime_settings.read(asked, device=options.device)
    more: dict[str, Any] = {}
    if options.device == "gpu":
        onnxruntime_webgpu.added(ort, session_options, settings.providers[0][1])
    else:
        more["providers"] = [(name, dict(each)) for name, each in settings.providers]
    session = ort.InferenceSession(str(path), session_options, enable_fallback=0, **more)
    if session.get_providers()[0] != settings.provider:
        return _no_gpu(settings, f"the session came up on {', '.join(session.get_providers())}")
    return onnxruntime_placed.unplaced(session, provider=settings.provider)


def _session_options(ort: Any, options: RunOptions, profile: Path | None = None) -> Any:
    """Explicit everything: what is not said here is a default that may change between versions."""
    settings = onnxruntime_settings.read(dict(options.settings), device=options.device)
    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    session = ort.SessionOptions()
    session.log_severity_level = _ERRORS_ONLY
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    session.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session.graph_optimization_level = levels[settings.level]
    entries = {"session.intra_op.allow_spinning": "0"}
    if settings.providers:
        entries |= {NO_CPU_FALLBACK: "1", onnxruntime_placed.RECORD: "1"}
    entries |= settings.session
    if profile is not None:
        session.enable_profiling = True
        session.profile_file_prefix = str(profile)
    for name, value in entries.items():
        session.add_session_config_entry(name, value)
    return session


def _unreadable(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{path.name} is not a readable ONNX file",
        why=str(error),
        remedy="compile it again, or copy it again and compare its hash",
    )


def _no_gpu(settings: Settings, reason: str) -> MissingBackendError:
    name = settings.provider.removesuffix(_SHORT)
    if settings.provider == onnxruntime_settings.PROVIDERS["webgpu"]:
        return MissingBackendError(
            f"{onnxruntime_webgpu.RUNTIME} cannot run the model here",
            why=reason,
            remedy="install a newer driver of the GPU: Dawn finds no adapter in this one (Mesa 22, for one)",
            more="docs/gpu.md",
        )
    libraries = "TensorRT, CUDA and cuDNN" if name == "Tensorrt" else "CUDA and cuDNN"
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        reason = f"there is no NVIDIA driver here ({_DRIVER} is not found); {reason}"
    return MissingBackendError(
        f"the {name} provider of ONNX Runtime cannot run the model here",
        why=reason,
        remedy=f"check the driver (nvidia-smi) and the {libraries} libraries of onnxruntime-gpu",
        more="edgekit doctor",
    )
