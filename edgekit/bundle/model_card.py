"""Manifest (and what a machine measured of it) -> a model card in Markdown, written from the facts.

    README.md              the manifest's facts alone: the same bytes on every machine
    report/model-card.md   the same, with accuracy and latency as this machine measured them: evidence

Front matter is that of Hugging Face's model cards, one JSON value in each line (JSON is YAML). Every name and
text out of a model or a recipe is escaped (``markdown_text``).
Source: Mitchell et al., Model Cards for Model Reporting (2019); huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence

from edgekit.bundle.describe import limitations, quantization_words, sizes
from edgekit.bundle.evidence import Measurement
from edgekit.bundle.facts import NOT_STATED, About
from edgekit.bundle.manifest import ARTIFACTS, FILES, CandidateEntry, Manifest, TargetEntry
from edgekit.bundle.markdown_text import table, text
from edgekit.bundle.run_snippets import install_line, snippet

FILE_NAME = "README.md"
MEASURED_NAME = "model-card.md"
_TAGS = {"onnxruntime": "onnx", "litert": "tflite", "openvino": "openvino", "executorch": "executorch"}


def card(manifest: Manifest, *, measured: Sequence[Measurement] = (), machine: str = "") -> str:
    """The whole card.

    Args:
        manifest: its facts.
        measured: of its artifacts; none = the card holds no figure of any machine.
        machine: on which, in words.
    """
    parts = [*_head(manifest), *_interface(manifest), *_around(manifest), *_files(manifest)]
    parts += [*_measured(measured, machine), *_run(manifest), *_data(manifest)]
    parts += [*_made(manifest), *_limits(manifest), *_check(manifest)]
    return _front_matter(manifest, measured) + "\n" + "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest, measured: Sequence[Measurement]) -> str:
    stated = manifest.model.license
    backends = {entry.artifact.backend for entry in manifest.targets}
    values: dict[str, object] = {"tags": ["edgekit", *sorted({_TAGS.get(name, name) for name in backends})]}
    if stated and " " not in stated and not stated.startswith("LicenseRef-"):
        values["license"] = stated.lower()
    elif stated:  # Hugging Face knows no expressions
        values |= {"license": "other", "license_name": stated}
    results = [_result(each, manifest) for each in measured if each.accuracy is not None]
    if results:
        values["model-index"] = [{"name": manifest.name, "results": results}]
    lines = [f"{name}: {json.dumps(value)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _result(measured: Measurement, manifest: Manifest) -> dict[str, object]:
    accuracy = measured.accuracy
    assert accuracy is not None  # noqa: S101  the caller has looked
    data = next((each.source for each in manifest.data if each.role == "evaluation"), "unknown")
    name = f"{accuracy.metric}, {measured.target}"
    value = {"type": accuracy.metric, "value": accuracy.candidate, "name": name}
    return {"task": {"type": "other"}, "dataset": {"name": data, "type": data}, "metrics": [value]}


def _head(manifest: Manifest) -> Iterator[str]:
    about = manifest.model
    yield f"# {text(manifest.name)} {text(manifest.version)}"
    if about.description:
        yield text(about.description)
    facts = {
        "Author": about.author,
        "Licence": _licence(about),
        "More": about.url,
        "Intended use": about.intended_use,
        "Made by": f"edgekit {manifest.edgekit_version}",
    }
    yield "\n".join(f"- {name}: {text(value)}" for name, value in facts.items() if value)


def _licence(about: About) -> str:
    return about.license or f"{NOT_STATED} (nobody stated one)"


def _interface(manifest: Manifest) -> Iterator[str]:
    both = [("input", each) for each in manifest.inputs] + [("output", each) for each in manifest.outputs]
    if both:
        yield "## Inputs and outputs"
        yield "As the reference model has them; a name in a shape is a size that may vary."
        rows = [(kind, each.name, each.dtype, sizes(each.shape), each.layout) for kind, each in both]
        yield table(("", "name", "type", "shape", "layout"), rows)


def _around(manifest: Manifest) -> Iterator[str]:
    """What the app does before and after the model, and which files do some of it themselves."""
    processing = manifest.processing
    before = [
        (each.name, f"{number}. {_words(step.model_dump(mode='json'))}")
        for each in processing.inputs
        for number, step in enumerate(each.steps, 1)
    ]
    after = [
        (each.name, each.activation, f"axis {each.axis}", each.labels)
        for each in processing.outputs
        if each.activation != "none" or each.labels
    ]
    if before or after or processing.nms:
        yield "## Around the model"
    if before:
        yield "What an app does to a raw sample, in this order, in float32 (docs/embed.md defines the steps):"
        yield table(("input", "step"), before)
    if after:
        yield table(("output", "activation", "of the classes", "labels"), after)
    if processing.nms is not None:
        yield f"Then non-maximum suppression: {text(_words(processing.nms.model_dump(mode='json')))}."
    inside = [(entry.name, entry.processing.embedded) for entry in manifest.targets]
    rows = [(name, ", ".join(steps)) for name, steps in inside if steps]
    if rows:
        yield "Inside the file, and no longer the app's (manifest.json lists what is left, target by target):"
        yield table(("target", "steps"), rows)


def _words(value: dict[str, object]) -> str:
    name = str(value.pop("op", ""))
    rest = ", ".join(f"{key} {json.dumps(held)}" for key, held in value.items() if held not in (None, ""))
    return f"{name} {rest}".strip()


def _files(manifest: Manifest) -> Iterator[str]:
    yield "## Files"
    rows = [
        (
            entry.name,
            str(entry.precision),
            _paths(entry),
            f"{sum(file.size_bytes for file in entry.artifact.files):,}",
            install_line(entry),
        )
        for entry in manifest.targets
    ]
    yield table(("target", "precision", "file", "bytes", "runtime"), rows)
    reference = {(each.name, each.dtype, each.shape) for each in (*manifest.inputs, *manifest.outputs)}
    beside = [each for each in manifest.entries if isinstance(each, CandidateEntry)]
    if beside:
        yield "Candidates where nothing could be measured; `edgekit bench --evidence` on the device decides:"
        yield table(
            ("target", "candidate", "file"), [(each.name, each.label, _paths(each)) for each in beside]
        )
    others = [row for entry in manifest.targets for row in _other_forms(entry, reference)]
    if others:
        yield "Where a file has another form than the reference model:"
        yield table(("target", "tensor", "in the file", "type", "shape", "layout", "integers"), others)
    extra = [file.path for file in manifest.files if file.path.startswith(f"{FILES}/")]
    if extra:
        yield f"Files that belong to the model: {', '.join(map(text, extra))}."


def _paths(entry: TargetEntry) -> str:
    return ", ".join(f"{ARTIFACTS}/{file.path}" for file in entry.artifact.files)


def _other_forms(entry: TargetEntry, reference: Container[object]) -> Iterator[tuple[str, ...]]:
    for each in (*entry.artifact.inputs, *entry.artifact.outputs):
        if (each.name, each.dtype, each.shape) not in reference or each.quant:
            layout = entry.artifact.layouts.get(each.name, "")
            yield (
                entry.name,
                each.reference.name,
                each.name,
                each.dtype,
                sizes(each.shape),
                layout,
                quantization_words(each),
            )


def _measured(measured: Sequence[Measurement], machine: str) -> Iterator[str]:
    if not measured:
        return
    yield "## Measured"
    yield f"On {text(machine or 'the machine that released it')}; evidence.json has all of it."
    rows = []
    for each in measured:
        accuracy, ratio = each.accuracy, each.ratio
        rows.append(
            (
                each.target,
                f"{accuracy.metric} {accuracy.candidate:.4f}" if accuracy else "",
                f"{accuracy.reference:.4f}" if accuracy else "",
                f"{accuracy.drop:.3g} {accuracy.unit} [{accuracy.low:+.3g}, {accuracy.high:+.3g}]"
                if accuracy
                else "",
                f"{each.latency.p50_ms:.3g} ms" if each.latency else "",
                f"{ratio.value:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]" if ratio else "",
                each.not_run or each.runtime,
            )
        )
    head = ("target", "accuracy", "float", "drop and interval", "median latency", "of float's", "ran on")
    yield table(head, rows)


def _run(manifest: Manifest) -> Iterator[str]:
    shown = [(entry, snippet(entry)) for entry in manifest.targets]
    if not any(lines for _, lines in shown):
        return
    yield "## Run it"
    yield "In this folder; the sample is zeros, put yours in its place."
    for entry, lines in shown:
        if lines:
            yield f"{text(entry.name)} (`pip install {install_line(entry)} numpy`):"
            yield f"```python\n{lines}```"


def _data(manifest: Manifest) -> Iterator[str]:
    if not manifest.data:
        return
    yield "## Data"
    rows = [
        (
            each.role,
            " ".join(part for part in (each.source, each.split) if part),
            f"{each.samples:,}",
            _licence(each),
            each.author,
            each.description,
            each.url,
        )
        for each in manifest.data
    ]
    yield table(("used for", "source", "samples", "licence", "author", "what it is", "more"), rows)


def _made(manifest: Manifest) -> Iterator[str]:
    shipped = [entry for entry in manifest.targets if entry.provenance]
    chains = [(entry.name, " → ".join(_actions(entry))) for entry in shipped]
    if chains:
        yield "## How it was made"
        yield "Each step with the hashes of what it took and gave is in manifest.json and sbom.cdx.json."
        yield table(("target", "steps"), chains)
    parent = manifest.float_parent
    if parent is not None:
        yield (
            f"The float model that all files derive from has the graph digest {text(parent.graph)}; "
            f"it came from {text(parent.framework)}."
        )


def _actions(entry: TargetEntry) -> Iterator[str]:
    for step in entry.provenance:
        yield f"{step.action} to {entry.precision}" if step.action == "quantized" else step.action


def _limits(manifest: Manifest) -> Iterator[str]:
    found = limitations(manifest)
    if found:
        yield "## Limitations"
        yield "\n".join(f"- {text(each)}" for each in found)


def _check(manifest: Manifest) -> Iterator[str]:
    yield "## Check it"
    yield "\n".join(
        (
            "- `edgekit verify .` hashes every file and replays the golden vectors on each runtime here.",
            f"- Accuracy and latency, of one machine: report/report.html, report/{MEASURED_NAME}.",
            "- manifest.json: every fact above. sbom.cdx.json: licences and hashes of model, data and tools.",
        )
    )
