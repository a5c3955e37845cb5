"""Precision x model with integer weights -> its form, and the run options that make OpenVINO compute it so.

    w8, w4    DYNAMIC_QUANTIZATION_GROUP_SIZE = 0     activations stay float
    dynamic   DYNAMIC_QUANTIZATION_GROUP_SIZE = g     symmetric int8, one scale per g values of a row
    bf16      INFERENCE_PRECISION_HINT = bf16         the float file; products of bfloat16, sums of float32
    fp16      INFERENCE_PRECISION_HINT = f16          on a GPU; what stays float beside integers too
    fp32      INFERENCE_PRECISION_HINT = f32          on devices whose other precisions have another hint
    w8a8      CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE   where int8 weights are mostly zero (O3)

The graph keeps DequantizeLinear: OpenVINO reads it as compressed weights. That of w8 and w4 of a small
model is written otherwise, and folded (``openvino_small_weights``).

O1 g is the first of ``GROUPS`` that divides the sum of every such product.
O2 64 comes first: six layers of 384 took 0.48 of float's time (0.57 with 32, 0.45 with 128), and the error
   was that of the weights alone (128: 1.3 times it); on an AMD EPYC with AVX512-VNNI, OpenVINO 2026.4.
O3 with it the plug-in packs weights of int8 products of which a larger part is zero, and unpacks them on the
   way to the tiles of AMX: fewer bytes are read, and the numbers are the same. On CPUs without AMX, and for
   products it does not take (floats, convolutions), it changes nothing.

Source: docs.openvino.ai, "Dynamic quantization" (ov::hint::dynamic_quantization_group_size).
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgekit.backends.openvino_device import HINT
from edgekit.backends.openvino_short_constants import with_short_constants
from edgekit.backends.openvino_small_weights import with_foldable_weights
from edgekit.backends.requantized_bytes import with_requantized_bytes
from edgekit.backends.small_weights import WEIGHT_ONLY, is_small
from edgekit.backends.zero_weights import terms_of
from edgekit.ir.graph import constant, is_onnx, shape_of
from edgekit.spec import Precision, RunOptions

GROUP_SIZE = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
GROUPS = (64, 32)
SPARSE_RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
MOSTLY_ZERO = 0.7  # O3: benchmarks/results/sparsity.json, "openvino"

_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.FP16: "f16"}


def lowered(model: ir.Model, precision: Precision) -> ir.Model:
    """The form of ``model`` that OpenVINO gets; the model itself where there is nothing to lower."""
    if precision.is_static:
        return with_short_constants(with_requantized_bytes(model, "in place"))
    return with_foldable_weights(model) if precision in WEIGHT_ONLY and is_small(model) else model


def options_for(model: ir.Model, precision: Precision, options: RunOptions) -> RunOptions:
    """``options`` with what ``precision`` needs; the same for precisions without integer weights."""
    if precision is Precision.BF16 or (precision in _HINTS and options.device != "cpu"):
        settings = {**dict(options.settings), HINT: _HINTS[precision]}
        return replace(options, settings=tuple(sorted(settings.items())))
    if precision.is_static and options.device == "cpu" and _mostly_zero(model):
        settings = {SPARSE_RATE: str(MOSTLY_ZERO), **dict(options.settings)}
        return replace(options, settings=tuple(sorted(settings.items())))
    if precision in WEIGHT_ONLY:
        group = 0
    elif precision is Precision.DYNAMIC:
        depths = _depths(model)
        group = next((size for size in GROUPS if all(depth % size == 0 for depth in depths)), 0)
    else:
        return options
    settings = {**dict(options.settings), GROUP_SIZE: str(group)}
    return replace(options, settings=tuple(sorted(settings.items())))


def on_stand_in(options: RunOptions) -> RunOptions:
    """``options`` for a CPU in place of the device that is not here: everything in float32.

    A CPU that does not multiply bfloat16 simulates it or refuses it, and float16 likewise.
    """
    settings = {**dict(options.settings), HINT: "f32"}
    return replace(options, device="cpu", settings=tuple(sorted(settings.items())))


def _mostly_zero(model: ir.Model) -> bool:
    """O3."""
    return any(
        each.is_int8 and each.node.op_type != "Conv" and each.zeros > MOSTLY_ZERO for each in terms_of(model)
    )


def _depths(model: ir.Model) -> tuple[int, ...]:
    """How many terms the sums of products with integer weights have."""
    found = []
    for node in model.graph:
        weight = node.inputs[1] if is_onnx(node, "MatMul", "Gemm") else None
        maker = None if weight is None else weight.producer()
        if maker is None or not is_onnx(maker, "DequantizeLinear") or constant(maker.inputs[0]) is None:
            continue
        depth = (shape_of(weight) or ())[0 if node.op_type == "MatMul" else 1]
        found.append(depth or 1)
    return tuple(found)
