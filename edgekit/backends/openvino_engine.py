"""ONNX file -> IR, and IR -> OpenVINO session, inside the worker (docs.openvino.ai, CPU and GPU device).

The IR keeps a dynamic batch. The engine compiles a static copy for each shape that is bound and keeps the
last few, because static shapes select better kernels (a fully connected int8 layer runs as brgemm when the
batch is known and as a plain loop when it is not) and because latency at a fixed batch is what is measured.
A model that cannot be made static runs with its dynamic shapes.

Defaults that would change numerics or speed unasked are set: INFERENCE_PRECISION_HINT f32 (AMX machines
choose bf16 for float models), DYNAMIC_QUANTIZATION_GROUP_SIZE 0 (32 turns weight-only into dynamic int8),
one stream. Which device computes: ``backends.openvino_device``.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.backends import openvino_profile
from edgekit.backends.openvino_device import Device, configuration, ready
from edgekit.errors import ModelFileError, missing_extra
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_KEPT_SHAPES = 4  # compiled models of the last shapes: full batch, last batch, batch 1, and one more
_NO_KERNEL = frozenset({"Const", "Input", "Output", "Reshape", "Parameter", "Result"})

# Execution nodes that multiply and accumulate (intel_cpu/src/cpu_types.cpp, "type_to_name_tbl")
_MULTIPLYING = frozenset(
    {
        *("Convolution", "Deconvolution", "DeformableConvolution", "FullyConnected", "MatMul", "RNNCell"),
        *("RNNSeq", "LSTMCell", "LSTMSequence", "GRUCell", "GRUSequence", "MHA", "ScaledDotProductAttention"),
    }
)
# Operations of a model that do (docs.openvino.ai, "Available Operation Sets")
_MULTIPLYING_OPERATIONS = frozenset(
    {
        *("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData"),
        *("MatMul", "RNNCell", "RNNSequence", "LSTMCell", "LSTMSequence", "GRUCell", "GRUSequence", "Einsum"),
        *("DeformableConvolution", "ScaledDotProductAttention"),
    }
)
_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "u8": "int8", "i8": "int8"}

Shapes = tuple[tuple[int, ...], ...]


class OpenVinoEngine:
    """``backends.engine.Engine`` for OpenVINO's plug-ins for CPUs and Intel GPUs."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        openvino = imported()
        self._tensor = openvino.Tensor
        self._core = openvino.Core()
        self._device: Device = ready(openvino, self._core, options)
        self._config = configuration(options, self._device)
        self._inputs, self._outputs = input_names, output_names
        self._model = read_ir(self._core, path)
        self._requests: OrderedDict[Shapes, Any] = OrderedDict()
        self._feeds: Mapping[str, Array] = {}
        self._placed: Any = None
        self._own: dict[str, Any] = {}
        self._request = self._request_for(self._first_shapes())
        compiled = self._request.get_compiled_model()
        self.facts = {
            "runtime": "openvino",
            "version": openvino.get_version(),
            "device": self._device.proved(compiled),
            **self._device.facts,
            "threads": str(options.threads),
            **_streams(self._config),
            "precision_hint": _type_name(compiled.get_property("INFERENCE_PRECISION_HINT")),
            "kernels": _kernels(compiled),
        }

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime and its CPU plug-in."""
        imported().Core().get_property("CPU", "FULL_DEVICE_NAME")

    def executed(self) -> list[dict[str, Any]]:
        """What runs, read from the execution graph of the model that the last feeds selected."""
        device, heavy = self._device_and_heavy()
        compiled = self._request.get_compiled_model()
        infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        return [
            _executed(info, device, heavy)
            for info in infos
            if compiled_text(info, "layerType") not in _NO_KERNEL
        ]

    def profile(self, runs: int) -> dict[str, Any]:
        """Every kernel with its times (``openvino_profile``), at the shapes of the bound feeds."""
        shapes = tuple(self._feeds[name].shape for name in self._inputs)
        model = self._static(shapes)

        def open_profiled() -> Any:
            config = {**self._config, "PERF_COUNT": "YES"}
            request = self._core.compile_model(model, self._device.plugin, config).create_infer_request()
            for name in self._inputs:
                request.set_tensor(name, self._tensor(self._feeds[name], shared_memory=True))
            return request

        device, heavy = self._device_and_heavy()

        def row_of(info: Any) -> dict[str, Any] | None:
            if compiled_text(info, "layerType") in _NO_KERNEL:
                return None
            return {**_executed(info, device, heavy), "kernel": compiled_text(info, "primitiveType")}

        return openvino_profile.timed(open_profiled, row_of, plain=self.invoke, runs=runs)

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Inputs are used in place, by a model compiled for exactly these shapes."""
        self._request = self._request_for(tuple(feeds[name].shape for name in self._inputs))
        self._restore_outputs()
        self._feeds = feeds  # the request points into these arrays
        for name in self._inputs:
            self._request.set_tensor(name, self._tensor(feeds[name], shared_memory=True))

    def place(self, results: Mapping[str, Array]) -> bool:
        """Outputs go where ``results`` are, where their shapes are known beforehand."""
        ports = self._request.get_compiled_model().outputs
        if self._device.plugin != "CPU" or any(port.get_partial_shape().is_dynamic for port in ports):
            return False
        self._own = {name: self._request.get_tensor(name) for name in self._outputs}
        self._placed = self._request
        for name in self._outputs:
            self._request.set_tensor(name, self._tensor(results[name], shared_memory=True))
        return True

    def _restore_outputs(self) -> None:
        """Give a request its own outputs back: those of ``place`` may be gone."""
        if self._placed is not None:
            for name, tensor in self._own.items():
                self._placed.set_tensor(name, tensor)
        self._placed, self._own = None, {}

    def invoke(self) -> None:
        """One inference; synchronous, no copy of the outputs."""
        self._request.infer(share_outputs=True)

    def took_ns(self) -> float:
        """The last inference by OpenVINO's own clock, as ``benchmark_app`` reports it.

        The Python package adds 5 us to each call for the way in and for views of the outputs: 6 % of a model
        of 80 us, and no part of what an application in C++ waits for.
        """
        return float(self._request.latency * 1e6)

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        return {name: self._request.get_tensor(name).data.copy() for name in self._outputs}

    def _device_and_heavy(self) -> tuple[str, set[str]]:
        """Where it runs, and the names of the model's operations that multiply."""
        compiled = self._request.get_compiled_model()
        device = ",".join(compiled.get_property("EXECUTION_DEVICES")).lower()
        kinds = {node.get_friendly_name(): node.get_type_name() for node in self._model.get_ops()}
        return device, {name for name, kind in kinds.items() if kind in _MULTIPLYING_OPERATIONS}

    def _first_shapes(self) -> Shapes:
        """Every open size as 1: the batch, nearly always."""
        shapes = (self._model.input(name).get_partial_shape() for name in self._inputs)
        return tuple(tuple(dim.get_length() if dim.is_static else 1 for dim in shape) for shape in shapes)

    def _request_for(self, shapes: Shapes) -> Any:
        if shapes not in self._requests:
            compiled = self._core.compile_model(self._static(shapes), self._device.plugin, self._config)
            self._requests[shapes] = compiled.create_infer_request()
            if len(self._requests) > _KEPT_SHAPES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shapes)
        return self._requests[shapes]

    def _static(self, shapes: Shapes) -> Any:
        if not self._model.is_dynamic():
            return self._model
        static = self._model.clone()
        try:
            static.reshape(dict(zip(self._inputs, map(list, shapes), strict=True)))
        except RuntimeError:  # OpenVINO raises nothing finer; a size of 1 may be illegal inside the model
            return self._model
        return static


