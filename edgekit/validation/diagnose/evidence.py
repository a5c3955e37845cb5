"""What `edgekit debug` saw, and what it may conclude: Evidence -> Cause. Data only.

kernels    one entry for each kernel's end, in order of computation (``validation.layers``)
inputs     what the data feeds the model, by channel
outputs    how far the model's outputs are off (``validation.drift``)
structure  nodes that nothing in the artifact stands for, attributes that differ
trials     the reference changed in one thing, where a kernel is wrong: does it compute what the artifact does
products   what sums of two integer products reach (``quantization.saturation``)
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.spec import QuantParams
from edgekit.validation.drift import OutputDrift
from edgekit.validation.layers import Attribute, ErrorStats, KernelEvidence

RecipeValue = bool | int | float | str | list[str] | dict[str, str]


@dataclass(frozen=True)
class InputEvidence:
    """What the data feeds into one input of the model.

    Attributes:
        name: of the input.
        shape: of one sample, without the batch.
        axis: of the channels, counted with the batch; None = no channels.
        low: least value of each channel.
        high: largest value of each channel.
        mean: of each channel.
        deviation: standard deviation of each channel.
        params: with which the candidate quantizes it; None = it stays float, or unknown.
        clipped: share of the values that lie outside of ``params``.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    params: QuantParams | None = None
    clipped: float = 0.0


@dataclass(frozen=True)
class Difference:
    """An attribute that the artifact has otherwise than the reference.

    Attributes:
        node: of the reference.
        attribute: ONNX name: "epsilon", "pads", "mode".
        reference: its value there; None = not set.
        candidate: its value in the artifact.
    """

    node: str
    attribute: str
    reference: Attribute | None
    candidate: Attribute | None


@dataclass(frozen=True)
class Trial:
    """The reference, changed in one thing, against the artifact at the end of one kernel.

    Attributes:
        kernel: ``KernelEvidence.name``.
        change: what was changed: "none", "weights", "pads", "pad-value", "epsilon", "resize", "activation",
            "layout", "normalization", "products" or "gain".
        says: to what, in words: "epsilon 0.001".
        own: error of the artifact against the changed reference, from the artifact's own inputs.
        value: the number or word that it was changed to, for the remedy.
    """

    kernel: str
    change: str
    says: str
    own: ErrorStats
    value: str = ""


@dataclass(frozen=True)
class ProductSums:
    """What the sums of two integer products of one kernel reach, whatever the input.

    Attributes:
        kernel: ``KernelEvidence.name``.
        smallest: the least.
        largest: the greatest.
    """

    kernel: str
    smallest: int
    largest: int


@dataclass(frozen=True)
class Evidence:
    """Everything that a cause can be named from.

    Attributes:
        runtime: "onnxruntime", "litert", "openvino".
        precision: of the artifact ("w8a8", "fp32", ...).
        samples: how many were looked at.
        kernels: in order of computation.
        inputs: of the model.
        outputs: of the model, candidate against reference.
        unmatched: values of the reference at whose place nothing could be looked at in the artifact.
        differences: of attributes.
        trials: where a kernel's own error is larger than rounding makes it.
        products: of kernels whose sums of two products can leave int16.
        eligible: kernels (``KernelEvidence.name``) that the target computes in integers and that nobody asked
            to keep in float.
    """

    runtime: str
    precision: str
    samples: int
    kernels: tuple[KernelEvidence, ...]
    inputs: tuple[InputEvidence, ...]
    outputs: tuple[OutputDrift, ...]
    unmatched: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    trials: tuple[Trial, ...] = ()
    products: tuple[ProductSums, ...] = ()
    eligible: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RecipeEdit:
    """What a remedy changes in edgekit.toml.

    Attributes:
        path: of the key: ("optimize", "quantize", "restore"). At ("optimize", "override"), an array of
            tables, ``value`` is added as a new one.
        value: the new value.
    """

    path: tuple[str, ...]
    value: RecipeValue


@dataclass(frozen=True)
class Cause:
    """One explanation of the loss.

    Attributes:
        name: "outlier-channel", "range-clipped", ...
        where: name of the value (``KernelEvidence.name``), of an input or output, or "" = the whole model.
        says: the evidence in a sentence, with its numbers.
        remedy: what to do, in a sentence.
        score: 0 to 1; causes are ranked by it.
        edit: the remedy as a change of the recipe; None = no recipe can do it.
    """

    name: str
    where: str
    says: str
    remedy: str
    score: float
    edit: RecipeEdit | None = None
