"""Models x targets -> how long each takes against the float model, measured alternately on the real runtimes.

A few sessions are open at a time, the float model's among them; each is compiled as ``compile`` does it. With
several targets a cell of the table is the mean of them, and the whole is as fast as on the slowest.

A cell is small (some per cent of the whole) and there are dozens, so it is told from noise by what other
programs cannot do: make an inference faster. It compares the QUIET-th percentile of the samples of both
sides; on a busy machine ratios of medians said that fewer channels take up to 1.5 times the time. So does
the search (``undisturbed``). What is promised in the end is of medians, with the interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest, IoForm
from edgekit.ir.graph import is_onnx
from edgekit.measure.statistics import percentile
from edgekit.measure.timer import FEWEST_ROUNDS, ROUNDS, Comparison, compare
from edgekit.passes import canonicalize
from edgekit.pipeline.latency import latency_row, ratio_row
from edgekit.pipeline.result.prune import PruneSpeedRow
from edgekit.spec import Feeds, Precision, Progress, Session
from edgekit.target import Target

QUIET = 10  # per cent of the samples are faster
TOGETHER = 6  # sessions beside the float model's: six processes of a small model fit any machine
FLOAT = "float"


@dataclass(frozen=True)
class Speedometer:
    """What all measurements of one pruning share.

    Attributes:
        reference: the float model.
        targets: where it is measured.
        threads: inside an operator; None = the target's own.
        feeds: one sample.
        seed: of the intervals.
        threads_of: by target's name, in place of ``threads``.
    """

    reference: ir.Model
    targets: tuple[Target, ...]
    threads: int | None
    feeds: Feeds
    seed: int
    threads_of: Mapping[str, int] = field(default_factory=dict)

    def savings(
        self, models: Mapping[str, ir.Model], progress: Progress, *, stage: str = "time each width"
    ) -> dict[str, tuple[float, ...]]:
        """Part of the float latency that each model saves, on each target.

        ``stage``: what ``progress`` calls it.
        """
        found: dict[str, tuple[float, ...]] = dict.fromkeys(models, ())
        progress.stage(stage, total=len(models) * len(self.targets))
        for target in self.targets:
            for start in range(0, len(models), TOGETHER):
                part = dict(list(models.items())[start : start + TOGETHER])
                compared = self._compare(part, target, rounds=FEWEST_ROUNDS)
                quiet = {name: percentile(row.raw_ms, QUIET) for name, row in compared.latencies.items()}
                for name in part:
                    found[name] += (1 - quiet[name] / quiet[FLOAT],)
                progress.advance(len(part))
        return found

    def speeds(self, model: ir.Model, progress: Progress) -> tuple[PruneSpeedRow, ...]:
        """Latency and ratio of one model on each target."""
        rows = []
        progress.stage("time the pruned model", total=len(self.targets))
        for target in self.targets:
            compared = self._compare({"pruned": model}, target, rounds=ROUNDS)
            ratio = ratio_row(compared, "pruned")
            assert ratio is not None  # noqa: S101  all rounds were measured
            float_, pruned = (latency_row(compared.latencies[name]) for name in (FLOAT, "pruned"))
            rows.append(PruneSpeedRow(target.name, float_, pruned, ratio))
            progress.advance()
        return tuple(rows)

    def _compare(self, models: Mapping[str, ir.Model], target: Target, *, rounds: int) -> Comparison:
        with drafts.temporary("edgekit-prune-") as folder, ExitStack() as stack:
            sessions = {
                name: stack.enter_context(self._opened(model, target, folder / str(number)))
                for number, (name, model) in enumerate({FLOAT: self.reference, **models}.items())
            }
            return compare(sessions, self.feeds, baseline=FLOAT, seed=self.seed, rounds=rounds)

    def _opened(self, model: ir.Model, target: Target, folder: Path) -> Session:
        folder.mkdir()
        backend = registry.backend(target.backend)
        options = target.run.options(threads=self.threads_of.get(target.name, self.threads))
        # a module's layers are apart (``passes.layers_apart``): what ships has them folded
        apart = any(is_onnx(node, "BatchNormalization") for node in model.graph)
        request = CompileRequest(
            model=canonicalize(model) if apart else model,
            target=target,
            precision=Precision.FP32,
            options=options,
            stem="pruned-0",
            io=IoForm("float32", "auto"),
        )
        return backend.open(backend.compile(request, folder), options)


def slowest(rows: Sequence[PruneSpeedRow]) -> float:
    """How many times faster than float on the target that gains least."""
    return min(1 / row.ratio.value for row in rows)


def undisturbed(rows: Sequence[PruneSpeedRow]) -> float:
    """Likewise, by the QUIET-th percentiles of the samples."""
    return min(percentile(row.reference.raw_ms, QUIET) / percentile(row.pruned.raw_ms, QUIET) for row in rows)
