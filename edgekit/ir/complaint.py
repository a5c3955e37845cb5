"""ONNX file -> the first sentence of the specification that it breaks, or "".

The reference checker with strict inference of types and shapes: what an operator must have, and whether sizes
and types agree. Slow (it sees every weight) and native: for a file that has given trouble already, in a
process of its own.

Beyond the checker: attributes that are flags hold 0 or 1. Other numbers are read by everybody in his own way.

Source: onnx.checker.check_model(full_check=True), onnx.shape_inference.infer_shapes(strict_mode=True).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = frozenset(
    [
        "keepdims",
        "noop_with_empty_axes",
        "select_last_index",
        "exclusive",
        "reverse",
        "transA",
        "transB",
        "allowzero",
        "ceil_mode",
        "count_include_pad",
        "largest",
        "sorted",
        "align_corners",
        "center_point_box",
        "is_causal",
        "linear_before_reset",
        "input_forget",
        "layout",
        "training_mode",
        "antialias",
        "upper",
        "saturate",
    ]
)
INSIDE_BYTES = 1 << 30  # a larger file is checked by its path alone: a message ends at 2 GB


def complaint_of_file(path: Path) -> str:
    """What is wrong with the file at ``path`` by the specification; "" where nothing is."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
        if path.stat().st_size < INSIDE_BYTES:
            proto = onnx.load(str(path), load_external_data=False)
            onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
            for node, attribute in _attributes(proto.graph):
                if attribute.name in FLAGS and attribute.HasField("i") and attribute.i not in (0, 1):
                    return f"{attribute.name} of a {node.op_type} is {attribute.i}, and it is a flag: 0 or 1"
    except Exception as error:  # noqa: BLE001  (the checker raises half a dozen kinds; each is its opinion)
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""


def _attributes(graph: Any) -> Iterator[tuple[Any, Any]]:
    """Every attribute with its node, of subgraphs too."""
    for node in graph.node:
        for attribute in node.attribute:
            yield node, attribute
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _attributes(inner)
