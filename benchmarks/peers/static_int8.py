"""Float .onnx -> int8 by ONNX Runtime or NNCF with calibration samples, each as its guide says.

python static_int8.py PRESET MODEL.onnx CALIBRATION.npz OUT, in an environment that has both

MinMax, Entropy, Percentile   onnxruntime.quantization: pre-processed, QDQ, per channel, uint8 x int8
onnx                          nncf.quantize of the ONNX model, default preset; OUT, and OUT's .xml beside it
openvino                      nncf.quantize of the OpenVINO model, default preset
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

preset, source, data, out = sys.argv[1:]
arrays = dict(np.load(data))
count = len(next(iter(arrays.values())))
samples = [{name: array[row : row + 1] for name, array in arrays.items()} for row in range(count)]


def by_onnxruntime() -> None:
    """One of ONNX Runtime's calibration methods."""
    from onnxruntime import quantization as ortq
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(ortq.CalibrationDataReader):  # type: ignore[misc]  # the peer's own class
        """Gives the samples one by one."""

        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    prepared = Path(out).with_suffix(".prepared.onnx")
    try:
        quant_pre_process(source, str(prepared))
    except Exception:  # noqa: BLE001  # symbolic shape inference gives up on some graphs: its guide's way out
        quant_pre_process(source, str(prepared), skip_symbolic_shape=True)
    ortq.quantize_static(
        str(prepared),
        out,
        Reader(),
        quant_format=ortq.QuantFormat.QDQ,
        per_channel=True,
        activation_type=ortq.QuantType.QUInt8,
        weight_type=ortq.QuantType.QInt8,
        calibrate_method=getattr(ortq.CalibrationMethod, preset),
    )
    prepared.unlink()


def by_nncf() -> None:
    """NNCF's default preset, all samples."""
    os.environ.setdefault("CI", "true")  # NNCF sends no telemetry there

    import nncf
    import openvino

    dataset = nncf.Dataset(samples)
    if preset == "onnx":
        import onnx

        made = nncf.quantize(onnx.load(source), dataset, subset_size=count)
        onnx.save(made, out)
        openvino.save_model(
            openvino.convert_model(out), str(Path(out).with_suffix(".xml")), compress_to_fp16=False
        )
        return
    made = nncf.quantize(openvino.convert_model(source), dataset, subset_size=count)
    openvino.save_model(made, out, compress_to_fp16=False)


if preset in {"onnx", "openvino"}:
    by_nncf()
else:
    by_onnxruntime()
