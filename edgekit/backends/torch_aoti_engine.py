""".pt2 file -> AOTInductor's compiled model on a GPU, or the program on the CPU, inside the worker.

    bind:    feeds --copy--> tensors on the device, at fixed addresses; CUDA graph captured once per shapes
    invoke:  replay, or call; waits until the GPU is done
    fetch:   outputs --copy--> arrays

What is timed is ``invoke``: inputs lie on the device and outputs stay there (I1), as in a pipeline whose
other parts run on the GPU too. With the setting ``io.memory = "host"`` the copies of inputs and outputs are
part of it (I2). Settings:

    cuda.graph   "1" captures the kernels once and replays them: one launch in place of one for each kernel
    io.memory    "device" (I1) or "host" (I2)
    torch.package   what the file holds: "program" or "kernels" (``torch_package``)
    torch.layout "nhwc": weights of convolutions lie channels-last in the file
    inductor.*   how the program is compiled where it was not yet: on first opening, kept in the cache folder

Source: CUDA C++ Programming Guide, CUDA graphs; PyTorch, torch.cuda.CUDAGraph.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import settings as environment
from edgekit.backends import torch_package
from edgekit.backends.torch_device import gpu_facts, torch_on
from edgekit.backends.torch_kept import kept
from edgekit.errors import InputError
from edgekit.spec import RunOptions

if TYPE_CHECKING:
    from edgekit.spec import Array

_WARM_UP = 3  # calls before a capture: libraries choose algorithms and take their workspaces in the first
_GRAPHS = 8  # shapes with a graph of their own; each holds its tensors on the device
_SETTINGS = {
    "cuda.graph": ("0", "1"),
    "io.memory": ("device", "host"),
    torch_package.LAYOUT: ("nchw", "nhwc"),
    torch_package.PACKAGE: ("program", "kernels"),
}


class TorchAotiEngine:
    """``backends.engine.Engine`` for ``.pt2`` files on "cuda" or "cpu"."""

    def __init__(
        self, path: Path, options: RunOptions, input_names: list[str], output_names: list[str]
    ) -> None:
        self._settings = checked(dict(options.settings))
        self._torch = torch = torch_on(options.device)
        torch.set_num_threads(options.threads)
        torch.backends.cudnn.allow_tf32 = False  # fp32 means float32; torch's own default rounds to 10 bits
        self._device, self._inputs, self._outputs = options.device, input_names, output_names
        self.facts = {
            "runtime": "torch",
            "version": torch.__version__,
            "device": options.device,
            "threads": str(options.threads),
        }
        if options.device == "cuda":
            self.facts |= gpu_facts(torch)
            self.facts["cuda graph"] = "yes" if self._graphs else "no"
            self.facts["timed"] = "with copies" if self._host else "on the device"
        self._model = self._opened(path)
        self._slots: dict[object, _Slot] = {}
        self._slot: _Slot | None = None

    @classmethod
    def prepare(cls) -> None:
        """Load the runtime."""
        torch_on("cpu")

    @property
    def _graphs(self) -> bool:
        return self._device == "cuda" and self._settings.get("cuda.graph") == "1"

    @property
    def _host(self) -> bool:
        return self._settings.get("io.memory") == "host"

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy the inputs to where they stay; a graph is captured where these shapes are new."""
        torch = self._torch
        arrays = [torch.from_numpy(feeds[name]) for name in self._inputs]
        key = tuple((tuple(each.shape), each.dtype) for each in arrays)
        slot = self._slots.get(key)
        if slot is None:
            slot = _Slot([each.to(self._device, copy=True) for each in arrays])
            if self._graphs and len(self._slots) < _GRAPHS:
                self._capture(slot)
                self._slots[key] = slot
        slot.hosts = arrays
        for tensor, array in zip(slot.inputs, arrays, strict=True):
            tensor.copy_(array)
        self._slot = slot

    def place(self, results: Mapping[str, Array]) -> bool:
        """Outputs lie on the device."""
        del results
        return False

    def invoke(self) -> None:
        """One inference."""
        slot = self._bound()
        if self._host:
            for tensor, array in zip(slot.inputs, slot.hosts, strict=True):
                tensor.copy_(array, non_blocking=True)
        if slot.replay is not None:
            slot.replay()
        else:
            slot.outputs = self._call(slot)
        if self._host:
            slot.copies = [each.cpu() for each in slot.outputs]
        elif self._device == "cuda":
            self._torch.cuda.current_stream().synchronize()

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        found = [each.detach().cpu().contiguous().numpy() for each in self._bound().outputs]
        return dict(zip(self._outputs, found, strict=True))

    def _bound(self) -> _Slot:
        if self._slot is None:
            raise InputError("the engine has no feeds: bind comes first")
        return self._slot

    def _call(self, slot: _Slot) -> list[Any]:
        with self._torch.inference_mode():
            results = self._model(*slot.inputs)
        return list(results) if isinstance(results, tuple | list) else [results]

    def _capture(self, slot: _Slot) -> None:
        torch = self._torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._call(slot)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            slot.outputs = self._call(slot)
        slot.replay = graph.replay

    def _opened(self, path: Path) -> Callable[..., Any]:
        """The callable of the file; a program is compiled first where a GPU is wanted."""
        torch, capability = self._torch, self.facts.get("capability", "")
        found = torch_package.compiled_for(path)
        if found is not None:
            torch_package.hold_to_device(path, found, self._device, capability)
            self.facts["kernels"] = "AOTInductor"
            return _loaded(torch, path, alone=self._graphs)
        if self._device == "cpu":
            self.facts["kernels"] = "PyTorch's own, one by one: numerics only"
            model: Callable[..., Any] = torch.export.load(str(path)).module()
            return model
        settings = self._settings

        def compile_it(out: Path) -> None:
            begin = time.perf_counter()
            torch_package.compile_file(str(path), str(out), device=self._device, settings=settings)
            self.facts["compiled here"] = f"{time.perf_counter() - begin:.0f} s"

        package = kept(_entry_of(path, torch, self.facts, settings), compile_it)
        self.facts["kernels"] = "AOTInductor"
        return _loaded(torch, package, alone=self._graphs)


