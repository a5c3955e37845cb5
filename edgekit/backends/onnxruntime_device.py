"""Arrays -> inputs and outputs of an ONNX Runtime session in the memory of a GPU.

    bind:    feeds --copy--> device memory at fixed addresses; outputs get theirs after a first run
    invoke:  run on what lies there
    fetch:   outputs --copy--> arrays

I1 io.memory = "device": ``invoke`` copies nothing: a pipeline whose other parts are on the GPU pays this
I3 WebGPU: ``run`` returns when the kernels are handed over, and binding.synchronize_outputs() waits for
   nothing (plug-in 0.4.0: 0.3 ms for an inference of 140 ms). Its queue is in order, so ``invoke`` reads the
   smallest output, which waits for everything
I2 io.memory = "host": ``invoke`` copies inputs there and outputs back: a pipeline that lives on the CPU does
G1 cuda.graph: each set of shapes gets a graph of its own under its number ("gpu_graph_id"): a replay with the
   addresses of other shapes would compute on what they left behind. The run that finds the outputs' shapes is
   outside any graph (-1), and so are shapes beyond the first GRAPHS.

Source: onnxruntime.ai, "CUDA execution provider", "Using CUDA Graphs"; onnxruntime_run_options_config_keys.h.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.spec import Array

GRAPHS = 8  # each holds its tensors on the device
_CAPTURING_RUNS = 3  # the provider warms up, then captures, in the first runs of a number
_OUTSIDE = "-1"


class DeviceBinding:
    """Inputs and outputs of one session on the device of its provider.

    Args:
        ort: the module onnxruntime.
        session: on the GPU.
        names: of inputs and of outputs.
        memory: "cuda" or "webgpu", as OrtValue calls it.
        graph: G1.
        host: I2 in place of I1.
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        names: tuple[list[str], list[str]],
        *,
        memory: str = "cuda",
        graph: bool,
        host: bool,
    ) -> None:
        self._ort, self._session, self._memory = ort, session, memory
        self._inputs, self._outputs = names
        self._graph, self._host = graph, host
        self._slots: dict[object, _Slot] = {}
        self._slot: _Slot | None = None

    def bind(self, feeds: Mapping[str, Array]) -> None:
        """Copy ``feeds`` to the device; shapes that are new are run once."""
        key = tuple((feeds[name].shape, feeds[name].dtype.str) for name in self._inputs)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._made(feeds)
            if len(self._slots) < GRAPHS:
                self._slots[key] = slot
        slot.feeds = feeds
        for name in self._inputs:
            slot.inputs[name].update_inplace(feeds[name])
        self._slot = slot

    def _made(self, feeds: Mapping[str, Array]) -> _Slot:
        inputs = {
            name: self._ort.OrtValue.ortvalue_from_numpy(feeds[name], self._memory, 0)
            for name in self._inputs
        }
        outside = self._ort.RunOptions()
        if self._graph:
            outside.add_run_config_entry("gpu_graph_id", _OUTSIDE)
        first = self._session.io_binding()
        for name, value in inputs.items():
            first.bind_ortvalue_input(name, value)
        for name in self._outputs:
            first.bind_output(name, self._memory)
        self._session.run_with_iobinding(first, outside)
        outputs = first.get_outputs()
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        run = outside
        if self._graph and len(self._slots) < GRAPHS:
            run = self._ort.RunOptions()
            run.add_run_config_entry("gpu_graph_id", str(len(self._slots) + 1))
        slot = _Slot(inputs, outputs, binding, run)
        if self._graph:
            for _ in range(_CAPTURING_RUNS):
                self._session.run_with_iobinding(binding, run)
        return slot

    def invoke(self) -> None:
        """One inference; returns when the GPU is done (CUDA by itself, WebGPU by I3)."""
        slot = self._bound()
        if self._host:
            for name, value in slot.inputs.items():
                value.update_inplace(slot.feeds[name])
        self._session.run_with_iobinding(slot.binding, slot.run)
        if self._host:
            slot.copies = [each.numpy() for each in slot.outputs]
        elif self._memory == "webgpu":
            slot.smallest.numpy()  # I3

    def fetch(self) -> dict[str, Array]:
        """Copies of the outputs."""
        return {name: each.numpy() for name, each in zip(self._outputs, self._bound().outputs, strict=True)}

    def _bound(self) -> _Slot:
        assert self._slot is not None  # noqa: S101  the worker binds before it runs
        return self._slot


class _Slot:
    """What one set of shapes has on the device."""

    def __init__(self, inputs: dict[str, Any], outputs: list[Any], binding: Any, run: Any) -> None:
        self.inputs, self.outputs, self.binding, self.run = inputs, outputs, binding, run
        self.smallest = min(outputs, key=lambda each: math.prod(each.shape()))
        self.feeds: Mapping[str, Array] = {}
        self.copies: list[Array] = []
