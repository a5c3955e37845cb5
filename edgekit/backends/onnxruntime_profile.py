"""ONNX Runtime session --profile of one inference--> the operators as they ran: kernel, provider, types.

The profile is the only account of what runs after all of the session's rewrites (fusion, QDQ transformation,
layouts, casts for types that a provider lacks). One "Node" event per kernel call:

    {"cat": "Node", "name": "<node>_kernel_time",
     "args": {"op_name", "provider", "input_type_shape": [{type: shape}, ...]}}

Source: onnxruntime.ai, "Performance: profiling tools"; onnxruntime/core/framework/sequential_executor.cc.
A node in a loop's body runs often and is listed once.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.spec import Array

_KERNEL = "_kernel_time"
_TOKEN = re.compile(r"_token_\d+$")  # what the session appends to the name of a node that it rewrote
# Kernels that multiply and accumulate (ir.macs, and what the session makes of those operators)
_MULTIPLYING = frozenset(
    {
        *("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger", "QLinearConv", "ConvTranspose", "DeformConv"),
        *("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "TransposeMatMul", "MatMulInteger"),
        *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "MatMulNBits", "Einsum"),
        *("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "Attention", "QAttention", "MultiHeadAttention"),
    }
)
# Kernels that compute in integers although their first input may be float
_INTEGER = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulIntegerToFloat"})
_TYPES = {"float": "float32", "double": "float64", "uint8": "int8", "uint16": "int16"}
_DEVICES = {"CPU": "cpu", "CUDA": "cuda", "Tensorrt": "cuda", "NvTensorRTRTX": "cuda"}


def executed(open_profiled: Callable[[Path], Any], feeds: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Rows of ``spec.Executed``, in the order of execution.

    Args:
        open_profiled: prefix of the profile's file -> a session that writes it.
        feeds: one inference's inputs.

    Raises:
        EdgekitError: nothing has been bound yet.
    """
    if not feeds:
        raise EdgekitError("the engine has no feeds: 'time' or 'run' comes first")
    with tempfile.TemporaryDirectory(prefix="edgekit-profile-") as folder:
        session = open_profiled(Path(folder) / "profile")
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL):
            row = row_of(str(event["name"]), event["args"])
            rows.setdefault((row["names"][0], row["operator"]), row)
    return list(rows.values())


def row_of(event: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """One event -> one row."""
    provider, operator = str(facts.get("provider", "")), str(facts.get("op_name", ""))
    short = provider.removesuffix("ExecutionProvider")
    return {
        "names": [_TOKEN.sub("", event.removesuffix(_KERNEL))],
        "operator": operator,
        "device": _DEVICES.get(short, short.lower()),
        "precision": _precision(operator, facts.get("input_type_shape", [])),
        "multiplies": operator in _MULTIPLYING,
    }


def _precision(operator: str, inputs: list[Mapping[str, Any]]) -> str:
    """The type of the first input, which is the activation's; some kernels quantize it themselves."""
    if operator in _INTEGER:
        return "int8"
    first = next((name for each in inputs for name in each), "")
    return _TYPES.get(first, first)
