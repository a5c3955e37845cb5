"""Model with integer weights -> whether they are so few that float kernels are faster on them.

    small: 4 bytes x elements of all weights behind DequantizeLinear <= SMALL_BYTES

A kernel that reads integer weights saves memory traffic and pays for turning them into floats in each
inference. While the float weights of a whole model stay in a core's cache there is nothing to save: chains
of four products with 4-bit weights, one row, took 1.6 times float's time at 256 x 256 (1 MiB) and 0.5 at
512 x 512 (4 MiB) on ONNX Runtime, 1.4 and 0.3 on OpenVINO (Xeon with AMX, ONNX Runtime 1.31, OpenVINO
2026.4, computing in float32). So the weights of small models are integers in the file alone: the runtime
makes floats of them while it loads.

Source: measured; 1 MiB is half the second-level cache of that core.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.ir.graph import constant, is_onnx
from edgekit.spec import Precision

SMALL_BYTES = 2**20
WEIGHT_ONLY = frozenset({Precision.W8, Precision.W4})
_FLOAT_BYTES = 4


def is_small(model: ir.Model) -> bool:
    """Whether the float form of all integer weights of ``model`` has ``SMALL_BYTES`` at most."""
    stored = {
        node.inputs[0].name: node.inputs[0]
        for node in model.graph
        if is_onnx(node, "DequantizeLinear") and node.inputs[0] is not None
    }
    arrays = [array for array in map(constant, stored.values()) if array is not None]
    return bool(arrays) and _FLOAT_BYTES * sum(array.size for array in arrays) <= SMALL_BYTES
