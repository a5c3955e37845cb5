"""A .tflite file -> LiteRT's C interface with its profiler on -> the events of each inference.

    libLiteRt.so of ai-edge-litert:  LiteRtCreateCompiledModel (enable_profiling) -> LiteRtRunCompiledModel
                                     -> LiteRtGetProfilerEvents

The Python interpreter has no profiler; the shared library in the same package does, and reports what XNNPACK
spends on each of its operators. The interface is LiteRT's published C API (litert/c/*.h); options travel as
TOML under the identifiers "runtime_options_string" and "xnnpack" (litert/c/options/*.cc). Nothing of
it is promised to stay, so everything is checked:

N1 a function that the library does not have                -> refused
N2 a function that does not return kLiteRtStatusOk          -> refused, with its name and status; a file that
   is "unsupported" by itself: this interface loads no tensors that keep a state between inferences
N3 an event that is not 104 bytes long (found by writing into a marked buffer)          -> refused

A wrong call could crash: use it in a process of its own.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingBackendError

if TYPE_CHECKING:
    from edgekit.spec import Array

_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE, _KERNEL_MODE_BUILTIN = 1, 2  # kLiteRtTensorBufferLockModeWrite, kLiteRtCpuKernelModeBuiltin
_EVENT_BYTES = 104  # sizeof(ProfiledEventData) of LiteRT 2.1 to 2.3
_ROOM = 4  # times that, for N3
_MARK = 0xAB
_UNSUPPORTED = 5  # kLiteRtStatusErrorUnsupported

# tflite::Profiler::EventType
OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED = 1 << 1, 1 << 2, 1 << 3

_Handle = ctypes.c_void_p


class _Layout(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_uint32, 7),
        ("has_strides", ctypes.c_uint32, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (("element", ctypes.c_int32), ("layout", _Layout))


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("index", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


@dataclass(frozen=True, slots=True)
class Event:
    """One call of a kernel.

    Attributes:
        tag: the operator ("CONV_2D"), or XNNPACK's name of its own ("Convolution (NHWC, F32) IGEMM").
        delegated: whether it is one of the delegate's own operators.
        index: place in the file's operators, or in the delegate's.
        us: whole microseconds.
    """

    tag: str
    delegated: bool
    index: int
    us: int


class NativeModel:
    """A compiled model with a profiler; lives as long as its process."""

    def __init__(self, path: Path, *, threads: int, builtin: bool) -> None:
        """Compile the file at ``path``.

        Raises:
            MissingBackendError: the library is not there, or is not the one that is known (N1, N2).
        """
        self._library = _library()
        self._kept: list[Any] = []  # what the library points into
        self._environment = self._made("LiteRtCreateEnvironment", 0, None)
        self._model = self._made("LiteRtCreateModelFromFile", self._environment, str(path).encode())
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        self._add(options, "runtime_options_string", "enable_profiling = true\n")
        mode = f"kernel_mode = {_KERNEL_MODE_BUILTIN}\n" if builtin else ""
        self._add(options, "xnnpack", f"num_threads = {threads}\n{mode}")
        self._compiled = self._made("LiteRtCreateCompiledModel", self._environment, self._model, options)
        self._signature = self._made("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._compiled)

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy ``feeds`` (by the tensors' names) in.

        Raises:
            MissingBackendError: a tensor is not one of the signature's, or has another size.
        """
        for name, (buffer, size) in self._inputs.items():
            data = np.ascontiguousarray(feeds[name]).tobytes() if name in feeds else b""
            if len(data) != size:
                raise _refused(f"input {name!r} holds {size} bytes, and {len(data)} were given")
            address = self._made("LiteRtLockTensorBuffer", buffer, after=(_WRITE,))
            ctypes.memmove(address, data, size)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def invoke(self) -> None:
        """One inference."""
        inputs, outputs = (
            (_Handle * len(each))(*(buffer for buffer, _ in each.values()))
            for each in (self._inputs, self._outputs)
        )
        self._call(
            "LiteRtRunCompiledModel",
            self._compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(inputs)),
            inputs,
            ctypes.c_size_t(len(outputs)),
            outputs,
        )

    def start(self) -> None:
        """Forget all events and record from now on."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)

    def stop(self) -> list[Event]:
        """The calls of kernels since ``start``, in their order.

        Raises:
            MissingBackendError: N3.
        """
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        if not count.value:
            return []
        room = bytearray([_MARK]) * (count.value * _EVENT_BYTES * _ROOM)
        address = (ctypes.c_char * len(room)).from_buffer(room)
        self._call("LiteRtGetProfilerEvents", self._profiler, count.value, address)
        written = len(room.rstrip(bytes([_MARK])))
        # the last bytes of the last event may be padding that nobody writes
        if not (count.value - 1) * _EVENT_BYTES < written <= count.value * _EVENT_BYTES:
            raise _refused(f"{count.value} events take {written} bytes, not {_EVENT_BYTES} each")
        events = (_Event * count.value).from_buffer(room)
        if any(each.kind <= 0 or each.kind & (each.kind - 1) for each in events):
            raise _refused("its events are laid out otherwise: their kinds are none")
        return [
            Event(
                (each.tag or b"").decode("utf-8", "replace"),
                each.kind != OPERATOR,
                int(each.index),
                int(each.elapsed_us),
            )
            for each in events
            # what the body of an IF or WHILE does is in the time of that operator
            if each.kind in (OPERATOR, DELEGATE_OPERATOR, DELEGATE_PROFILED) and not each.subgraph
        ]

    def _buffers(self, kind: str) -> dict[str, tuple[Any, int]]:
        """Tensor name -> its buffer and size, for the inputs or the outputs."""
        count = ctypes.c_size_t()
        self._call(f"LiteRtGetNumSignature{kind}s", self._signature, ctypes.byref(count))
        found = {}
        for place in range(count.value):
            index = ctypes.c_size_t(place)
            tensor = self._made(f"LiteRtGetSignature{kind}TensorByIndex", self._signature, index)
            name = ctypes.c_char_p()
            self._call("LiteRtGetTensorName", tensor, ctypes.byref(name))
            shape = _TensorType()
            self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(shape))
            needs = self._made(
                f"LiteRtGetCompiledModel{kind}BufferRequirements", self._compiled, ctypes.c_size_t(0), index
            )
            buffer = self._made(
                "LiteRtCreateManagedTensorBufferFromRequirements",
                self._environment,
                ctypes.byref(shape),
                needs,
            )
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            found[(name.value or b"").decode("utf-8", "replace")] = (buffer, size.value)
        return found

    def _add(self, options: Any, identifier: str, toml: str) -> None:
        payload = ctypes.create_string_buffer(toml.encode())
        nothing = ctypes.CFUNCTYPE(None, _Handle)(lambda _: None)  # the payload is ours and stays
        self._kept += [payload, nothing]
        opaque = self._made(
            "LiteRtCreateOpaqueOptions", identifier.encode(), ctypes.cast(payload, _Handle), nothing
        )
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _made(self, name: str, *arguments: Any, after: Sequence[Any] = ()) -> Any:
        """What ``name`` writes into its last argument but those ``after``."""
        handle = _Handle()
        self._call(name, *arguments, ctypes.byref(handle), *after)
        return handle

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        if function is None:
            raise _refused(f"it has no function {name}")  # N1
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status == _UNSUPPORTED and name == "LiteRtCreateModelFromFile":
            raise MissingBackendError(
                "LiteRT's profiler does not take this file",
                why=f"{name} returned status {status}, unsupported: tensors that keep a state, as recurrent "
                "operators have, are none of its interface",
                remedy="profile the model on another runtime",
            )
        if status:
            raise _refused(f"{name} returned status {status}")  # N2


def _library() -> Any:
    package = importlib.util.find_spec("ai_edge_litert")
    folders = list(package.submodule_search_locations or ()) if package else []
    for folder in folders:
        path = Path(folder) / "libLiteRt.so"
        if path.is_file():
            return ctypes.CDLL(str(path))
    raise _refused("the package holds no libLiteRt.so")


def _refused(why: str) -> MissingBackendError:
    return MissingBackendError(
        "LiteRT's profiler cannot be used here",
        why=why,
        remedy="install the version of ai-edge-litert that edgekit names, or profile on another machine",
    )