class _Slot:
    """Tensors of one set of shapes, and the graph over them."""

    def __init__(self, inputs: list[Any]) -> None:
        self.inputs = inputs
        self.hosts: list[Any] = []
        self.outputs: list[Any] = []
        self.copies: list[Any] = []
        self.replay: Callable[[], None] | None = None


def checked(settings: dict[str, str]) -> dict[str, str]:
    """``settings``, all known.

    Raises:
        InputError: one is not, or has another value.
    """
    for name, value in settings.items():
        if name.startswith(torch_package.INDUCTOR):
            continue
        if value not in _SETTINGS.get(name, ()):
            known = ", ".join(f"{each} ({' or '.join(values)})" for each, values in _SETTINGS.items())
            raise InputError(
                f"unknown setting {name} = {value!r}",
                why=f"this target has {known} and {torch_package.INDUCTOR}*",
                remedy="correct [run.settings] of the target",
            )
    return settings


def _loaded(torch: Any, path: Path, *, alone: bool) -> Callable[..., Any]:
    """``alone``: without the events that keep threads apart, which a capture does not allow."""
    found: Callable[..., Any] = torch._inductor.aoti_load_package(str(path), run_single_threaded=alone)
    return found


def _entry_of(path: Path, torch: Any, facts: Mapping[str, str], settings: Mapping[str, str]) -> Path:
    """Where the compiled form of a program is kept: by its bytes, PyTorch, the GPU and the options."""
    sha = hashlib.sha256(path.read_bytes())
    options = sorted(
        (key, value) for key, value in settings.items() if key.startswith(torch_package.INDUCTOR)
    )
    sha.update(repr((torch.__version__, facts.get("gpu"), options)).encode())
    return environment.cache_dir() / "aoti" / sha.hexdigest()[:32]
