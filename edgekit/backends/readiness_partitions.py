"""Graph x nodes that a provider takes -> into how many parts the graph falls there.

    ready nodes that are taken join the open part; when only others are ready, the part is closed,
    the others are passed, and the next part begins

Every part is a call into the provider, with its inputs and outputs copied. The same walk as ONNX Runtime's
(core/providers/partitioning_utils.cc, CreateSupportedPartitionNodeGroups), whose tool
``onnxruntime.tools.check_onnx_model_mobile_usability`` the tests compare with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

import onnx_ir as ir

from edgekit.ir.graph import subgraphs


def partitions(graph: ir.Graph, taken: AbstractSet[ir.Node]) -> int:
    """How many groups of ``taken`` nodes there are; 0 where none is taken."""
    readers = _readers(graph)
    waits = dict.fromkeys(readers, 0)
    for found in readers.values():
        for reader in found:
            waits[reader] += 1
    ready = deque(node for node, count in waits.items() if not count)
    later: deque[ir.Node] = deque()
    border: set[ir.Node] = set()
    count, is_open = 0, False
    while ready or later:
        if not ready:
            count, is_open = count + is_open, False
            border.clear()
            ready, later = later, deque()
            continue
        node = ready.popleft()
        if node not in taken and node in border:
            later.append(node)  # behind the part: passed when that is closed
            continue
        if node in taken:
            is_open = True
            border.discard(node)
            border.update(readers[node])
        for reader in readers[node]:
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    return count + is_open


def _readers(graph: ir.Graph) -> dict[ir.Node, dict[ir.Node, None]]:
    """Each node with the nodes that wait for it; what the body of control flow reads, its owner waits for."""
    found: dict[ir.Node, dict[ir.Node, None]] = {node: {} for node in graph}
    for node in graph:
        for value in _read(node):
            maker = value.producer() if value is not None else None
            if maker is not None and maker in found:
                found[maker][node] = None
    return found


def _read(node: ir.Node) -> Iterator[ir.Value | None]:
    yield from node.inputs
    for body in subgraphs(node):
        for inner in body:
            yield from _read(inner)
        yield from body.outputs
