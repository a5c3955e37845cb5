"""Source -> Proof of the framework itself on the first evaluation samples: the drift matrix's first column.

The framework is at hand where the source was exported just now. Out of a cached export it is loaded again,
but only when its proof is not in the cache either: a repeated release loads no framework.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edgekit import settings
from edgekit.errors import EdgekitError, ExportError
from edgekit.frontends.source import SourceRequest, load
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.proof import DRIFT_SAMPLES, Proof, Subject
from edgekit.pipeline.source_digest import source_digest
from edgekit.pipeline.workbench import Workbench
from edgekit.spec import Array, Feeds, Runner, TensorSpec
from edgekit.validation.streaming import run_in_batches

_NONE = ("onnx",)  # an ONNX file is its own framework: nothing lies between


def prove(
    request: SourceRequest, canonical: Canonical, bench: Workbench, *, live: Sequence[Runner]
) -> tuple[str, Proof] | None:
    """The framework's name and its proof; None where the source has none, or it cannot run these samples.

    Args:
        request: what was exported.
        canonical: its ONNX form.
        bench: the evaluation set and the float truth's proof.
        live: the framework as a runner, where it is loaded already.
    """
    if canonical.framework.split()[0] in _NONE:
        return None
    weights = str(request.weights) if request.weights else None
    files = source_digest(request.source, base=request.base, weights=weights)
    identity = {
        "framework": canonical.framework,
        "source": request.source,
        "files": files or str(uuid.uuid4()),  # too large to hash: not cached
        "data folder": str(settings.data_dir()),
    }
    subject = Subject(identity, canonical.framework, {})
    try:
        proof = bench.prover.prove(
            subject,
            lambda: Live(live[0] if live else _loaded(request), canonical.framework),
            against=bench.reference,
            first=DRIFT_SAMPLES,
        )
    except EdgekitError as error:
        bench.progress.note(f"the drift matrix is without {canonical.framework}: {error.what}")
        return None
    return canonical.framework, proof


def _loaded(request: SourceRequest) -> Runner:
    found = load(request).reference
    if found is None:
        raise ExportError(f"{request.source} has no framework of its own")
    return found


@dataclass(frozen=True)
class Live:
    """A framework of this process as a Session."""

    runner: Runner
    framework: str

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` takes."""
        return self.runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` gives."""
        return self.runner.outputs

    @property
    def facts(self) -> Mapping[str, str]:
        """What runs."""
        name, _, version = self.framework.partition(" ")
        return {"runtime": name, "version": version}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs, cut to the batch that the model insists on."""
        return run_in_batches(self.runner, feeds)

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        """No figure of a framework is asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""
