"""float.onnx + data -> NNCF's quantize_with_accuracy_control on OpenVINO: answers of its model, seconds.

    python nncf_control.py float.onnx calibration.npy evaluation.npz held_out.npy INPUT MAX_DROP OUT

Its answers on what is held out are asked for when the job is done.

Runs in the environment of the peer nncf. Imports and the conversion from ONNX are not in the seconds. Every
compiled model computes in float32 where it is not quantized: bfloat16, the plug-in's default on some CPUs,
would lose labels of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nncf
import numpy as np

HINT = ["runtime_options", "INFERENCE_PRECISION_HINT"]


def main() -> None:
    """See the module."""
    import openvino as ov

    source, calibration, evaluation, held_out, name, max_drop, out = sys.argv[1:]
    images = np.load(calibration)
    held = np.load(evaluation)
    model = ov.convert_model(source)
    model.set_rt_info("f32", HINT)
    counted = {"evaluations": 0}

    def validate(compiled: Any, data: Iterable[dict[str, Any]]) -> tuple[float, list[float]]:
        counted["evaluations"] += 1
        right = [float(compiled(each["x"])[0].argmax() == each["label"]) for each in data]
        return float(np.mean(right)), right

    def one(image: Any) -> dict[str, Any]:
        return {name: image[None]}

    pairs = [{"x": one(x), "label": label} for x, label in zip(held["x"], held["labels"], strict=True)]
    begin, used = time.perf_counter(), sum(os.times()[:4])
    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(images, one),
        validation_dataset=nncf.Dataset(pairs, lambda each: each["x"]),
        validation_fn=validate,
        max_drop=float(max_drop),
        subset_size=len(images),
    )
    seconds, used = time.perf_counter() - begin, sum(os.times()[:4]) - used
    ov.save_model(quantized, Path(out) / "nncf.xml", compress_to_fp16=False)
    compiled = ov.Core().compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = [int(compiled(pair["x"])[0].argmax()) for pair in pairs]
    kinds = [node.get_type_name() for node in quantized.get_ops()]
    found = {
        "seconds": seconds,
        "processor_seconds": used,
        "answers": answers,
        "held_out": [int(compiled(one(x))[0].argmax()) for x in np.load(held_out, mmap_mode="r")],
        "validations": counted["evaluations"],
        "fake_quantize": kinds.count("FakeQuantize"),
        "versions": {"nncf": nncf.__version__, "openvino": ov.__version__},
    }
    (Path(out) / "nncf.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
