"""50 candidates with no fault in them: models x runtimes x precisions x calibration methods x restoration.

    w8a8, minmax, unrestored     every model on every CPU runtime
    other methods                percentile, entropy, mse: they clip on purpose, and that must not be
    called a fault
    restored                     what `edgekit quantize` makes with default flags: channels scaled, biases
    corrected w8, fp32, w8a16              integers in weights alone, none at all, and of 16 bits

All lose at most what rounding costs (models/README.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from benchmarks.faults.subjects import Subject
from edgekit import target as targets
from edgekit.pipeline import ranges as calibration
from edgekit.pipeline import variant
from edgekit.pipeline.prepare import Prepared, prepare
from edgekit.pipeline.scheme import Scheme
from edgekit.quantization.restore.restoration import Restoration
from edgekit.spec import Precision, Silent

RUNTIMES = ("onnxruntime-cpu", "litert-cpu", "openvino-cpu")
EVERYWHERE = (
    *("digits_cnn", "digits_keras", "digits_autoencoder", "digits_detector", "digits_unet", "ds_cnn"),
    *("image_cnn_tf", "resnet8", "mobilenet_cifar", "tabular_mlp"),
)
ONNX_ONLY = ("text_bert", "text_attention", "text_lstm", "recommender")
METHODS = ("percentile:99.99", "entropy", "mse")


@dataclass(frozen=True)
class Healthy:
    """One candidate.

    Attributes:
        restore: as in the recipe.
    """

    subject: str
    target: str
    precision: Precision = Precision.W8A8
    method: str = "minmax"
    restore: Literal["none", "auto"] = "none"

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.subject} | {self.target} | {self.precision} | {self.method} | restore {self.restore}"


def healthy() -> Iterator[Healthy]:
    """All 50."""
    onnx, litert, openvino = RUNTIMES
    for name in EVERYWHERE:
        for runtime in RUNTIMES:
            yield Healthy(name, runtime)
    for name in ONNX_ONLY:
        yield Healthy(name, onnx)
    for name, runtime in (("digits_cnn", onnx), ("digits_keras", litert)):
        for method in METHODS:
            yield Healthy(name, runtime, method=method)
    for name, runtime in (
        *(("digits_cnn", onnx), ("digits_keras", litert), ("ds_cnn", openvino)),
        *(("resnet8", litert), ("image_cnn_tf", onnx), ("tabular_mlp", onnx)),
    ):
        yield Healthy(name, runtime, restore="auto")
    yield Healthy("digits_cnn", onnx, precision=Precision.FP32)
    yield Healthy("digits_keras", litert, precision=Precision.FP32)
    yield Healthy("text_bert", onnx, precision=Precision.W8)
    yield Healthy("digits_keras", openvino, precision=Precision.FP32)


def made(each: Healthy, subject: Subject) -> ir.Model:
    """The form that is compiled."""
    target = targets.load(each.target)
    prepared = None
    if each.precision.is_static and each.restore == "auto":
        prepared = prepare(
            subject.canonical,
            subject.data,
            method=each.method,
            restore="auto",
            cache=subject.cache,
            progress=Silent(),
        )
    elif each.precision.is_static:
        found = calibration.obtain(
            subject.canonical, subject.data, method=each.method, cache=subject.cache, progress=Silent()
        )
        prepared = Prepared(subject.model, found.ranges, Restoration())
    return variant.make(subject.canonical, target, Scheme(each.precision), prepared).model
