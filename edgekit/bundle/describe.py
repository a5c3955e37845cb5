"""Facts of a bundle -> words: what the bill of materials, the model card and `edgekit inspect` say alike."""

from __future__ import annotations

from typing import Protocol

from edgekit.bundle.facts import DataFacts
from edgekit.bundle.manifest import Manifest
from edgekit.spec import Dim, IoBinding, Precision

_SCALES_SHOWN = 1


class _Tensor(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[Dim, ...]: ...


def sizes(shape: tuple[Dim, ...]) -> str:
    """``(batch, 1, 28, 28)``; "?" where nobody knows the size."""
    return f"({', '.join('?' if size is None else str(size) for size in shape)})"


def tensor_words(tensor: _Tensor, *, layout: str | None = None) -> str:
    """``image: float32 (batch, 1, 28, 28) NCHW``; the layout is the tensor's own unless one is given."""
    letters = getattr(tensor, "layout", "") if layout is None else layout
    return f"{tensor.name}: {tensor.dtype} {sizes(tensor.shape)} {letters}".rstrip()


def quantization_words(binding: IoBinding) -> str:
    """``real = 0.0039 * (uint8 - (0))``; "" where the artifact's own tensor is not integer."""
    quant = binding.quant
    if quant is None:
        return ""
    if len(quant.scale) > _SCALES_SHOWN:
        return f"{quant.dtype}, {len(quant.scale)} scales along axis {quant.axis}"
    return f"real = {quant.scale[0]:g} * ({quant.dtype} - ({quant.zero_point[0]}))"


def data_words(data: DataFacts) -> str:
    """``digits train, 256 samples, minmax``."""
    return ", ".join(
        part
        for part in (
            f"{data.source} {data.split}".strip(),
            f"{data.samples} samples",
            data.method or data.metric,
            f"by {data.author}" if data.author else "",
        )
        if part
    )


def limitations(manifest: Manifest) -> tuple[str, ...]:
    """What a user should keep in mind: in the author's words, and what follows from how it was made."""
    found = list(manifest.model.limitations)
    for data in manifest.data:
        if data.role == "calibration":
            found.append(
                f"calibrated on {data.samples} samples of {data.source}: inputs with other ranges than "
                "these lose accuracy in the quantized artifacts"
            )
        else:
            found.append(f"judged on {data.samples} samples of {data.source} by {data.metric}")
    weights = sorted({entry.name for entry in manifest.targets if entry.precision in _WEIGHTS_ONLY})
    if weights:
        found.append(f"weights are integers and activations are not, on {', '.join(weights)}")
    found += _restored(manifest)
    return tuple(dict.fromkeys(found))


_WEIGHTS_ONLY = (Precision.W8, Precision.W4)


def _restored(manifest: Manifest) -> list[str]:
    """What was changed in the weights beyond rounding them, once for all artifacts."""
    found = {
        ", ".join(f"{count} {name}" for name, count in step.details.items())
        for entry in manifest.targets
        for step in entry.provenance
        if step.action == "restored" and step.details
    }
    return [f"restored before it was quantized: {words}" for words in sorted(found)]
