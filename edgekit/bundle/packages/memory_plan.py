"""Graph -> how large an arena TFLite Micro needs: an estimate, never a promise.

    arena = plan of the activations + what is kept beside them, rounded up to 1 KiB

Plan: each activation lives from the operator that writes it (an input of the graph: from the start) to the
last that reads it (an output: to the end). The largest goes to offset 0, then in order of size each to the
first gap between those that live at the same time; of equal ones the later tensor first. TFLite Micro's own
GreedyMemoryPlanner does so. Scratch buffers of optimized kernels (CMSIS-NN, Xtensa) are not in it.

Kept: structures of a 64-bit build, which a 32-bit one stays below. Source: micro_allocator.cc and
recording_micro_allocator.cc of tflite-micro; the constants were read off the recording allocator.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.bundle.packages.tflite_graph import TfliteGraph

ALIGNMENT_BYTES = 16  # MicroArenaBufferAlignment
EVAL_TENSOR_BYTES = 24  # TfLiteEvalTensor, 64 bits
NODE_BYTES = 64  # NodeAndRegistration, 64 bits
IO_TENSOR_BYTES = 64  # TfLiteTensor of an input or output
OPERATOR_DATA_BYTES = 128  # OpData of a convolution is 100 bytes; others are smaller
CHANNEL_BYTES = 8  # multiplier and shift of one output channel
INTERPRETER_BYTES = 1024  # allocators, planner, graph: 800 bytes were seen
_CHANNELED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})


@dataclass(frozen=True)
class MemoryPlan:
    """The parts of the estimate, in bytes."""

    activations: int
    kept: int

    @property
    def arena_bytes(self) -> int:
        """Their sum, rounded up to 1 KiB."""
        return -(-(self.activations + self.kept) // 1024) * 1024


def memory_plan(graph: TfliteGraph) -> MemoryPlan:
    """The estimate for a graph with fixed shapes."""
    lives = _lives(graph)
    sizes = {index: _aligned(graph.tensors[index].size_bytes) for index in lives}
    placed: list[tuple[int, int]] = []  # offset and tensor
    for index in sorted(lives, key=lambda each: (-sizes[each], -each)):
        first, last = lives[index]
        at = 0
        for offset, other in sorted(placed):
            start, end = lives[other]
            if start > last or end < first:
                continue
            if offset - at >= sizes[index]:
                break
            at = max(at, offset + sizes[other])
        placed.append((at, index))
    activations = max((offset + sizes[index] for offset, index in placed), default=0)
    return MemoryPlan(activations, _kept(graph))


def _lives(graph: TfliteGraph) -> dict[int, tuple[int, int]]:
    """First and last operator of each activation."""
    end = len(graph.operators) - 1
    lives: dict[int, tuple[int, int]] = dict.fromkeys(graph.inputs, (0, 0))
    for at, operator in enumerate(graph.operators):
        for index in operator.outputs:
            lives.setdefault(index, (at, at))
        for index in operator.inputs:
            if index in lives:
                lives[index] = (lives[index][0], at)
    for index in graph.outputs:
        if index in lives:
            lives[index] = (lives[index][0], max(end, 0))
    return lives


def _kept(graph: TfliteGraph) -> int:
    channels = sum(
        graph.tensors[operator.outputs[0]].shape[-1]
        for operator in graph.operators
        if operator.name in _CHANNELED and graph.tensors[operator.outputs[0]].shape
    )
    return (
        INTERPRETER_BYTES
        + EVAL_TENSOR_BYTES * len(graph.tensors)
        + (NODE_BYTES + OPERATOR_DATA_BYTES) * len(graph.operators)
        + CHANNEL_BYTES * channels
        + IO_TENSOR_BYTES * (len(graph.inputs) + len(graph.outputs))
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
