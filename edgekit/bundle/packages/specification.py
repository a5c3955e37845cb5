"""Artifact of a bundle -> its specification as one JSON-ready value, which every kind of package carries.

| key | says |
|---|---|
| name, version, model, target, precision | what it is; description, author and licence |
| files | path in the package, SHA-256, size |
| threads, settings | how it is opened |
| inputs, outputs | bindings: reference name, type and shape, the file's own, permutation, scale, zero point |
| output_steps, tolerance | of the golden vectors |
| processing | from a raw sample to the inputs, and from the outputs to an answer (docs/embed.md) |
| labels | names of the classes |
"""

from __future__ import annotations

from typing import Any

from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.manifest import TargetEntry
from edgekit.bundle.packages.base import Source


def specification(source: Source, entry: TargetEntry, *, folder: str = "") -> dict[str, Any]:
    """JSON-ready; ``folder``: where the artifact's files lie in the package, with a final slash."""
    artifact = manifest_file.to_value(entry.artifact)
    return {
        "name": source.manifest.name,
        "version": source.manifest.version,
        "model": manifest_file.to_value(source.manifest.model),
        "manifest_digest": source.manifest.digest,
        "signature": source.signature,
        "target": entry.name,
        "precision": str(entry.precision),
        "threads": entry.artifact.options.threads,
        "settings": [list(pair) for pair in entry.artifact.options.settings],
        "files": [each | {"path": f"{folder}{each['path']}"} for each in artifact["files"]],
        "inputs": artifact["inputs"],
        "outputs": artifact["outputs"],
        "output_steps": artifact["output_steps"],
        "tolerance": manifest_file.to_value(entry.tolerance),
        "processing": manifest_file.to_value(entry.processing),
        "labels": list(source.labels(entry)),
    }


def with_permutations(spec: dict[str, Any]) -> dict[str, Any]:
    """Every binding with a permutation, so that generated code needs no case for none."""
    for each in (*spec["inputs"], *spec["outputs"]):
        each["permutation"] = each["permutation"] or list(range(len(each["reference"]["shape"])))
    return spec
