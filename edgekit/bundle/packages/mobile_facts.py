"""Artifact of a bundle -> what the code of an app must know about it, with every open size closed.

    bindings, processing, golden vectors  ->  Facts(inputs, outputs, samples)          (1, sizes)

An app runs one sample at a time: a batch that is open is 1. What an app could not run is refused before
anything is written:

F1  a fixed batch other than 1
F2  another open size: the file's own default for it is not known here
F3  an element type that the mobile APIs do not have
F4  a scale for each channel of an input or output
F5  golden arrays that are not one array of samples for each input and output
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgekit.bundle.manifest import TargetEntry, Tolerance
from edgekit.bundle.packages.base import Source, refusal
from edgekit.bundle.packages.mobile_names import member_names, package_name, type_name
from edgekit.preprocess import Step
from edgekit.spec import Array, IoBinding

DTYPES = ("float32", "int32", "int64", "int8", "uint8", "bool")
"""Element types of LiteRT's Kotlin and Swift APIs that edgekit's artifacts use."""

LITTLE_ENDIAN = {
    "float32": "<f4",
    "int32": "<i4",
    "int64": "<i8",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
}


@dataclass(frozen=True)
class Port:
    """One input or output.

    Attributes:
        binding: how it stands for the reference's.
        member: its name as a member of a class.
        shape: of the reference, the batch (1) first.
        golden: (samples, ...): raw samples of an input, recorded values of an output.
        steps: from a raw sample to the input.
        step: one quantization step of an output in real units; None where it is not quantized.
    """

    binding: IoBinding
    member: str
    shape: tuple[int, ...]
    golden: Array
    steps: tuple[Step, ...] = ()
    step: float | None = None

    @property
    def name(self) -> str:
        """In the reference model."""
        return self.binding.reference.name

    @property
    def raw_dtype(self) -> str:
        """Of the golden samples."""
        return self.golden.dtype.name

    @property
    def golden_bytes(self) -> bytes:
        """The golden samples, little-endian, row-major, one after another."""
        return self.golden.astype(LITTLE_ENDIAN[self.raw_dtype], copy=False).tobytes()


@dataclass(frozen=True)
class Facts:
    """A model as an app sees it.

    Attributes:
        model: content of the .tflite.
        package: last part of a Java package, and folder of assets.
        type: first part of the names of types.
        labels: names of the classes; () where there are none.
        samples: golden samples.
    """

    name: str
    version: str
    target: str
    precision: str
    manifest_digest: str
    tolerance: Tolerance
    model: bytes
    model_sha256: str
    package: str
    type: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    labels: tuple[str, ...]
    samples: int


def unsuitable(entry: TargetEntry) -> str:
    """F1 to F4: why an app could not run it; "" = it can."""
    for each in (*entry.artifact.inputs, *entry.artifact.outputs):
        reference = each.reference
        first = reference.shape[0] if reference.shape else None
        if isinstance(first, int) and first != 1:  # F1
            return f"{reference.name} has a fixed batch of {first}, and an app runs one sample at a time"
        open_sizes = [dim for dim in reference.shape[1:] if not isinstance(dim, int)]
        if open_sizes:  # F2
            return f"{reference.name} has the open size {open_sizes[0]!r}; fix it in [model] inputs"
        for dtype in (reference.dtype, each.dtype):
            if dtype not in DTYPES:  # F3
                return f"{reference.name} is {dtype}; apps have {', '.join(DTYPES)}"
        if each.quant is not None and len(each.quant.scale) != 1:  # F4
            return f"{reference.name} has a scale for each channel"
    return ""


def facts(source: Source, entry: TargetEntry, *, name: str = "") -> Facts:
    """Everything about the artifact of ``entry``; ``name`` replaces the model's in identifiers.

    Raises:
        TargetRefusalError: F5.
        VerificationError: a file of the bundle is damaged.
    """
    (content, *_), (file, *_) = tuple(source.artifact_files(entry).values()), entry.artifact.files
    artifact, called = entry.artifact, name or source.manifest.name
    steps = {each.name: each.steps for each in entry.processing.inputs}
    raw, recorded = source.golden_raw(), source.golden_outputs(entry)
    members = member_names(each.reference.name for each in (*artifact.inputs, *artifact.outputs))
    inputs = tuple(
        Port(
            binding=each,
            member=member,
            shape=_closed(each),
            golden=raw[each.reference.name],
            steps=steps.get(each.reference.name, ()),
        )
        for each, member in zip(artifact.inputs, members, strict=False)
    )
    outputs = tuple(
        Port(
            binding=each,
            member=member,
            shape=_closed(each),
            golden=recorded[each.reference.name],
            step=artifact.output_steps.get(each.reference.name),
        )
        for each, member in zip(artifact.outputs, members[len(inputs) :], strict=True)
    )
    return Facts(
        name=source.manifest.name,
        version=source.manifest.version,
        target=entry.name,
        precision=str(entry.precision),
        manifest_digest=source.manifest.digest,
        tolerance=entry.tolerance,
        model=content,
        model_sha256=file.sha256,
        package=package_name(called),
        type=type_name(called),
        inputs=inputs,
        outputs=outputs,
        labels=source.labels(entry),
        samples=_samples(entry, (*inputs, *outputs)),
    )


def _closed(binding: IoBinding) -> tuple[int, ...]:
    """The reference's sizes with a batch of 1."""
    return tuple(dim if isinstance(dim, int) else 1 for dim in binding.reference.shape)


def _samples(entry: TargetEntry, ports: Iterable[Port]) -> int:
    """F5."""
    counts = {port.name: len(port.golden) if port.golden.ndim else 0 for port in ports}
    found = set(counts.values())
    wrong = [
        port.name
        for port in ports
        if port.raw_dtype not in DTYPES
        or (not port.steps and int(np.prod(port.golden.shape[1:])) != int(np.prod(port.shape[1:])))
    ]
    if len(found) != 1 or not next(iter(found)) or wrong:
        raise refusal(
            f"the golden vectors of {entry.name} are no samples that an app could run",
            entry,
            rule="golden",
            reason=f"samples are {counts}" + (f"; {wrong[0]} has another size or type" if wrong else ""),
            remedy="release the bundle again",
        )
    return next(iter(found))
