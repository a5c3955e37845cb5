"""Plan, canonical model and what ships -> the chain of transformations from the source to each file.

    source files --exported--> graph --canonicalized--> graph --restored, quantized--> --compiled--> files

P1  an ONNX source is canonicalized as it is; one that says it was pruned (``lineage``) starts with that
P1a what [optimize] prune made of the canonical graph: pruned, before everything that is a target's own
P2  float32, and bfloat16 (a run option): compiled from the canonical graph
P3  float16: converted; static quantization: restored where that was decided, quantized by a plan
P3a steps that a target embeds: embedded, before everything that is that target's own
P4  a source that came quantized: its float forms are dequantized, its own form is compiled as it came
Each step's last output is among the inputs of the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgekit.bundle import canonical_json
from edgekit.bundle.facts import Subject, Transformation
from edgekit.ir.digest import digest
from edgekit.pipeline import lineage
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.versions import tools, version
from edgekit.spec import Artifact, Precision, to_json

_BY_FRAMEWORK = {"torch": ("torch", "onnxscript"), "keras": ("keras", "tensorflow", "tf2onnx"), "tflite": ()}
_FLOAT = frozenset({Precision.FP32, Precision.BF16, Precision.FP16})
_ON_RANGES = frozenset({Precision.W8A8, Precision.W8A16})


def source_steps(sources: Mapping[str, str], canonical: Canonical) -> tuple[Transformation, ...]:
    """From the source to the canonical graph: what all artifacts have in common.

    Args:
        sources: SHA-256 by file (``source_files``).
        canonical: what came of them.
    """
    files = tuple(Subject(name=name, digest=f"sha256:{value}") for name, value in sources.items())
    steps = [*lineage.steps(canonical.lineage)]
    before = (*files, *(steps[-1].outputs if steps else ()))
    if canonical.exported:
        names = _BY_FRAMEWORK.get(canonical.framework.split()[0], ())
        exported = Subject(
            name=f"graph exported from {canonical.framework}", digest=f"graph:{canonical.exported}"
        )
        found = {name: version(name) for name in names}
        steps.append(
            Transformation(
                action="exported",
                inputs=before or (exported,),
                outputs=(exported,),
                tools=_edgekit() | {name: value for name, value in found.items() if value},
            )
        )
        before = (exported,)
    given = Subject(name="canonical graph", digest=f"graph:{canonical.digest}")
    steps.append(
        Transformation(
            action="canonicalized",
            inputs=before or (given,),
            outputs=(given,),
            tools=_edgekit("onnx-ir", "onnxscript"),
        )
    )
    return tuple(steps)


def embedded(
    source: tuple[Transformation, ...], canonical: Canonical, asked: Sequence[str]
) -> tuple[Transformation, ...]:
    """``source``, and that steps of the app went inside; ``source`` itself where none did."""
    if not asked:
        return source
    after = Subject(name="graph with steps inside", digest=f"graph:{canonical.digest}")
    step = _step("embedded", source[-1].outputs[-1], after, "onnx-ir", "numpy")
    return (*source, step.model_copy(update={"details": {"steps": ", ".join(asked)}}))


def steps_of(
    judged: Judged, canonical: Canonical, prepared: Prepared | None, *, source: tuple[Transformation, ...]
) -> tuple[Transformation, ...]:
    """``source`` and what was done to the canonical graph for this artifact."""
    steps = [*source]
    before = source[-1].outputs[-1]
    graph = Subject(name=f"{judged.artifact.precision} graph", digest=f"graph:{judged.graph}")
    if graph.digest != before.digest:
        for step in _changes(judged, canonical, prepared, before=before, graph=graph):
            steps.append(step)
            before = step.outputs[-1]
    steps.append(_compiled(judged.artifact, before))
    return tuple(steps)


def _changes(
    judged: Judged, canonical: Canonical, prepared: Prepared | None, *, before: Subject, graph: Subject
) -> list[Transformation]:
    precision = judged.artifact.precision
    if canonical.quantized:  # P4; what came is the canonical graph, but for the sign of its types
        action = "dequantized" if precision in _FLOAT else "converted"
        return [_step(action, before, graph, "onnx-ir", "numpy")]
    on_ranges = prepared is not None and precision in {*_ON_RANGES, Precision.FP16}
    steps = []
    if prepared is not None and on_ranges:
        restored = _restored(judged, prepared, before)
        if restored is not None:
            steps.append(restored)
            before = restored.outputs[-1]
    if precision is Precision.FP16:
        steps.append(_step("converted", before, graph, "onnx-ir", "numpy"))
        return steps
    using = [Subject(name="plan", digest=f"id:{judged.artifact.plan_digest}")]
    if prepared is not None and on_ranges:
        using.append(Subject(name="ranges", digest=f"sha256:{_digest_of_ranges(prepared)}"))
        using.append(Subject(name="calibration data", digest=f"id:{prepared.ranges.data_digest}"))
    details = {"precision": str(precision), "scheme": judged.scheme.label}
    if prepared is not None and on_ranges:
        details |= {"calibration": prepared.ranges.method, "samples": str(prepared.ranges.samples)}
    kept = len(judged.row.left_float)
    if kept:
        details["operators left in float"] = str(kept)
    step = _step("quantized", before, graph, "onnx-ir", "numpy", "onnxruntime")
    steps.append(step.model_copy(update={"using": tuple(using), "details": details}))
    return steps


def _restored(judged: Judged, prepared: Prepared, before: Subject) -> Transformation | None:
    decided = prepared.restoration
    if judged.artifact.precision is Precision.FP16:  # the rest is about integers
        decided = replace(decided, corrections={}, roundings={})
    if not judged.scheme.corrected:
        decided = replace(decided, corrections={})
    if not (decided.exponents or decided.corrections or decided.roundings):
        return None
    counts = {
        "values equalized": len(decided.exponents),
        "biases corrected": len(decided.corrections),
        "roundings learned": len(decided.roundings),
    }
    identity = canonical_json.digest(json.loads(json.dumps(to_json(decided))))
    step = _step(
        "restored",
        before,
        Subject(name="restored graph", digest=f"graph:{digest(prepared.model)}"),
        "numpy",
        "onnxruntime",
    )
    return step.model_copy(
        update={
            "using": (
                Subject(name="restoration", digest=f"id:{identity}"),
                Subject(name="calibration data", digest=f"id:{prepared.ranges.data_digest}"),
            ),
            "details": {name: str(count) for name, count in counts.items() if count},
        }
    )


def _compiled(artifact: Artifact, before: Subject) -> Transformation:
    return Transformation(
        action="compiled",
        inputs=(before,),
        outputs=tuple(Subject(name=entry.path, digest=f"sha256:{entry.sha256}") for entry in artifact.files),
        tools=_edgekit() | dict(artifact.tools),
        details={"backend": artifact.backend, "precision": str(artifact.precision)},
    )


def _step(action: str, before: Subject, after: Subject, *names: str) -> Transformation:
    return Transformation.model_validate(
        {"action": action, "inputs": (before,), "outputs": (after,), "tools": _edgekit(*names)}
    )


def _digest_of_ranges(prepared: Prepared) -> str:
    """SHA-256 of ranges.json as the bundle holds it."""
    return hashlib.sha256(canonical_json.render(to_json(prepared.ranges))).hexdigest()


def _edgekit(*names: str) -> dict[str, str]:
    found = tools()
    return {name: found[name] for name in ("edgekit", *names) if name in found}
