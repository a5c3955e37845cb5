"""A successful release -> the bundle on disk: reproducible facts, evidence, reports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from edgekit._version import __version__
from edgekit.bundle.evidence import (
    AccuracyFacts,
    DriftFacts,
    GateFacts,
    MachineFacts,
    Measurement,
    RatioFacts,
)
from edgekit.bundle.golden import tolerance_for
from edgekit.bundle.processing import Processing
from edgekit.bundle.sign import Signer
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.dataset import Dataset
from edgekit.pipeline import facts
from edgekit.pipeline.installed import used_packages
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.latency import latency_facts
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.plan import Plan, associated_files
from edgekit.pipeline.prepare import Prepared
from edgekit.pipeline.proof import golden_inputs
from edgekit.pipeline.prune.for_release import PrunedSource
from edgekit.pipeline.release import provenance
from edgekit.pipeline.result import CandidateRow, ReleaseResult
from edgekit.pipeline.snapshot import SAMPLES, samples_of
from edgekit.pipeline.source_files import source_files
from edgekit.spec import to_json

_NO_RANGES: dict[str, object] = {}  # nothing was quantized: the file says so by being empty


@dataclass(frozen=True, eq=False)
class Inside:
    """A form of the model with steps of the app inside.

    Attributes:
        processing: what is left to the app.
        canonical: its float form.
        prepared: what its integers were made from; None where nothing was.
        pruned: its pruned float form; None where the recipe asks for none.
    """

    processing: Processing
    canonical: Canonical
    prepared: Prepared | None
    pruned: Canonical | None = None


def deliver(
    plan: Plan,
    canonical: Canonical,
    *,
    result: ReleaseResult,
    shipped: Mapping[str, Judged],
    waiting: Mapping[str, tuple[Judged, ...]],
    around: Processing,
    inside: Mapping[str, Inside],
    data: Dataset,
    prepared: Prepared | None,
    pruned: PrunedSource | None,
    lock_text: str,
    out: Path,
    signer: Signer | None,
    render: Callable[[ReleaseResult], Mapping[str, bytes]] | None,
) -> ReleaseResult:
    """Write the bundle ``out/<name>-<version>`` and give the result that names it.

    ``around`` is what an app does around the model; ``inside``, by target, where an artifact does some of it.
    ``waiting``: by target, the candidates among which a device has to choose; what ships is one of them.

    Raises:
        OutputError: the folder cannot be written, or holds something that is no bundle.
        VerificationError: an artifact changed since it was proved.
    """
    folder = out / plan.stem
    ranges = prepared.ranges if prepared else None
    sources = source_files(plan.recipe.model.source, base=plan.base, weights=plan.recipe.model.weights)
    common = provenance.source_steps(sources, canonical)
    done = replace(result, bundle=folder)
    baselines = {
        row.target: row for target in result.targets for row in target.candidates if row.role == "float"
    }

    def entry(each: Judged) -> Shipped:
        plain = Inside(around, canonical, prepared, pruned.canonical if pruned else None)
        form = inside.get(each.artifact.target, plain)
        start, made_of = common, form.canonical
        if each.scheme.pruned and pruned is not None and form.pruned is not None:
            start, made_of = (*common, pruned.step), form.pruned
        source = provenance.embedded(start, made_of, form.processing.embedded)
        return Shipped(
            each.artifact,
            tolerance_for(each.artifact.precision, between=each.scheme.between),
            each.proof.golden,
            processing=form.processing,
            provenance=provenance.steps_of(each, made_of, form.prepared, source=source),
            ran=each.proof.facts,
            layouts=facts.layouts_of(plan, form.canonical, embedded=bool(form.processing.embedded)),
            label=each.scheme.label,
        )

    content = BundleContent(
        name=plan.recipe.model.name,
        version=plan.recipe.model.version,
        edgekit_version=__version__,
        model_digest=canonical.digest,
        sources=sources,
        facts=facts.facts(
            plan,
            canonical,
            data=data,
            ranges=ranges,
            pruned=pruned.step if pruned else None,
            tools=result.tools,
        ),
        target_files=facts.target_files(plan),
        packages=used_packages(
            {*result.tools, *(name for each in shipped.values() for name in each.artifact.tools)}
        ),
        calibration_digest=ranges.data_digest if ranges else "",
        recipe=json.loads(plan.recipe.resolved_json()),
        ranges=to_json(ranges) if ranges else _NO_RANGES,
        lock=lock_text.encode(),
        golden_inputs=golden_inputs(data).raw,
        processing=around,
        associated={
            name: path.read_bytes() for name, path in associated_files(plan.recipe, base=plan.base).items()
        },
        shipped=tuple(map(entry, shipped.values())),
        candidates=tuple(entry(each) for held in waiting.values() for each in held),
        machine=MachineFacts(key=result.machine.key, facts=dict(result.machine.facts)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        measurements=tuple(_measurement(each.row, baselines[name]) for name, each in shipped.items()),
        reports={
            **(render(done) if render else {}),
            SAMPLES: samples_of({name: each.proof.evaluation for name, each in shipped.items()}),
        },
    )
    write(content, folder, signer=signer)
    return done


def _measurement(row: CandidateRow, baseline: CandidateRow) -> Measurement:
    accuracy = row.accuracy
    return Measurement(
        target=row.target,
        artifact_sha256=row.sha256,
        status=row.status,
        runtime=row.ran_on,
        not_run=row.caveat,
        latency=latency_facts(row.latency) if row.latency else None,
        float_latency=latency_facts(baseline.latency) if baseline.latency else None,
        ratio=RatioFacts(value=row.ratio.value, low=row.ratio.low, high=row.ratio.high)
        if row.ratio
        else None,
        accuracy=AccuracyFacts(
            metric=accuracy.metric,
            reference=accuracy.reference,
            candidate=accuracy.value,
            drop=accuracy.drop_pp,
            low=accuracy.drop_low_pp,
            high=accuracy.drop_high_pp,
            unit=accuracy.unit,
            method=accuracy.method,
            samples=accuracy.samples,
        )
        if accuracy
        else None,
        gates=tuple(
            GateFacts(
                name=gate.name,
                status=gate.status,
                measured=gate.measured,
                limit=gate.limit,
                reason=gate.reason,
            )
            for gate in row.gates
        ),
        drift=tuple(
            DriftFacts(
                output=each.output,
                max_abs=each.max_abs,
                cosine=_finite(each.cosine),
                sqnr_db=_finite(each.sqnr_db),
                max_steps=each.max_steps,
                samples=each.samples,
            )
            for each in row.drift
        ),
        memory_bytes=row.memory_bytes,
        coverage=row.coverage.share if row.coverage else None,
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity: nothing differs, or there is nothing to compare with."""
    return value if math.isfinite(value) else None
