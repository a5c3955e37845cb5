"""float .tflite of litert-torch -> int8 by the AI Edge Quantizer: static (w8a8, per channel) or dynamic.

python quantized.py FLOAT int8|dynamic CALIBRATION.npz OUT, in litert-torch's environment.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # noqa: TID253  # the peer's own process
from ai_edge_quantizer import quantizer, recipe

source, precision, data, out = sys.argv[1:]
if precision == "dynamic":
    quantizer.Quantizer(source, recipe.dynamic_wi8_afp32()).quantize().export_model(out)
    sys.exit()
((key, signature),) = Interpreter(source).get_signature_list().items()
arrays = dict(np.load(data))
if "image" in arrays:
    arrays = {"image": np.ascontiguousarray(arrays["image"].transpose(0, 2, 3, 1))}
else:
    arrays = {name: array.astype(np.int32) for name, array in arrays.items()}  # the file took int64 to int32
count = len(next(iter(arrays.values())))
samples = [
    {name: array[row : row + 1] for name, array in zip(signature["inputs"], arrays.values(), strict=True)}
    for row in range(count)
]
static = quantizer.Quantizer(source, recipe.static_wi8_ai8())
static.quantize(static.calibrate({key: samples})).export_model(out)
