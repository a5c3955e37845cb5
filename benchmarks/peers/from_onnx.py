"""Float .onnx -> int8 files of ONNX Runtime's quantizer and of NNCF; runs where ``nncf`` is installed.

    python from_onnx.py MAKER model.onnx samples.npz OUT

    ort         onnxruntime.quantization.quantize_static with its defaults, behind quant_pre_process
    ort-u8s8    the same with uint8 activations and int8 weights per channel
    nncf-onnx   nncf.quantize on the ONNX model
    nncf-ov     nncf.quantize on the OpenVINO model

NNCF's model type is TRANSFORMER where the model has integer inputs (ids), as its guide asks for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


class Samples:
    """``onnxruntime.quantization.CalibrationDataReader``: one sample after another."""

    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample, or None."""
        return next(self._left, None)


def main(maker: str, source: str, data: str, out: str) -> None:
    """Quantize ``source`` with ``maker``'s own recommended flow."""
    with np.load(data) as arrays:
        samples = [
            {name: arrays[name][index : index + 1] for name in arrays.files}
            for index in range(len(arrays[arrays.files[0]]))
        ]
    if maker.startswith("ort"):
        _onnxruntime(maker, source, samples, out)
    else:
        _nncf(maker, source, samples, out)


def _onnxruntime(maker: str, source: str, samples: list[dict[str, np.ndarray]], out: str) -> None:
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = str(Path(out).with_suffix(".prepared.onnx"))
    try:
        quant_pre_process(source, prepared)
    except (RuntimeError, TypeError):  # its symbolic shape inference does not know every operator
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
    options = {}
    if maker == "ort-u8s8":
        options = {
            "per_channel": True,
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
        }
    quantize_static(prepared, out, Samples(samples), **options)
    Path(prepared).unlink()


def _nncf(maker: str, source: str, samples: list[dict[str, np.ndarray]], out: str) -> None:
    os.environ["CI"] = "true"  # NNCF then sends no telemetry
    import nncf

    words = any(array.dtype == np.int64 for array in samples[0].values())
    options = {"model_type": nncf.ModelType.TRANSFORMER} if words else {}
    data = nncf.Dataset(samples)
    if maker == "nncf-ov":
        import openvino

        model = nncf.quantize(openvino.Core().read_model(source), data, **options)
        openvino.save_model(model, out)
        return
    import onnx

    onnx.save(nncf.quantize(onnx.load(source), data, **options), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