def convert(onnx_path: str, xml_path: str) -> dict[str, str]:
    """ONNX file -> IR: ``xml_path`` and the ``.bin`` beside it, weights as they are; for a fresh worker.

    The names of constants are numbered by process, so only a fresh process gives the same bytes each time.
    ``read_model`` and not ``convert_model``: the latter writes the path of the source into the IR.

    Returns:
        "version": of OpenVINO; "names": the names of all inputs and outputs, joined by newlines.
    """
    openvino = imported()
    model = openvino.Core().read_model(onnx_path)
    openvino.save_model(model, xml_path, compress_to_fp16=False)
    names = sorted(name for port in (*model.inputs, *model.outputs) for name in port.get_names())
    return {"version": openvino.get_version(), "names": "\n".join(names)}


def device_facts(device: str) -> dict[str, str]:
    """Called in a worker: what ``device`` is, or why it is not there.

    Raises:
        MissingBackendError: it is not (``openvino_device.ready``).
    """
    openvino = imported()
    return ready(openvino, openvino.Core(), RunOptions(device=device)).facts


def imported() -> Any:
    """The module ``openvino``.

    Raises:
        MissingBackendError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("openvino", "openvino", needed_for="the OpenVINO back end") from error
    return openvino


def read_ir(core: Any, path: Path) -> Any:
    """The model of an IR, not compiled.

    Raises:
        ModelFileError: it is none.
    """
    try:
        return core.read_model(str(path))
    except RuntimeError as error:  # OpenVINO raises nothing finer
        raise ModelFileError(
            f"{path.name} is not a readable OpenVINO IR",
            why=str(error).strip(),
            remedy="compile it again; the .xml needs its .bin beside it",
        ) from error


def _streams(config: Mapping[str, Any]) -> dict[str, str]:
    """A fact where several inferences may run at once."""
    streams = str(config.get("NUM_STREAMS", "1"))
    return {} if streams == "1" else {"streams": streams}


def _kernels(compiled: Any) -> str:
    """What executes, counted: "brgconv_avx512_I8:2 jit_avx512_f32:1"; constants and reshapes left out."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if compiled_text(info, "layerType") not in _NO_KERNEL:
            counts[compiled_text(info, "primitiveType")] += 1
    return " ".join(f"{name}:{count}" for name, count in sorted(counts.items()) if name)


def _executed(info: Any, device: str, heavy: set[str]) -> dict[str, Any]:
    """A row of ``spec.Executed``; ``runtimePrecision`` is the type that the kernel computes in.

    A Subgraph (code generated for a chain of operators) has one type for all of the chain: products in it
    may well be integer where it says f32, so nothing is said.
    """
    kind, precision = compiled_text(info, "layerType"), compiled_text(info, "runtimePrecision")
    names = [name for name in compiled_text(info, "originalLayersNames").split(",") if name]
    return {
        "names": names,
        "operator": kind,
        "device": device,
        "precision": "" if kind == "Subgraph" else _PRECISIONS.get(precision, precision),
        "multiplies": kind in _MULTIPLYING or bool(heavy.intersection(names)),
    }


def compiled_text(info: Any, key: str) -> str:
    """An entry of a node of the execution graph; "" where it has none."""
    return str(info[key].astype(str)) if key in info else ""


def _type_name(element_type: Any) -> str:
    return str(element_type.get_type_name())
