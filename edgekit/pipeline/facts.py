"""Plan, canonical model, data -> Facts: what the manifest says that is the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from edgekit import preprocess
from edgekit import target as targets
from edgekit.bundle.facts import (
    NOT_STATED,
    DataFacts,
    Facts,
    FloatParent,
    ModelFacts,
    TensorFacts,
    Transformation,
)
from edgekit.dataset import Dataset
from edgekit.ir import io
from edgekit.ir.external_data import size_bytes
from edgekit.ir.layout import layouts
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan
from edgekit.preprocess import Step
from edgekit.recipe import CalibrationTable
from edgekit.spec import Ranges, TensorSpec

_ONE_FILE_BYTES = 1_900_000_000  # of weights: protobuf holds 2 GB, and the graph needs its part
_IMAGE_RANK = 4  # the rank that [data] preprocess's layouts speak of


def facts(
    plan: Plan,
    canonical: Canonical,
    *,
    data: Dataset,
    ranges: Ranges | None,
    pruned: Transformation | None = None,
    tools: Mapping[str, str],
) -> Facts:
    """What is known of a release beyond its artifacts.

    Args:
        plan: the recipe, resolved.
        canonical: the model.
        data: what it was judged on.
        ranges: what calibration found; None where nothing was calibrated.
        pruned: the step of [optimize] prune, which learns from the same data.
        tools: name -> version of all that took part.
    """
    said = layouts_of(plan, canonical, embedded=False)
    return Facts(
        model=_model(plan),
        float_parent=_float_parent(plan, canonical),
        inputs=tuple(_tensor(spec, said) for spec in canonical.inputs),
        outputs=tuple(_tensor(spec, said) for spec in canonical.outputs),
        data=_data(plan, data, ranges, pruned),
        preprocess_id=preprocess.preprocess_id(plan.recipe.data.preprocess),
        tools=dict(tools),
    )


def layouts_of(plan: Plan, form: Canonical, *, embedded: bool) -> dict[str, str]:
    """Letters of a form of the model; what the recipe says holds for the form that embeds nothing."""
    said = {} if embedded else _declared(plan.recipe.data.preprocess, form.inputs)
    return {**said, **layouts(form.model)}


def stated_licenses(plan: Plan) -> dict[str, str]:
    """What the recipe states, of the model and of each data set; NOASSERTION where it states nothing."""
    tables = plan.recipe.data
    found = {"model": plan.recipe.model.license}
    if tables.calibration is not None:
        found["calibration data"] = tables.calibration.license
    found["evaluation data"] = tables.evaluation.license
    return {name: words or NOT_STATED for name, words in found.items()}


def target_files(plan: Plan) -> dict[str, bytes]:
    """Content of the targets' own files, by target name."""
    found = {}
    for each in plan.targets:
        own = each.named.endswith(".toml")
        path = plan.base / each.named if own else targets.file_of(each.named)
        found[each.target.name] = path.read_bytes()
    return found


def _model(plan: Plan) -> ModelFacts:
    table = plan.recipe.model
    return ModelFacts(
        description=table.description,
        author=table.author,
        license=table.license,
        url=table.url,
        intended_use=table.intended_use,
        limitations=table.limitations,
    )


def _float_parent(plan: Plan, canonical: Canonical) -> FloatParent:
    digest, size = hashlib.sha256(), 0
    if size_bytes(canonical.model) <= _ONE_FILE_BYTES:
        for piece in io.pieces(canonical.model):
            digest.update(piece)
            size += len(piece)
    return FloatParent(
        graph=canonical.digest,
        file=f"{plan.stem}.onnx",
        sha256=digest.hexdigest() if size else None,
        size_bytes=size or None,
        framework=canonical.framework,
        quantized=canonical.quantized,
    )


def _declared(steps: Sequence[Step], inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """The layout that pre-processing ends with, for inputs of an image's rank."""
    ends = [step.to for step in steps if isinstance(step, preprocess.Layout)]
    if not ends:
        return {}
    return {spec.name: ends[-1] for spec in inputs if len(spec.shape) == _IMAGE_RANK}


def _tensor(spec: TensorSpec, said: Mapping[str, str]) -> TensorFacts:
    return TensorFacts(name=spec.name, dtype=spec.dtype, shape=spec.shape, layout=said.get(spec.name, ""))


def _data(
    plan: Plan, judging: Dataset, ranges: Ranges | None, pruned: Transformation | None
) -> tuple[DataFacts, ...]:
    tables = plan.recipe.data
    found = []
    if tables.calibration is not None and ranges is not None:
        learned = {"digest": ranges.data_digest, "samples": ranges.samples, "method": ranges.method}
        found.append(_read("calibration", tables.calibration, learned))
    elif tables.calibration is not None and pruned is not None:
        digest = pruned.using[0].digest.removeprefix("id:")
        found.append(
            _read("calibration", tables.calibration, {"digest": digest, "samples": pruned.details["samples"]})
        )
    judged = {"digest": judging.digest, "samples": judging.count, "metric": tables.evaluation.metric}
    return (*found, _read("evaluation", tables.evaluation, judged))


def _read(role: str, table: CalibrationTable, known: Mapping[str, object]) -> DataFacts:
    said = table.model_dump(include={"source", "split", "seed", "license", "author", "description", "url"})
    return DataFacts.model_validate({"role": role, **said, **known})
