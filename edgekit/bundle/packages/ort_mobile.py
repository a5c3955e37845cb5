"""Artifact for ONNX Runtime -> .ort files, reduced-operator configuration, the command of a minimal build.

    <stem>.ort                           for the CPU provider (and XNNPACK)
    <stem>.with_runtime_opt.ort          for NNAPI and Core ML
    required_operators_and_types*.config what a minimal build must hold
    check/                               NumPy and onnxruntime: python -m check --self-test

Both .ort files run on the ONNX Runtime of this machine before anything is written, and must give the golden
outputs.
"""

from __future__ import annotations

from typing import Literal

from edgekit.bundle.manifest import TargetEntry, entry_of
from edgekit.bundle.packages.base import Contents, Options, Source
from edgekit.bundle.packages.python import python_files, unsuitable_binding
from edgekit.bundle.packages.replay import replay
from edgekit.bundle.packages.specification import specification
from edgekit.bundle.packages.templates import filled

BACKENDS = ("onnxruntime",)
HOLDS: Literal["one"] = "one"
PREFERRED = ("onnxruntime-arm64", "onnxruntime-cpu")
RUNTIME_OPT = ".with_runtime_opt"


def unsuitable(entry: TargetEntry) -> str:
    """What the check in Python cannot hold."""
    return unsuitable_binding(entry)


def files(source: Source, chosen: tuple[TargetEntry, ...], *, options: Options) -> Contents:
    """.ort files, configurations, README, check."""
    entry = chosen[0]
    onnx = next(iter(source.artifact_files(entry).values()))
    stem = f"{source.manifest.name}-{source.manifest.version}"
    made = options.tools.ort_from_onnx(onnx, stem=stem)
    held = {name: body for name, body in made.items() if name.endswith(".ort")}
    for name, body in held.items():
        replay(source, entry, {name: body}, tools=options.tools)
    spec = specification(source, entry)
    spec["files"] = [entry_of(name, held[name]).model_dump() | {"path": f"../{name}"} for name in held]
    title = f"{source.manifest.name} {source.manifest.version}"
    readme = filled(
        "ort-mobile/readme.txt", title=title, stem=stem, signature=source.signature, target=entry.name
    )
    check = python_files(source, entry, spec, module="check")
    return Contents({**made, **check, "README.md": readme.encode()})
