"""Float model x pruned model x labelled data -> what the pruning cost, and whether the budget allows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.dataset import Dataset
from edgekit.dataset.held import Held
from edgekit.ir import io
from edgekit.ir.external_data import is_large, room
from edgekit.pipeline import in_turn
from edgekit.pipeline.evaluation import Evaluated, evaluate_pair, load_labelled
from edgekit.preprocess import Step
from edgekit.spec import Progress, RunOptions
from edgekit.validation.budget import Budget, Verdict
from edgekit.validation.budget import judge as hold

HELD_BYTES = 2**30  # calibration data of this size is read and pre-processed once


@dataclass(frozen=True)
class Judging:
    """Labelled data that the result is held against; ``data`` is "" where there is none."""

    data: str = ""
    metric: str = "top1"
    max_drop_pp: float | None = None
    expected: float | None = None

    def evaluated(
        self, reference: ir.Model, candidate: ir.Model, *, preprocess: tuple[Step, ...], progress: Progress
    ) -> Evaluated:
        """Both models on the same samples."""
        data = load_labelled(self.data, io.specs(reference)[0], preprocess=preprocess)
        opened, alone = partial(open_model, reference, RunOptions()), is_large(reference)
        with (
            in_turn.running(opened, data, alone=alone, name="float model", progress=progress) as first,
            open_model(candidate, RunOptions()) as session,
        ):
            return evaluate_pair(
                first,
                session,
                data,
                metric=self.metric,
                output_steps={},
                progress=progress,
                expected=self.expected,
            )

    def held(self, evaluated: Evaluated) -> Verdict:
        """Against the budget."""
        return hold(Budget(max_drop_pp=self.max_drop_pp), drop=evaluated.drop)


def in_memory(data: Dataset, *, beside: ir.Model) -> Dataset:
    """The same data, in memory where the model leaves room: it is passed over once for each layer."""
    return replace(data, samples=Held(data.samples, room(beside, most=HELD_BYTES), count=data.count))
