"""A bench result x a recipe -> what lies around each inference, and the inference's share of the whole.

    raw sample --preprocess steps--> --input form--> inference --output form--> --postprocess--> answer

Samples are the recipe's own (``[data] evaluation``), before their pre-processing. Input and output form are
what the artifact's own layout and types ask for (``backends/bindings.py``): channels last, integers. Steps
run here, in one thread, as edgekit defines them (``edgekit/preprocess.py``, NumPy); an application's own may
be faster or slower, and decoding a file is not in it. The inference is the steady state of the same row.

N1 batch 1 only: an application pre-processes one sample · N2 not on devices: there is no recipe there · N3 an
artifact that dies meanwhile is a row of ``failures``; its steady state stands.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit import dataset, preprocess, recipe
from edgekit.backends import registry
from edgekit.backends.bindings import artifact_from_reference, reference_from_artifact
from edgekit.dataset import DataSource
from edgekit.errors import BackendCrashError, InputError
from edgekit.measure.chain import Step, time_chain
from edgekit.pipeline.align import in_terms_of
from edgekit.pipeline.bench.failures import exit_code_of, failed_row
from edgekit.pipeline.embedding import steps_for
from edgekit.pipeline.open import artifact_at
from edgekit.pipeline.post_processing import post_processing
from edgekit.pipeline.result import BenchResult, BenchRow, EndToEndRow, StepRow
from edgekit.recipe import Recipe
from edgekit.spec import Array, Artifact, Feeds, Progress

SAMPLES = 8  # in turn: photographs differ in size, and so does their resize
INPUT_FORM, OUTPUT_FORM = "input form", "output form"


def check_end_to_end(path: Path, *, devices: Sequence[object], batches: Sequence[int]) -> None:
    """Say before anything is measured what cannot be.

    Raises:
        InputError: N1, N2, or what is wrong with the recipe or its post-processing.
    """
    if devices:
        raise InputError(
            "end to end is measured on this machine only",
            why="pre-processing is edgekit's own code, and there is no edgekit on a device",
            remedy="leave out --device, or --recipe",
        )
    if 1 not in batches:
        raise InputError(
            "end to end is measured at batch 1",
            why="a recipe says how one sample is pre-processed",
            remedy="add 1 to --batch",
        )
    asked = recipe.load(path)
    if asked.data.postprocess:
        post_processing(asked.data.postprocess, base=path if path.is_dir() else path.parent)


def with_end_to_end(result: BenchResult, path: Path, *, progress: Progress) -> BenchResult:
    """``result`` with ``end_to_end`` in every row of batch 1.

    Raises:
        RecipeError, DataError: the recipe or its data cannot be read.
    """
    asked, base = recipe.load(path), (path if path.is_dir() else path.parent)
    rows, failures, first, starts = [], [*result.failures], None, list[Feeds]()
    progress.stage("measure what lies around the inference", total=len(result.rows))
    for each in result.rows:
        row = each
        artifact = artifact_at(Path(row.artifact))
        if first is None:
            first, starts = artifact, _raw_samples(asked, artifact, base)
        inputs, outputs = ([each.reference for each in side] for side in (first.inputs, first.outputs))
        aligned, _ = in_terms_of(artifact, inputs, outputs)
        if row.batch == 1:
            try:
                row = replace(row, end_to_end=_measured(row, aligned, asked, base=base, starts=starts))
            except BackendCrashError as error:  # N3
                failures.append(failed_row(row.artifact, error, under="end to end"))
        rows.append(row)
        progress.advance()
    code = result.exit_code if failures == [*result.failures] else exit_code_of(rows, (), failures)
    return replace(result, rows=tuple(rows), failures=tuple(failures), exit_code=code)


def _raw_samples(asked: Recipe, artifact: Artifact, base: Path) -> list[Feeds]:
    """Some of the recipe's samples before pre-processing, which must fit the artifact after it."""
    table = asked.data.evaluation
    source = DataSource(table.source, table.split, SAMPLES, table.seed, table.slices)
    inputs = tuple(binding.reference for binding in artifact.inputs)
    first = next(iter(dataset.load(source, inputs=inputs, base=base).samples()))
    data = dataset.load(source, inputs=inputs, base=base, preprocess=steps_for(asked, artifact, first))
    dataset.check(data, inputs)
    return list(data.raw() if data.raw else data.samples())


def _measured(
    row: BenchRow, artifact: Artifact, asked: Recipe, *, base: Path, starts: Sequence[Feeds]
) -> EndToEndRow:
    before, output_form = _before(steps_for(asked, artifact, starts[0]), artifact), _output_form(artifact)
    results = _results(artifact, before, starts)
    found = [_row(name, "pre-processing", each) for name, each in time_chain(before, starts).items()]
    after = time_chain([output_form], results)
    if asked.data.postprocess:
        own = post_processing(asked.data.postprocess, base=base)
        with own.ready():
            after = time_chain([output_form, (own.source, own)], results)
    found += [_row(name, "post-processing", each) for name, each in after.items()]
    inference_ms = row.latency.p50_ms
    total_ms = inference_ms + sum(each.p50_ms for each in found)
    return EndToEndRow(tuple(found), inference_ms, total_ms, inference_ms / total_ms, len(starts))


def _row(name: str, where: Literal["pre-processing", "post-processing"], samples: Sequence[float]) -> StepRow:
    return StepRow(name, where, statistics.median(samples))


def _before(own: Sequence[preprocess.Step], artifact: Artifact) -> list[Step]:
    """The app's steps, over every array of a sample, then the artifact's own form."""
    steps: list[Step] = []
    for index, step in enumerate(own, start=1):
        steps.append((f"{index} {step.op}", _each(step)))
    return [
        *steps,
        (INPUT_FORM, lambda each: artifact_from_reference(_batch(each, artifact), artifact.inputs)),
    ]


def _each(step: preprocess.Step) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    def apply(sample: Mapping[str, Array]) -> dict[str, Array]:
        return {name: preprocess.apply(np.asarray(array), (step,)) for name, array in sample.items()}

    return apply


def _output_form(artifact: Artifact) -> Step:
    return OUTPUT_FORM, lambda arrays: reference_from_artifact(arrays, artifact.outputs)


def _results(artifact: Artifact, before: Sequence[Step], starts: Sequence[Any]) -> list[dict[str, Array]]:
    """The outputs for every start, in the artifact's own form."""
    found = []
    with registry.backend(artifact.backend).open(artifact, artifact.options) as session:
        for start in starts:
            value = start
            for _, step in before[:-1]:
                value = step(value)
            outputs = session.run(_batch(value, artifact))
            named = artifact_from_reference(outputs, artifact.outputs)
            found.append(named)
    return found


def _batch(sample: Mapping[str, Array], artifact: Artifact) -> Feeds:
    types = {binding.reference.name: binding.reference.dtype for binding in artifact.inputs}
    return {name: np.asarray(array, types[name])[None] for name, array in sample.items()}
