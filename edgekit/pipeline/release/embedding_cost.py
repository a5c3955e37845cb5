"""What ships with steps inside x the same without them -> what the steps cost there, in time and in bytes.

Both are the same scheme, compiled for the same target and timed in turn, each on what it takes. The steps
that the app would do otherwise are not counted: their code is the app's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edgekit.errors import EdgekitError
from edgekit.pipeline import latency
from edgekit.pipeline.candidates import compiled
from edgekit.pipeline.judge import Judged
from edgekit.pipeline.plan import Plan, TargetPlan
from edgekit.pipeline.proof import Opener, open_at, options_at, where
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import Array, Artifact, Embedding, Feeds, Session, TensorSpec, to_json

_INSIDE, _APP = "steps inside", "steps in the app"


def costs(
    plan: Plan, shipped: Mapping[str, Judged], benches: Mapping[tuple[Embedding, ...], Workbench]
) -> tuple[str, ...]:
    """One finding for each artifact of ``shipped`` (by target) with steps inside; see ``cost``."""
    found = [
        cost(each, shipped[each.target.name], inside=benches[each.embed], model=benches[()])
        for each in plan.targets
        if each.embed and each.target.name in shipped
    ]
    return tuple(said for said in found if said)


def cost(plan: TargetPlan, shipped: Judged, *, inside: Workbench, model: Workbench) -> str:
    """The finding; "" where latency is not measured here, or the form without the steps is refused.

    Args:
        plan: of the target.
        shipped: what ships for it.
        inside: the workbench of the model with the steps inside.
        model: the workbench of the model itself.
    """
    place = where(plan.target, plan.options)
    if not place.timed:
        return ""
    try:
        plain = compiled(plan, shipped.scheme, model)
    except EdgekitError as error:
        model.progress.note(f"{plan.target.name}: no figure of what the embedded steps cost: {error.what}")
        return ""
    sides = {_APP: (plain, model), _INSIDE: (shipped.artifact, inside)}
    feeds = {name: next(iter(bench.data.batches(1))) for name, (_, bench) in sides.items()}

    def opener(name: str) -> Opener:
        return lambda: _Fed(open_at(sides[name][0], place), feeds[name])

    model.progress.stage(f"{plan.target.name}: what the embedded steps cost")
    timed = latency.measure(
        {name: opener(name) for name in sides},
        feeds[_APP],
        baseline=_APP,
        identity={
            "files": {name: [f.sha256 for f in artifact.files] for name, (artifact, _) in sides.items()},
            "options": {name: to_json(options_at(artifact, place)) for name, (artifact, _) in sides.items()},
        },
        machine_key=model.machine_key,
        cache=model.cache,
        progress=model.progress,
    )
    return _sentence(plan, shipped, plain, timed)


def _sentence(plan: TargetPlan, shipped: Judged, plain: Artifact, timed: Mapping[str, latency.Timed]) -> str:
    ratio = timed[_INSIDE].ratio
    times = f"{timed[_INSIDE].latency.p50_ms:.3g} ms against {timed[_APP].latency.p50_ms:.3g} ms"
    said = f" ({ratio.value:.3g}× [{ratio.low:.3g}, {ratio.high:.3g}])" if ratio else ""
    more = shipped.artifact.size_bytes - plain.size_bytes
    name = f"{plan.target.name} {shipped.scheme.label}"
    return f"{name}: with {', '.join(plan.embed)} inside {times} without{said}, {more:+,} bytes"


@dataclass(frozen=True)
class _Fed:
    """A session that is timed on its own feeds, whatever it is handed."""

    session: Session
    own: Feeds

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the session."""
        return self.session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the session."""
        return self.session.outputs

    @property
    def facts(self) -> Mapping[str, str]:
        """Those of the session."""
        return self.session.facts

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs for its own feeds."""
        del feeds
        return self.session.run(self.own)

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """Milliseconds of its own feeds."""
        del feeds
        return self.session.time_ms(self.own, runs=runs)

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
