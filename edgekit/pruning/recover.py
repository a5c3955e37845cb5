"""Pruned and float model x calibration data -> the pruned model, trained to say what the float one says.

    min over weights   sum over outputs  mean (student(x) - teacher(x))^2 / var(teacher)
                     + JOINTS * mean over joints of the same

No labels are needed: what the float model says is the target, at its outputs and at the ends of its blocks
(``joints``). Where there are labels they are used as well (D5).
Adam with a learning rate that rises for a tenth of the steps and falls as a cosine; the weights that are kept
are those of the end. Convolutions are normalized while they are trained (``normalize``), unless what is
missing at first is less than NEAR: the noise of batches is of that size, and small steps do.

D1: samples are few (thousands) and weights many: one batch of MIXED is of mixtures a x1 + (1 - a) x2 of
    samples, which the teacher is asked about too. Only where all inputs are floating point.
D2: images are moved and shown in another light (``moved``). The teacher is asked about what came of it, so
    nothing has to be true of it.
D3: HELD_BYTES of calibration samples are held in memory, and a batch is no larger than BATCH_BYTES of
    activations.
D4: with ``half``, products are computed in bfloat16 (on processors with AMX twice as fast); weights stay
    float32.
D5: with labels LABELS * cross-entropy of the class scores is added, on samples that are not mixed: where the
    float model is wrong, nothing else says so. Only of a model with one output of shape (batch, classes).
D6: without labels, and where that output names classes (``class_scores.choices``), the class that the float
    model names for a sample as it lies there is its label, wherever the sample is moved.
D7: of a weight with zeros the gradients of these are zero, and so are Adam's steps.

Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Beyer et al., "Knowledge
distillation: A good teacher is patient and consistent", CVPR 2022 (mixtures and crops that the teacher sees
as well); Romero et al., "FitNets", 2015 (inner values).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError, missing_extra
from edgekit.pruning import torch_graph
from edgekit.pruning.class_scores import check_labels, choices, log_chances
from edgekit.pruning.joints import Joint
from edgekit.pruning.moved import moved
from edgekit.pruning.normalize import Normalizations
from edgekit.pruning.stream import sample_bytes, whole_batches
from edgekit.spec import Array, BatchStream, Progress, Silent

BATCH = 64
STEPS = 32  # of a pass, where samples are few: their batches are smaller
SMALLEST_STEPS_BATCH = 16
SMALLEST_BATCH = 8
BATCH_BYTES = 2**30  # of activations that gradients need: resnet18 at 224 pixels gets 16 samples
HELD_BYTES = 2**30
PEAK = 5e-4  # of Adam: on resnet20 8 epochs of it beat 22 of 2e-3 (78.5 % and 78.0 %)
NORMALIZED_PEAK = 5e-3  # behind a normalization; resnet20 takes 2e-3 to 6e-3, spoken digits gain up to 1e-2
NEAR = 0.05  # of the outputs' variance
JOINTS = 12.0  # beside the outputs: 10 passes leave 8.2 % of resnet20's variance with it, 9.1 % with 4
LABELS = 0.3  # resnet20 at 1.88 times, 20 epochs: 0.8 points are lost, 1.3 with 1, 3.7 without labels
MIXED = 4
WARM_UP = 0.1  # of the steps
LOOKED_AT = 2048  # samples for the first and the last means and variances


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
    labels: Array | None = None,
    joints: Sequence[Joint] = (),
    but_every: int = 0,
    zeros: Collection[str] = (),
    half: bool = False,
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
        labels: (count,) classes of the samples, in the order of ``batches``; None = there are none (D5, D6).
        joints: inner values that are compared as well.
        but_every: the first of so many samples, and so on, is not learned from; 0 = all are.
        zeros: names of weights whose zeros stay zero (D7).
        half: products in bfloat16 (D4).
        progress: advanced by epochs; the caller has opened the stage.

    Raises:
        InputError: an operator that recovery does not know, a label that no class score belongs to, or a loss
            that is not finite.
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
    held = _held(teacher, batches, count)
    classes = _classes_of(teacher, labels, len(next(iter(held.values()))))
    classes = None if classes is None else _but_every(classes, but_every)
    data = {name: _but_every(tensor, but_every) for name, tensor in held.items()}
    compared = _Compared(teacher, model, joints=joints, zeros=zeros, half=half)
    size = len(next(iter(data.values())))
    batch = min(_batch(teacher), max(SMALLEST_STEPS_BATCH, size // STEPS), size)
    batch = size // -(-size // batch)  # few are left over
    if classes is None:
        classes = compared.choices(data, batch)
    generator = torch.Generator().manual_seed(seed)
    # drawn: data often lies class by class, and means of some classes are not those of all
    drawn = torch.randperm(size, generator=generator)[: min(size, LOOKED_AT) // batch * batch].split(batch)
    some = [{name: tensor[rows] for name, tensor in data.items()} for rows in drawn]
    compared.normalize(some)
    optimizer = torch.optim.Adam(compared.groups())
    steps = epochs * (size // batch)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: part_of_peak(step, steps))
    errors: list[float] = []
    for _ in range(epochs):
        total = 0.0
        order = torch.randperm(size, generator=generator)
        for number, rows in enumerate(order[: size // batch * batch].split(batch)):
            feeds = {name: moved(tensor[rows], generator) for name, tensor in data.items()}
            said = None if classes is None else classes[rows]
            if number % MIXED == MIXED - 1 and all(tensor.is_floating_point() for tensor in feeds.values()):
                feeds, said = _mixed(feeds, generator), None
            loss = compared.loss(feeds, said)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            total += float(loss.detach())
        errors.append(total / (size // batch))
        (progress or Silent()).advance()
    if not math.isfinite(errors[-1]):
        raise InputError(
            "recovery came to numbers that are not finite",
            why="a step of training left the range in which an operator of the model is defined",
            remedy="leave --recover out; the pruned model is repaired by least squares all the same",
        )
    compared.write(model, some)
    return model, Recovery(epochs, errors[0], errors[-1])


class _Compared:
    """Teacher and student as functions of PyTorch; ``weights`` are the student's."""

    def __init__(
        self,
        teacher: ir.Model,
        student: ir.Model,
        *,
        joints: Sequence[Joint],
        zeros: Collection[str],
        half: bool,
    ) -> None:
        import torch

        self.joints, self.half = {joint.name: joint for joint in joints}, half
        self._normalizations = Normalizations(student)
        self.weights = {name: torch.nn.Parameter(tensor) for name, tensor in _trainable(student).items()}
        for name in zeros:
            weight = self.weights[name]
            weight.register_hook(partial(torch.mul, (weight.detach() != 0).to(weight.dtype)))
        self._fixed = _trainable(teacher)
        self._asked = torch_graph.function(teacher, also=tuple(self.joints))
        self._student = student

    def normalize(self, batches: Sequence[dict[str, Any]]) -> None:
        """Put normalizations in; ``batches`` give their first means and variances."""
        import torch

        self._answering = torch_graph.function(self._student, behind=self._normalizations.watch)
        with torch.no_grad():
            missing = [float(self._at_outputs(feeds)) for feeds in batches]
        if sum(missing) > NEAR * len(missing):
            self._normalizations.start()
        self._answering = torch_graph.function(
            self._student, also=tuple(self.joints), behind=self._normalizations.normalized
        )

    def _at_outputs(self, feeds: dict[str, Any]) -> Any:
        """The loss without joints."""
        feeds = {name: _as_image(tensor) for name, tensor in feeds.items()}
        wanted, found = self._asked(self._fixed, feeds), self._answering(self.weights, feeds)
        return sum(
            ((found[name] - value) ** 2).mean() / value.var().clamp_min(1e-12)
            for name, value in wanted.items()
            if name not in self.joints and value.is_floating_point()
        )

    def choices(self, data: dict[str, Any], batch: int) -> Any | None:
        """D6: (samples,) classes by the teacher; None where it has several outputs, or names none."""
        import torch

        names = [value.name or "" for value in self._student.graph.outputs]
        if len(names) != 1:
            return None
        parts = zip(*(tensor.split(batch) for tensor in data.values()), strict=True)
        said = []
        with torch.no_grad():
            for part in parts:
                feeds = {name: _as_image(tensor) for name, tensor in zip(data, part, strict=True)}
                said.append(self._asked(self._fixed, feeds)[names[0]])
        return choices(torch.cat(said))

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, and how fast."""
        fast = self._normalizations.weights
        own = [tensor for name, tensor in self.weights.items() if name in fast]
        rest = [tensor for name, tensor in self.weights.items() if name not in fast]
        groups = [
            {"params": [*own, *self._normalizations.parameters], "lr": NORMALIZED_PEAK},
            {"params": rest, "lr": PEAK},
        ]
        return [group for group in groups if group["params"]]

    def loss(self, feeds: dict[str, Any], classes: Any = None) -> Any:
        """Squared errors as parts of the teacher's variances, the outputs' sum and the joints'; and D5."""
        import torch

        feeds = {name: _as_image(tensor) for name, tensor in feeds.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            with torch.no_grad():
                wanted = self._asked(self._fixed, feeds)
            found = self._answering(self.weights, feeds)
        total: Any = 0
        for name, value in wanted.items():
            if not value.is_floating_point():
                continue
            joint = self.joints.get(name)
            target = value.float() if joint is None else _left(value.float(), joint)
            error = ((found[name].float() - target) ** 2).mean() / target.var().clamp_min(1e-12)
            total = total + (error if joint is None else JOINTS * error / len(self.joints))
            if joint is None and classes is not None:
                chances = log_chances(found[name].float(), like=value)
                total = total + LABELS * torch.nn.functional.nll_loss(chances, classes)
        return total

    def write(self, model: ir.Model, batches: Sequence[dict[str, Any]]) -> None:
        """The weights as they are now, without normalizations; ``batches`` give their last means."""
        import torch

        with torch.no_grad():
            for number, feeds in enumerate(batches, 1):
                self._normalizations.settle(number)
                self._answering(self.weights, {name: _as_image(tensor) for name, tensor in feeds.items()})
        self._normalizations.fold(model, self.weights)
        for name, parameter in self.weights.items():
            array = parameter.detach().contiguous().numpy().copy()
            model.graph.initializers[name].const_value = ir.tensor(array, name=name)


def _but_every(tensor: Any, number: int) -> Any:
    import torch

    return tensor[torch.arange(len(tensor)) % number != 0] if number else tensor


def _classes_of(model: ir.Model, labels: Array | None, count: int) -> Any:
    """D5: (count,) int64, or None where there are no labels or no class scores."""
    import torch

    outputs = model.graph.outputs
    if labels is None or len(outputs) != 1 or outputs[0].shape is None or len(outputs[0].shape) != 2:
        return None
    flat = np.asarray(labels).reshape(-1)[:count].astype(np.int64)
    size = outputs[0].shape[1]
    if len(flat) < count or not isinstance(size, int) or size < 2:
        return None
    check_labels(flat, size)
    return torch.from_numpy(flat)


def _trainable(model: ir.Model) -> dict[str, Any]:
    import torch

    return {
        name: _as_image(torch.from_numpy(np.array(value.const_value.numpy())))
        for name, value in model.graph.initializers.items()
        if torch_graph.is_trainable(value) and value.const_value is not None
    }


def _as_image(tensor: Any) -> Any:
    """Channels last in memory: oneDNN's convolutions need no reordering then."""
    import torch

    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _left(value: Any, joint: Joint) -> Any:
    """Of the teacher's value the channels that the student has."""
    import torch

    for axis, indices in enumerate(joint.kept):
        if indices is not None and len(indices) < value.shape[axis]:
            value = value.index_select(axis, torch.from_numpy(indices))
    return value


def part_of_peak(step: int, steps: int) -> float:
    """The learning rate as a part of PEAK."""
    rising = max(1, int(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _batch(model: ir.Model) -> int:
    """D3: values and their gradients are there at once."""
    each = 2 * sum(sample_bytes(value) for node in model.graph for value in node.outputs)
    return min(max(BATCH_BYTES // max(each, 1), SMALLEST_BATCH), BATCH)


def _held(model: ir.Model, batches: BatchStream, count: int) -> dict[str, Any]:
    """D3."""
    import torch

    first = next(iter(whole_batches(model, batches, count=1, size=1)))
    each = sum(array.nbytes for array in first.values()) // len(next(iter(first.values())))
    count = max(1, min(count, HELD_BYTES // max(each, 1)))
    parts = list(whole_batches(model, batches, count=count, size=BATCH))
    return {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts])[:count]) for name in parts[0]
    }


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
