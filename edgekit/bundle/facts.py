"""A release -> the facts that are the same on every machine: what manifest, BOM and model card say.

    model, float parent, inputs and outputs, data, tools; for each artifact the chain of transformations

A digest is written with what it is of: ``sha256:`` of a file's bytes, ``graph:`` of a graph (``ir.digest``,
which ignores names of producers and doc strings), ``id:`` of values that lie in no file (calibration samples,
a plan, a restoration).

Source of the chain's terms: SLSA provenance v1 (materials, products), in-toto links.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from edgekit.spec import Dim

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[
    str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|graph:[0-9a-f]{64}|id:[0-9A-Za-z-]+)$")
]
Action = Literal[
    "exported",
    "pruned",
    "canonicalized",
    "dequantized",
    "restored",
    "quantized",
    "converted",
    "embedded",
    "compiled",
]
NOT_STATED = "NOASSERTION"
"""SPDX 3.0, "NoAssertion": nobody said anything, which is not the same as "none"."""


class Closed(BaseModel):
    """Frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class TensorFacts(Closed):
    """One input or output of the reference model.

    Attributes:
        shape: sizes; a string names a dynamic axis.
        layout: one letter for each axis, "NCHW"; "" where nothing says what the axes are.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    layout: str = ""


class Subject(Closed):
    """Something that a transformation took or gave: what it is called, and its digest."""

    name: str
    digest: Digest


class Transformation(Closed):
    """One step from the source to a shipped file.

    The last output of a step is among the inputs of the next one; a test walks that chain.

    Attributes:
        inputs: what it changed.
        outputs: what it gave.
        using: what decided how: ranges, calibration data, plan, restoration.
        tools: name -> version of what did it.
        details: in words, by name.
    """

    action: Action
    inputs: tuple[Subject, ...] = Field(min_length=1)
    outputs: tuple[Subject, ...] = Field(min_length=1)
    using: tuple[Subject, ...] = ()
    tools: dict[str, str] = Field(default_factory=dict)
    details: dict[str, str] = Field(default_factory=dict)


class About(Closed):
    """What somebody says about a model or a data set; "" where nobody did.

    Attributes:
        license: SPDX expression.
        url: where more is to be found.
    """

    description: str = ""
    author: str = ""
    license: str = ""
    url: str = ""


class ModelFacts(About):
    """What the recipe says about the model.

    Attributes:
        intended_use: what it is made for.
        limitations: what it is not good for, in the author's words.
    """

    intended_use: str = ""
    limitations: tuple[str, ...] = ()


class DataFacts(About):
    """A data set that the release read.

    Attributes:
        source: as the recipe names it.
        digest: of the selected samples.
        method: how ranges were taken from it; "" for evaluation data.
        metric: what it scores; "" for calibration data.
        samples: how many were used.
        seed: of the draw.
    """

    role: Literal["calibration", "evaluation"]
    source: str
    split: str = ""
    digest: str
    method: str = ""
    metric: str = ""
    samples: int = Field(ge=0)
    seed: int = 0


class FloatParent(Closed):
    """The canonical float model that every artifact derives from.

    Attributes:
        graph: its digest (``ir.digest``).
        file: name of the ONNX file that `edgekit export` writes of it. The bundle does not hold that file.
        sha256: of that file; None where it has more than 2 GB, and is two files.
        size_bytes: of that file; likewise.
        framework: what it was exported from.
        quantized: whether the source came quantized: then this is its QDQ form.
    """

    graph: Sha256
    file: str
    sha256: Sha256 | None
    size_bytes: int | None = Field(ge=0)
    framework: str
    quantized: bool = False


class Facts(Closed):
    """All of it but what belongs to one artifact; a ``Manifest`` has these fields as its own.

    Attributes:
        inputs: of the reference model, whose names, types and layouts a Session takes and gives.
        data: what the release read.
        preprocess_id: digest of the steps from a raw sample to the inputs.
        tools: name -> version of all that took part, runtimes included.
    """

    model: ModelFacts = ModelFacts()
    float_parent: FloatParent | None = None
    inputs: tuple[TensorFacts, ...] = ()
    outputs: tuple[TensorFacts, ...] = ()
    data: tuple[DataFacts, ...] = ()
    preprocess_id: str = ""
    tools: dict[str, str] = Field(default_factory=dict)
