"""Manifest -> the ``modelCard`` and ``data`` fields of the bill of materials (CycloneDX 1.6).

Only what is the same on every machine: accuracy and latency are evidence, and are in evidence.json.
"""

from __future__ import annotations

from typing import Any

from edgekit.bundle.describe import limitations, quantization_words, tensor_words
from edgekit.bundle.facts import DataFacts
from edgekit.bundle.manifest import Manifest, TargetEntry
from edgekit.spec import IoBinding

Value = dict[str, Any]


def property_name(words: str) -> str:
    """A property of ours: in a name space of its own, without spaces (CycloneDX property taxonomy)."""
    return f"edgekit:{words.replace(' ', '-')}"


def of_release(manifest: Manifest) -> Value:
    """What the model takes and gives, what it was calibrated and judged on, and what it is for."""
    parameters = {
        "datasets": [{"ref": f"data:{data.role}"} for data in manifest.data],
        "inputs": [{"format": tensor_words(tensor)} for tensor in manifest.inputs],
        "outputs": [{"format": tensor_words(tensor)} for tensor in manifest.outputs],
    }
    considerations = {
        "useCases": [manifest.model.intended_use] if manifest.model.intended_use else [],
        "technicalLimitations": list(limitations(manifest)),
    }
    return _filled({"modelParameters": _filled(parameters), "considerations": _filled(considerations)})


def of_artifact(entry: TargetEntry, manifest: Manifest) -> Value:
    """What this file takes and gives, in its own names, types and layouts."""
    layouts = entry.artifact.layouts
    parameters = {
        "datasets": [{"ref": f"data:{data.role}"} for data in manifest.data],
        "inputs": [{"format": _own(each, layouts)} for each in entry.artifact.inputs],
        "outputs": [{"format": _own(each, layouts)} for each in entry.artifact.outputs],
    }
    return {"modelParameters": _filled(parameters)}


def data_set(data: DataFacts) -> Value:
    """A data set as CycloneDX's ``componentData``."""
    known = {
        "role": data.role,
        "split": data.split,
        "digest": data.digest,
        "samples": str(data.samples),
        "seed": str(data.seed),
        "method": data.method,
        "metric": data.metric,
    }
    properties = [{"name": property_name(name), "value": text} for name, text in known.items() if text]
    value: Value = {
        "type": "dataset",
        "name": data.source,
        "contents": {"properties": properties},
    }
    if data.author:
        value["governance"] = {"owners": [{"organization": {"name": data.author}}]}
    return value


def _own(binding: IoBinding, layouts: dict[str, str]) -> str:
    words = tensor_words(binding, layout=layouts.get(binding.name, ""))
    integers = quantization_words(binding)
    return f"{words}; {integers}" if integers else words


def _filled(value: Value) -> Value:
    return {name: held for name, held in value.items() if held}
