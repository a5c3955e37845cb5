"""Compiled file, with or without its description -> facts and costs. Nothing is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.errors import MissingBackendError
from edgekit.ir import io
from edgekit.pipeline import compiled_file
from edgekit.pipeline.inspect.figures import with_contents
from edgekit.pipeline.inspect.onnx_file import inspect_model
from edgekit.pipeline.result import InspectResult
from edgekit.spec import Artifact, IoBinding, QuantParams, TensorSpec


def inspect_compiled(path: Path) -> InspectResult:
    """Look into a bare .tflite or .xml.

    Raises:
        ModelFileError: it cannot be read, or it is damaged.
        MissingBackendError: what reads it is not installed.
    """
    contents = compiled_file.contents(path)
    target, _ = compiled_file.FORMS[path.suffix]
    integers = {
        f"integers of {binding.name}": _formula(binding.quant)
        for binding in (*contents.inputs, *contents.outputs)
        if binding.quant is not None
    }
    result = InspectResult(
        path=path,
        kind=f"{contents.form} file, {contents.precision}",
        facts={
            **contents.facts,
            **({"files": ", ".join(contents.files)} if len(contents.files) > 1 else {}),
            **integers,
        },
        inputs=tuple(map(_own, contents.inputs)),
        outputs=tuple(map(_own, contents.outputs)),
        size_bytes=sum((path.parent / name).stat().st_size for name in contents.files),
        notes=(f"a compiled file runs on its own runtime only: target {target}",),
    )
    return with_contents(result, contents)


def _formula(quant: QuantParams) -> str:
    if len(quant.scale) > 1:
        return f"{quant.dtype}, {len(quant.scale)} scales along axis {quant.axis}"
    return f"real = {quant.scale[0]:g} * ({quant.dtype} - ({quant.zero_point[0]}))"


def _own(binding: IoBinding) -> TensorSpec:
    """As the file itself has it, integers as integers."""
    return TensorSpec(binding.name, binding.dtype, binding.shape)


def inspect_artifact(path: Path, artifact: Artifact) -> InspectResult:
    """Look into an artifact that `compile` wrote; inputs and outputs are those of the model it stands for.

    Raises:
        ModelFileError: its main file is damaged.
    """
    options = artifact.options
    facts = {
        "files": ", ".join(entry.path for entry in artifact.files),
        "plan": artifact.plan_digest or "float",
        "runs with": ", ".join(
            (
                f"{options.threads} thread{'s' if options.threads > 1 else ''}",
                options.device,
                *(f"{name} = {value}" for name, value in options.settings),
            )
        ),
        "made by": ", ".join(f"{name} {value}" for name, value in sorted(artifact.tools.items())),
    }
    result = InspectResult(
        path=path,
        kind=f"artifact for {artifact.target}, {artifact.precision}",
        facts={name: value for name, value in facts.items() if value},
        inputs=tuple(binding.reference for binding in artifact.inputs),
        outputs=tuple(binding.reference for binding in artifact.outputs),
        size_bytes=artifact.size_bytes,
        notes=artifact.notes,
    )
    return look_inside(result, artifact.path)


def look_inside(result: InspectResult, path: Path) -> InspectResult:
    """``result`` with the figures of the artifact's main file; without them where its reader is missing.

    Raises:
        ModelFileError: the file is damaged.
    """
    if path.suffix == ".onnx":
        inside = inspect_model(io.load(path), path)
        return replace(
            inside,
            path=result.path,
            kind=result.kind,
            facts=result.facts,
            inputs=result.inputs,
            outputs=result.outputs,
            size_bytes=result.size_bytes,
            notes=(*result.notes, *inside.notes),
        )
    if not compiled_file.is_compiled(path):  # a plug-in's own format
        return result
    try:
        return with_contents(result, compiled_file.contents(path))
    except MissingBackendError as error:
        return replace(result, notes=(*result.notes, f"{error.what}: {error.remedy}"))
