"""Float model x calibration samples (x labels) -> what each channel is worth by the gradient of a loss.

    worth of c = mean over samples  (sum over readers of c  <dL/dW_c, W_c>)^2

W_c: the columns of a reader's weight that read c. The sum is the change of L when c goes, to first order; its
square is not lost where samples pull to both sides.

T1: with labels, L is the cross-entropy of the class scores: the label's.
T2: without, L is the float model's own: a label is drawn for each sample from what the model itself says. The
    mean of the squares is then twice the Kullback-Leibler divergence from the float outputs that c costs, to
    second order (its first order is zero: nothing has changed yet). Fisher's information.
T3: outputs that are no class scores: the sum of the outputs, each with a random sign and as a part of its
    deviation. The mean of the squares is the squared error that c costs there (Gauss-Newton).
T4: gradients are PyTorch's, on the ONNX graph itself (``torch_graph``): differences of two inferences would
    need one for each channel and sample. One sample at a time, at most LOOKED_AT.

Sources: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equations 5 to 8;
Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018 (T2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import InputError, missing_extra
from edgekit.pruning import torch_graph
from edgekit.pruning.class_scores import check_labels, log_chances
from edgekit.pruning.dependency import Dependencies
from edgekit.pruning.layers import Layer
from edgekit.pruning.stream import whole_batches
from edgekit.spec import Array, BatchStream, Progress, Silent

LOOKED_AT = 512  # samples: each costs three inferences, one by one
Loss = Any  # torch.Tensor of one number
Columns = list[tuple[str, int, tuple[int, ...]]]  # (weight, axis, indices)


def worth(
    found: Dependencies,
    readers: Sequence[Layer],
    *,
    batches: BatchStream,
    count: int,
    labels: Array | None = None,
    seed: int,
    progress: Progress | None = None,
) -> dict[int, float]:
    """Channel -> the mean square of the change of the loss, for every channel that ``readers`` read.

    Args:
        found: of the float model.
        readers: layers whose weights' columns belong to channels.
        batches: batch size -> a pass over the data.
        count: samples to look at, at most LOOKED_AT.
        labels: (count,) classes of the samples; None = the model's own (T2).
        seed: of drawn labels and signs.
        progress: advanced by samples; the caller has opened the stage.

    Raises:
        InputError: an operator that has no row in ``torch_graph``.
        MissingBackendError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_extra("PyTorch", "torch", needed_for="importance by gradients (taylor)") from error
    model = found.model
    _check(model)
    weights, fixed = _constants(model, {layer.weight_name for layer in readers})
    run = torch_graph.function(model)
    columns = _columns(found, readers)
    rng = np.random.default_rng(seed)
    total: dict[int, float] = dict.fromkeys(columns, 0.0)
    seen = 0
    for number, feeds in enumerate(_single(model, batches, count=min(count, LOOKED_AT))):
        outputs = run({**fixed, **weights}, {name: torch.from_numpy(a) for name, a in feeds.items()})
        loss = _loss(outputs, _labels(labels, feeds, number), rng)
        names = list(weights)
        gradients = torch.autograd.grad(loss, [weights[name] for name in names], allow_unused=True)
        pulled = {
            name: (gradient * weights[name]).detach().numpy().astype(np.float64)
            for name, gradient in zip(names, gradients, strict=True)
            if gradient is not None
        }
        for channel, change in _changes(pulled, columns).items():
            total[channel] += change**2
        seen += 1
        (progress or Silent()).advance()
    return {channel: value / max(seen, 1) for channel, value in total.items()}


def _check(model: ir.Model) -> None:
    """Raise InputError where gradients cannot be had."""
    try:
        torch_graph.check(model)
    except InputError as error:
        raise InputError(
            f"{error.what.replace('recovery does', 'gradients (--importance taylor) do')}",
            why=error.why,
            remedy="--importance obs or activation: they need no gradients",
        ) from error


def _constants(model: ir.Model, readers: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(weights of readers, that want a gradient; the other constants that ``torch_graph`` does not hold)."""
    import torch

    wanted, others = {}, {}
    for name, value in model.graph.initializers.items():
        if torch_graph.is_trainable(value) and value.const_value is not None:
            tensor = torch.from_numpy(np.array(value.const_value.numpy()))
            if name in readers:
                wanted[name] = tensor.requires_grad_()
            else:
                others[name] = tensor
    return wanted, others


def _columns(found: Dependencies, readers: Sequence[Layer]) -> dict[int, Columns]:
    """Channel -> (weight, axis, indices) of what reads it."""
    places = {(layer.weight_name, layer.axis) for layer in readers}
    result: dict[int, Columns] = {}
    for channel, parts in found.parts.items():
        mine = [(p.initializer, p.axis, tuple(p.indices)) for p in parts if (p.initializer, p.axis) in places]
        if mine:
            result[channel] = mine
    return result


def _changes(
    pulled: Mapping[str, npt.NDArray[np.float64]],
    columns: Mapping[int, Columns],
) -> dict[int, float]:
    """Channel -> sum of gradient times weight over its columns, of one sample."""
    sums: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
    for channel_parts in columns.values():
        for name, axis, _ in channel_parts:
            if name in pulled and (name, axis) not in sums:
                other = tuple(each for each in range(pulled[name].ndim) if each != axis)
                sums[name, axis] = pulled[name].sum(axis=other)
    return {
        channel: sum(float(sums[n, a][list(at)].sum()) for n, a, at in parts if (n, a) in sums)
        for channel, parts in columns.items()
    }


def _single(model: ir.Model, batches: BatchStream, *, count: int) -> Iterator[dict[str, Array]]:
    """One sample at a time; a graph with a fixed batch gets whole ones (V2 of ``stream``)."""
    yield from whole_batches(model, batches, count=count, size=1)


def _labels(labels: Array | None, feeds: Mapping[str, Array], number: int) -> list[int] | None:
    """Those of one batch (which is one sample, unless the graph wants more)."""
    if labels is None:
        return None
    size = len(next(iter(feeds.values())))
    flat = np.asarray(labels).reshape(-1)
    return [int(flat[row % len(flat)]) for row in range(number * size, (number + 1) * size)]


def _loss(outputs: Mapping[str, Any], labels: list[int] | None, rng: np.random.Generator) -> Loss:
    """T1 to T3."""
    import torch

    scores = _scores(outputs)
    if scores is not None:
        rows, classes = scores.shape
        if labels is None:
            chances = scores.detach().exp().double().numpy()
            labels = [int(rng.choice(classes, p=row / row.sum())) for row in chances]
        check_labels(labels, classes)
        return -scores[torch.arange(rows), torch.tensor(labels)].sum()
    total: Any = 0
    for value in outputs.values():
        if value.is_floating_point():
            signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=tuple(value.shape))).to(value.dtype)
            spread = value.detach().std() if value.numel() > 1 else value.detach().abs().max()
            total = total + (signs * value).sum() / spread.clamp_min(1e-12) / max(value.numel(), 1) ** 0.5
    return total


def _scores(outputs: Mapping[str, Any]) -> Any | None:
    """(batch, classes) logarithms of chances, where the only floating-point output is class scores."""
    floats = [value for value in outputs.values() if value.is_floating_point()]
    if len(floats) != 1 or floats[0].ndim != 2 or floats[0].shape[1] < 2:
        return None
    return log_chances(floats[0])
