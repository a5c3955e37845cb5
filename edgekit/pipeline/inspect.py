"""`inspect`: model file, artifact or bundle -> what is inside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgekit.bundle import manifest
from edgekit.ir import digest, io
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.result import InspectResult
from edgekit.pipeline.variant import is_quantized
from edgekit.spec import Artifact


def inspect(path: Path) -> InspectResult:
    """Look into ``path``; nothing is run.

    Raises:
        InputError: not there, or neither model, artifact nor bundle.
        VerificationError: a bundle whose manifest is damaged.
    """
    if path.is_dir() and (path / manifest.FILE_NAME).is_file():
        return _bundle(path)
    if path.suffix == ".onnx" or not path.exists():
        return _onnx(path)
    return _artifact(path, artifact_at(path))


def _onnx(path: Path) -> InspectResult:
    model = io.load(path)
    inputs, outputs = io.specs(model)
    return InspectResult(
        path=path,
        kind="ONNX model, quantized" if is_quantized(model) else "ONNX model, float",
        facts={
            "digest": digest.digest(model),
            "opset": str(model.opset_imports.get("", "?")),
            "producer": f"{model.producer_name or '?'} {model.producer_version or ''}".strip(),
            "size": f"{path.stat().st_size} bytes",
        },
        inputs=inputs,
        outputs=outputs,
        operators=dict(sorted(Counter(node.op_type for node in model.graph.all_nodes()).items())),
    )


def _artifact(path: Path, artifact: Artifact) -> InspectResult:
    facts = {
        "target": artifact.target,
        "precision": artifact.precision.value,
        "files": ", ".join(f"{entry.path} ({entry.size_bytes} bytes)" for entry in artifact.files),
        "plan": artifact.plan_digest or "float",
        "threads": str(artifact.options.threads),
        "device": artifact.options.device,
        **{f"setting {name}": value for name, value in artifact.options.settings},
        **{f"tool {name}": value for name, value in sorted(artifact.tools.items())},
        **{f"note {index}": note for index, note in enumerate(artifact.notes, start=1)},
    }
    return InspectResult(
        path=path,
        kind="artifact",
        facts=facts,
        inputs=tuple(binding.reference for binding in artifact.inputs),
        outputs=tuple(binding.reference for binding in artifact.outputs),
    )


def _bundle(path: Path) -> InspectResult:
    found = manifest.load(path)
    facts = {
        "name": found.name,
        "version": found.version,
        "made by": f"edgekit {found.edgekit_version}",
        "model": found.model_digest,
        "manifest digest": found.digest,
        **{
            f"target {entry.name}": f"{entry.precision}, {entry.artifact.files[0].path}"
            for entry in found.targets
        },
        "files": str(len(found.files)),
    }
    first = next(iter(found.artifacts(path).values()), None)
    return InspectResult(
        path=path,
        kind="bundle",
        facts=facts,
        inputs=tuple(binding.reference for binding in first.inputs) if first else (),
        outputs=tuple(binding.reference for binding in first.outputs) if first else (),
    )
