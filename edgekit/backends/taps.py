"""Artifact -> the same artifact with the ends of its kernels as further outputs, and what runs in it.

    artifact --tapped--> file with more outputs, beside it what each output is and which kernel makes it

Fusion is not broken to look: outputs are added where a kernel of the runtime ends anyway, and the runtime is
asked afterwards whether it still runs the same kernels. One that changed is ``disturbed``: its numbers are
those of another kernel, and the reader is told.

    runtime        looked at                                        proof
    ONNX Runtime   integers behind QuantizeLinear, values that      operators of the optimized graph, by name
                   the optimized graph still has
    LiteRT         every operator's output                          operators that the delegate takes
    OpenVINO       the last layer of each executed node             what each executed node is, and its layers
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from edgekit.errors import InputError
from edgekit.spec import Artifact, Dim, IoBinding, QuantParams, TensorSpec

Attribute = float | str | tuple[float, ...]

_TAPPERS: Mapping[str, str] = {
    "onnxruntime": "edgekit.backends.onnxruntime_taps",
    "litert": "edgekit.backends.litert.taps",
    "openvino": "edgekit.backends.openvino_taps",
}
_SUFFIXES = ("_quantized", "_dequantized", "_QuantizeLinear_Output", "_DequantizeLinear_Output")


@dataclass(frozen=True)
class Tap:
    """One place that can be looked at.

    Attributes:
        names: what the float model may call the value, the likeliest first.
        tensor: name of the output in the tapped file.
        dtype: element type there.
        shape: shape there; sizes that are open are None or a name.
        params: scale and zero point of the value; None = it is float. Where ``dtype`` is float all the same,
            the file rounds and gives the real numbers (FakeQuantize).
        kernel: what the runtime says that it runs; "" = unknown.
        integer: whether the kernel computes in integers.
        weight: scales of the kernel's constant operand; None = float, unknown or none.
        attributes: of the operator in the artifact, under their ONNX names, as far as known.
        disturbed: looking at it changed the kernel.
    """

    names: tuple[str, ...]
    tensor: str
    dtype: str
    shape: tuple[Dim, ...]
    params: QuantParams | None
    kernel: str
    integer: bool
    weight: QuantParams | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    disturbed: bool = False


@dataclass(frozen=True)
class Tapped:
    """Files that can be looked into.

    Attributes:
        artifacts: forms of one artifact. The outputs of each are those of the original, then taps under the
            names of their tensors. Each tap is an output of exactly one of them.
        taps: in order of computation.
        notes: what the reader should know about how it was done.
    """

    artifacts: tuple[Artifact, ...]
    taps: tuple[Tap, ...]
    notes: tuple[str, ...] = ()


Tapper = Callable[..., Tapped]


def tapped(
    artifact: Artifact, folder: Path, *, batch: int, known: Collection[str], avoid: Collection[str] = ()
) -> Tapped:
    """Write a form of ``artifact`` into ``folder`` that gives what its kernels compute.

    Args:
        artifact: of one of edgekit's own back ends.
        folder: exists; the artifact's own files are not touched.
        batch: samples in one run: kernels are chosen for it.
        known: names of values of the float model. Other values are tapped too where the runtime names
            nothing: they can be recognised by their numbers.
        avoid: names of values that shall not be looked at.

    Raises:
        InputError: the back end is not one of ours.
        BackendCrashError: the runtime refuses the tapped file.
    """
    if artifact.backend not in _TAPPERS:
        raise InputError(
            f"edgekit cannot look into artifacts of the back end {artifact.backend!r}",
            why=f"it knows how for {', '.join(sorted(_TAPPERS))}",
            remedy="debug the model's artifact for one of these targets; the plan is the same",
        )
    tapper: Tapper = import_module(_TAPPERS[artifact.backend]).tapped
    return tapper(artifact, folder, batch=batch, known=frozenset(known), avoid=frozenset(avoid))


def plain_names(name: str) -> tuple[str, ...]:
    """``name``, and what it may stand for: ``relu_quantized`` -> ``relu_quantized``, ``relu``."""
    return (name, *(name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)))


def is_ours(name: str, known: Collection[str]) -> bool:
    """Whether ``name`` is of ``known``, or was made of one: ``norm/part#1``, ``pooled_quantized/row``."""
    while True:
        if any(each in known for each in plain_names(name)):
            return True
        name, slash, _ = name.rpartition("/")
        if not slash:
            return False


def binding(tap: Tap) -> IoBinding:
    """How a Session gives the tap: real numbers in the file's own layout, under the tensor's name."""
    quant = None if tap.dtype.startswith("float") else tap.params
    dtype = "float32" if quant is not None or tap.dtype.startswith("float") else tap.dtype
    reference = TensorSpec(tap.tensor, dtype, tap.shape)
    return IoBinding(reference=reference, name=tap.tensor, dtype=tap.dtype, shape=tap.shape, quant=quant)
