"""The contract of a back end: probe, check, compile, open. Four functions, nothing else.

    Model --check--> Rejections
    Model --compile--> Artifact --open--> Session

A back end is a class without state; ``backends.registry`` finds it by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

import onnx_ir as ir

from edgekit.spec import Artifact, Availability, FileEntry, Precision, Rejection, RunOptions, Session
from edgekit.target import Target

IoDtype = Literal["float32", "int8", "uint8"]
IoLayout = Literal["auto", "model"]
IO_DTYPES: tuple[IoDtype, ...] = get_args(IoDtype)
IO_LAYOUTS: tuple[IoLayout, ...] = get_args(IoLayout)


@dataclass(frozen=True, slots=True)
class IoForm:
    """How the artifact's own inputs and outputs look; a Session takes and gives the reference's all the same.

    Attributes:
        dtype: element type of the inputs and outputs that are float32 in the reference. The integer types
            need a quantized model: what has no scale is refused.
        layout: "auto" lets the compiler choose (image inputs channels-last where that saves transposes);
            "model" keeps the reference's axes.
    """

    dtype: IoDtype = "float32"
    layout: IoLayout = "auto"


@dataclass(frozen=True, slots=True)
class Normalization:
    """(x - mean) / std, of the raw sample; one value per channel, or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What a file can say about the model besides its numbers.

    Attributes:
        name: of the model.
        version: of the model.
        description: one or a few sentences.
        author: who made it.
        license: under which terms.
        files: content of the files that travel with the model, by file name.
        labels: the one among ``files`` that names the classes, one in each line; "" = none.
        labelled: name of the output whose last axis the classes are; "" = the only output.
        normalization: what pre-processing does to the values of an input, by input name.
    """

    name: str = ""
    version: str = ""
    description: str = ""
    author: str = ""
    license: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    labels: str = ""
    labelled: str = ""
    normalization: Mapping[str, Normalization] = field(default_factory=dict)


@dataclass(frozen=True)
class CompileRequest:
    """What to compile, and what to call it.

    Attributes:
        model: canonical float graph, or the QDQ graph of a plan. Never changed.
        target: what it is compiled for.
        precision: what the numbers inside the artifact will be.
        options: how it will be opened.
        stem: file name without extension, ``<name>-<version>-<target>-<precision>``.
        plan_digest: digest of the QuantPlan; "" for float.
        output_steps: one quantization step of each quantized output, by output name.
        io: how the artifact's own inputs and outputs look. A back end that knows one form only is never asked
            for another (``pipeline.artifact``).
        info: what the file may say about the model; None = nothing is known.
    """

    model: ir.Model
    target: Target
    precision: Precision
    options: RunOptions
    stem: str
    plan_digest: str = ""
    output_steps: Mapping[str, float] = field(default_factory=dict)
    io: IoForm = field(default_factory=IoForm)
    info: ModelInfo | None = None


class Backend(Protocol):
    """One runtime. Implementations import their framework inside the functions only."""

    def probe(self, target: Target) -> Availability:
        """Whether artifacts of ``target`` can be compiled and run on this machine."""

    def check(self, model: ir.Model, target: Target) -> tuple[Rejection, ...]:
        """Every reason why the target cannot take ``model``; empty = it can."""

    def compile(self, request: CompileRequest, folder: Path) -> Artifact:
        """Write the artifact's files into ``folder`` (which exists).

        Raises:
            TargetRefusalError: ``check`` has something to say about the model.
            MissingBackendError: the compiler's own packages are not installed.
        """

    def open(self, artifact: Artifact, options: RunOptions) -> Session:
        """Open the artifact in a worker process.

        Raises:
            MissingBackendError: the runtime or the device named by ``options`` is not here. Running on
                another device instead is never an option.
            BackendCrashError: the runtime refused the file or died.
        """


def file_entries(folder: Path, names: Iterable[str]) -> tuple[FileEntry, ...]:
    """Hash and size of files in ``folder``, in the given order."""
    entries = []
    for name in names:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            entries.append(FileEntry(name, digest, file.tell()))
    return tuple(entries)


def unhashed(paths: Iterable[Path]) -> tuple[FileEntry, ...]:
    """Files that are opened once and gone then: nobody asks for their hash, and gigabytes take a while."""
    return tuple(FileEntry(path.name, "", path.stat().st_size) for path in paths)
