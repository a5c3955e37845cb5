"""Provenance of all artifacts -> the ``formulation`` of the bill of materials: one workflow and its tasks.

    task = one transformation; what several artifacts share is one task
    a graph between two steps is a component of the formula, called by its digest
    taskDependencies: a task needs those whose output it takes

Source: CycloneDX 1.6, formula, workflow, task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.bundle.bom_model_card import property_name
from edgekit.bundle.facts import Subject, Transformation
from edgekit.bundle.manifest import Manifest

Value = dict[str, Any]
WORKFLOW = "workflow:release"


def formulation(manifest: Manifest, refs: Mapping[str, str]) -> list[Value]:
    """One formula, or none where the manifest has no provenance.

    Args:
        manifest: whose artifacts are explained.
        refs: how the document calls what it lists as a component, by digest.
    """
    steps = _distinct(step for entry in manifest.entries for step in entry.provenance)
    if not steps:
        return []
    known = dict(refs)
    subjects = [each for step in steps for each in (*step.inputs, *step.outputs, *step.using)]
    between = {each.digest: each for each in subjects if each.digest not in known}
    known |= {digest: digest for digest in between}
    tasks = [_task(number, step, known) for number, step in enumerate(steps, 1)]
    workflow = {
        "bom-ref": WORKFLOW,
        "uid": WORKFLOW,
        "name": f"release {manifest.name} {manifest.version}",
        "taskTypes": ["build"],
        "tasks": tasks,
        "taskDependencies": _order(steps),
    }
    components = [_component(each) for each in sorted(between.values(), key=lambda each: each.digest)]
    return [{"bom-ref": "formula", "components": components, "workflows": [workflow]}]


def _distinct(steps: Iterable[Transformation]) -> list[Transformation]:
    found: list[Transformation] = []
    for step in steps:
        if step not in found:
            found.append(step)
    return found


def _task(number: int, step: Transformation, refs: Mapping[str, str]) -> Value:
    said = {**step.details, **{f"tool {name}": version for name, version in step.tools.items()}}
    properties = [{"name": property_name(name), "value": text} for name, text in sorted(said.items())]
    value: Value = {
        "bom-ref": _ref(number),
        "uid": _ref(number),
        "name": step.action,
        "taskTypes": ["build"],
        "inputs": _unique({"resource": {"ref": refs[each.digest]}} for each in (*step.inputs, *step.using)),
        "outputs": _unique(
            {"type": "artifact", "resource": {"ref": refs[each.digest]}} for each in step.outputs
        ),
        "properties": properties,
    }
    return value


def _unique(values: Iterable[Value]) -> list[Value]:
    """The schema wants no two equal ones."""
    found: list[Value] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _order(steps: list[Transformation]) -> list[Value]:
    """Which task needs which: a step takes what another gave."""
    found = []
    for number, step in enumerate(steps, 1):
        taken = {each.digest for each in step.inputs}
        needs = [
            _ref(other)
            for other, before in enumerate(steps, 1)
            if other != number and before.outputs[-1].digest in taken
        ]
        found.append({"ref": _ref(number), "dependsOn": needs} if needs else {"ref": _ref(number)})
    return found


def _ref(number: int) -> str:
    return f"task:{number}"


def _component(subject: Subject) -> Value:
    kind, _, digest = subject.digest.partition(":")
    value: Value = {
        "type": "data" if kind == "id" else "machine-learning-model" if kind == "graph" else "file",
        "bom-ref": subject.digest,
        "name": subject.name,
    }
    if kind == "sha256":
        value["hashes"] = [{"alg": "SHA-256", "content": digest}]
    else:
        value["properties"] = [{"name": property_name(f"{kind} digest"), "value": digest}]
    return value
