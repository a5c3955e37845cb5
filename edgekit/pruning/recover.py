"""Pruned and float model x calibration data -> the pruned model, trained to say what the float one says.

    min over weights  sum over outputs  mean (student(x) - teacher(x))^2 / var(teacher)

No labels: what the float model says is the target. Adam with a learning rate that rises for a tenth of the
steps and falls as a cosine; the weights that are kept are those of the end.

D1: samples are few (thousands) and weights many: every second batch is of mixtures a x1 + (1 - a) x2 of
    samples, which the teacher is asked about too. Only where all inputs are floating point.
D2: nothing about the data is assumed: no flips, no crops.
D3: all calibration samples are held in memory.

Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Beyer et al., "Knowledge
distillation: A good teacher is patient and consistent", CVPR 2022 (mixtures that the teacher sees as well).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import missing_extra
from edgekit.pruning import torch_graph
from edgekit.pruning.stream import whole_batches
from edgekit.spec import BatchStream, Progress, Silent

BATCH = 64
PEAK = 5e-4  # of Adam: on resnet20 8 epochs of it beat 22 of 2e-3 (78.5 % and 78.0 %)
WARM_UP = 0.1  # of the steps


@dataclass(frozen=True)
class Recovery:
    """What training did.

    Attributes:
        epochs: passes over the samples.
        first: error in the first epoch, as a part of the teacher's variance.
        last: likewise in the last.
    """

    epochs: int
    first: float
    last: float


def recover(
    teacher: ir.Model,
    student: ir.Model,
    *,
    batches: BatchStream,
    count: int,
    epochs: int,
    seed: int,
    threads: int | None,
    progress: Progress | None = None,
) -> tuple[ir.Model, Recovery]:
    """A trained copy of ``student``.

    Args:
        teacher: the float model.
        student: the pruned one; inputs and outputs of the same names.
        batches: batch size -> a pass over the data.
        count: samples to learn from.
        epochs: passes over them.
        seed: of order and mixtures.
        threads: of PyTorch; None = as many as it takes by itself.
        progress: advanced by epochs; the caller has opened the stage.

    Raises:
        InputError: an operator that recovery does not know.
        MissingBackendError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("PyTorch", "torch", needed_for="recovery (--recover)") from error
    torch_graph.check(teacher)
    torch_graph.check(student)
    if threads:
        torch.set_num_threads(threads)
    model = student.clone()
    data = _held(teacher, batches, count)
    weights = {
        name: torch.nn.Parameter(torch.from_numpy(np.array(value.const_value.numpy())))
        for name, value in model.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }
    fixed = {
        name: torch.from_numpy(np.array(value.const_value.numpy()))
        for name, value in teacher.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }
    asked, answering = torch_graph.function(teacher), torch_graph.function(model)
    optimizer = torch.optim.Adam(list(weights.values()), lr=PEAK)
    size = len(next(iter(data.values())))
    steps = epochs * -(-size // BATCH)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: part_of_peak(step, steps))
    generator = torch.Generator().manual_seed(seed)
    errors: list[float] = []
    for _ in range(epochs):
        total = 0.0
        for number, rows in enumerate(torch.randperm(size, generator=generator).split(BATCH)):
            feeds = {name: tensor[rows] for name, tensor in data.items()}
            if number % 2 and all(tensor.is_floating_point() for tensor in feeds.values()):
                feeds = _mixed(feeds, generator)
            with torch.no_grad():
                wanted = asked(fixed, feeds)
            loss = _difference(answering(weights, feeds), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            total += float(loss.detach()) * len(rows)
        errors.append(total / size)
        (progress or Silent()).advance()
    for name, parameter in weights.items():
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(parameter.detach().numpy().copy(), name=name)
    return model, Recovery(epochs, errors[0], errors[-1])


def part_of_peak(step: int, steps: int) -> float:
    """The learning rate as a part of PEAK."""
    rising = max(1, int(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _held(model: ir.Model, batches: BatchStream, count: int) -> dict[str, Any]:
    """D3."""
    import torch

    parts = list(whole_batches(model, batches, count=count, size=BATCH))
    return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def _mixed(feeds: dict[str, Any], generator: Any) -> dict[str, Any]:
    """D1."""
    import torch

    size = len(next(iter(feeds.values())))
    order = torch.randperm(size, generator=generator)
    share = torch.rand(size, generator=generator)
    result = {}
    for name, tensor in feeds.items():
        each = share.reshape(-1, *(1 for _ in tensor.shape[1:])).to(tensor.dtype)
        result[name] = each * tensor + (1 - each) * tensor[order]
    return result


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> Any:
    """Sum over outputs of the squared error as a part of the teacher's variance."""
    total: Any = 0
    for name, value in wanted.items():
        if value.is_floating_point():
            total = total + ((found[name] - value) ** 2).mean() / value.var().clamp_min(1e-12)
    return total
