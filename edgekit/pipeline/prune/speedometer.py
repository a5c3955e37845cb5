"""Models x targets -> how long each takes against the float model, measured alternately on the real runtimes.

    savings       cells of the table: a few sessions at a time, the float model's among them, opened once
    times_faster  a plan of the search: the median of LOOKS launches
    speeds        what is promised: LAUNCHES launches at most, judged as ``bench`` does (``replicate``)

Each model is compiled as ``compile`` does it. With several targets a cell of the table is the mean of them,
and the whole is as fast as on the slowest.

T1: a ratio is of two rounds that lie beside each other, and of these the median. A machine has speeds of its
    own, a third apart, that last for tenths of a second (boost, the neighbours of a virtual one); over all
    samples of a launch the tenth percentile of one side was that of another speed than the other's, and one
    plan 1.09 to 1.59 times faster. In pairs of rounds it was 1.40 to 1.45.
T2: a cell is small (some per cent of the whole) and there are dozens, so within a round it is told from noise
    by what other programs cannot do, make an inference faster: the QUIET-th percentile of its samples. On a
    busy machine ratios of medians said that fewer channels take up to 1.5 times the time. A plan is measured
    by what is promised of it, medians.
T3: a process is up to a tenth faster or slower than its twin for as long as it lives, which no percentile of
    its samples shows: a plan is that of several.
T4: two runtimes of a large model hold twice its size, and are not open together: within a launch one comes
    after the other, and launches alternate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgekit import drafts
from edgekit.backends import registry, resident, worker_pool
from edgekit.backends.base import CompileRequest, IoForm
from edgekit.ir.external_data import is_large
from edgekit.ir.graph import is_onnx
from edgekit.measure.replicate import ROUNDS, Plan, log_ratio, replicate
from edgekit.measure.statistics import percentile
from edgekit.measure.timer import FEWEST_ROUNDS, ROUND_MS, Comparison, Rounds, Taken, take_rounds
from edgekit.passes import canonicalize
from edgekit.pipeline.latency import latency_row, ratio_row
from edgekit.pipeline.result.prune import PruneSpeedRow
from edgekit.spec import Artifact, Feeds, Precision, Progress, RunOptions, Silent, WatchedOptions
from edgekit.target import Target

QUIET = 10  # per cent of the samples of a round are faster (T2)
LOOKS, LAUNCHES = 5, 6  # T3: two odd processes of five are outvoted; six allow a verdict
TOGETHER = 6  # sessions beside the float model's: six processes of a small model fit any machine
FLOAT, PRUNED = "float", "pruned"

Launch = Callable[[Sequence[str], int], Taken]  # names, rounds


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
            together = 1 if self._alone else TOGETHER
            for start in range(0, len(models), together):
                part = dict(list(models.items())[start : start + together])
                with self._compiled(part, target) as launch:
                    taken = launch((FLOAT, *part), FEWEST_ROUNDS)
                for name in part:
                    found[name] += (1 - _quiet_ratio(taken.samples[name], taken.samples[FLOAT]),)
                progress.advance(len(part))
        return found

    def times_faster(self, model: ir.Model, progress: Progress) -> float:
        """How many times faster than float on the target that gains least."""
        found = []
        progress.stage("time a plan", total=len(self.targets))
        for target in self.targets:
            with self._compiled({PRUNED: model}, target) as launch:
                taken = [launch(_order(look), ROUNDS).samples for look in range(LOOKS)]
            found.append(math.exp(-percentile([log_ratio(each[PRUNED], each[FLOAT]) for each in taken], 50)))
            progress.advance()
        return min(found)

    def speeds(self, model: ir.Model, progress: Progress) -> tuple[PruneSpeedRow, ...]:
        """Latency and ratio of one model on each target."""
        rows = []
        progress.stage("time the pruned model", total=len(self.targets))
        for target in self.targets:
            compared = self._replicated(model, target)
            ratio = ratio_row(compared, PRUNED)
            assert ratio is not None  # noqa: S101  two launches at least (N4)
            float_, pruned = (latency_row(compared.latencies[name]) for name in (FLOAT, PRUNED))
            rows.append(PruneSpeedRow(target.name, float_, pruned, ratio))
            progress.advance()
        return tuple(rows)

    def _replicated(self, model: ir.Model, target: Target) -> Comparison:
        with self._compiled({PRUNED: model}, target) as launch:
            found = replicate(
                lambda names: launch(names, ROUNDS),
                (FLOAT, PRUNED),
                Plan(baseline=FLOAT, seed=self.seed, launches=LAUNCHES),
            )
        return found.comparison(baseline=FLOAT, seed=self.seed)

    @contextmanager
    def _compiled(self, models: Mapping[str, ir.Model], target: Target) -> Iterator[Launch]:
        """What opens, times and closes the models that it names, the float one among them."""
        options = target.run.options(threads=self.threads_of.get(target.name, self.threads))
        watched = WatchedOptions(options.threads, options.device, options.settings, lean=True)
        backend = registry.backend(target.backend)
        with drafts.temporary("edgekit-prune-") as folder:
            artifacts = {
                name: self._artifact(model, target, options, folder / str(number))
                for number, (name, model) in enumerate({FLOAT: self.reference, **models}.items())
            }
            if self._alone:  # what compiling took
                worker_pool.end()
                resident.given_back()

            def taken(names: Sequence[str], rounds: int) -> Taken:
                with ExitStack() as stack:
                    sessions = {
                        name: stack.enter_context(backend.open(artifacts[name], watched)) for name in names
                    }
                    return take_rounds(
                        sessions, self.feeds, rounds=rounds, round_ms=ROUND_MS, progress=Silent()
                    )

            def in_turn(names: Sequence[str], rounds: int) -> Taken:  # T4
                each = [taken((name,), rounds) for name in names]
                return Taken(
                    {name: rows for one in each for name, rows in one.samples.items()},
                    {name: warning for one in each for name, warning in one.warnings.items()},
                )

            yield in_turn if self._alone else taken

    @property
    def _alone(self) -> bool:
        return is_large(self.reference)

    def _artifact(self, model: ir.Model, target: Target, options: RunOptions, folder: Path) -> Artifact:
        folder.mkdir()
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
        return registry.backend(target.backend).compile(request, folder)


def slowest(rows: Sequence[PruneSpeedRow]) -> float:
    """How many times faster than float on the target that gains least."""
    return min(1 / row.ratio.value for row in rows)


def _quiet_ratio(candidate: Rounds, reference: Rounds) -> float:
    """T1, T2."""
    pairs = zip(candidate, reference, strict=True)
    return percentile([percentile(one, QUIET) / percentile(two, QUIET) for one, two in pairs], 50)


def _order(look: int) -> tuple[str, str]:
    """Who is opened first has no sign."""
    return (FLOAT, PRUNED) if look % 2 == 0 else (PRUNED, FLOAT)
