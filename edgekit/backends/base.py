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
from typing import Protocol

import onnx_ir as ir

from edgekit.spec import Artifact, Availability, FileEntry, Precision, Rejection, RunOptions, Session
from edgekit.target import Target


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
    """

    model: ir.Model
    target: Target
    precision: Precision
    options: RunOptions
    stem: str
    plan_digest: str = ""
    output_steps: Mapping[str, float] = field(default_factory=dict)


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
        content = (folder / name).read_bytes()
        entries.append(FileEntry(name, hashlib.sha256(content).hexdigest(), len(content)))
    return tuple(entries)
