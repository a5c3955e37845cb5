"""keras_models.py -> .tflite by TensorFlow's converter: float, full int8 or dynamic int8.

python from_keras.py NAME float|int8|dynamic CALIBRATION.npz OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf  # noqa: TID253  # the peer's own process
from keras_models import BUILDERS

name, precision, data, out = sys.argv[1:]
arrays = dict(np.load(data)) if precision == "int8" else {}
if "image" in arrays:
    columns = [arrays["image"].transpose(0, 2, 3, 1)]
else:
    columns = [array.astype(np.int32) for array in arrays.values()]
names = list(arrays)
converter = tf.lite.TFLiteConverter.from_keras_model(BUILDERS[name]())
if precision != "float":
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
if precision == "int8":
    rows = [[column[row : row + 1] for column in columns] for row in range(len(columns[0]))]
    samples = rows if len(names) == 1 else [dict(zip(names, row, strict=True)) for row in rows]
    converter.representative_dataset = lambda: iter(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
Path(out).write_bytes(converter.convert())
