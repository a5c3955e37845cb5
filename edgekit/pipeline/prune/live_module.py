"""`edgekit.prune` of a live torch.nn.Module: the same plan, carried out on the module itself.

    module -> ONNX with its layers apart -> plan, weights solved anew (``prune``) -> a smaller module

M1: only channels go all of whose weights the module has by name or by their numbers (``torch_shrink``), and
    that no size in the graph counts (Reshape, Pad, Split): those are written down in ``forward``. No residual
    branch goes as a whole: its layers are called there. An embedding width may be written down anywhere, and
    all layers read it: it is tried, by halving it, and stays where the module then computes something else.
M2: what comes out is run on one batch and held against the pruned ONNX, to PARITY of the output's range.
M3: biases that solving the weights added are added to the module's layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.errors import EdgekitError, InputError
from edgekit.frontends.parity import ParityReport
from edgekit.frontends.request import SourceRequest
from edgekit.frontends.torch import load_module
from edgekit.frontends.torch_shrink import Origin, origins, shrunk
from edgekit.ir import io
from edgekit.ir.graph import constant, int_attribute, is_onnx
from edgekit.passes import layers_apart
from edgekit.pipeline import calibrate, steps
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prune.asked import Asked, check
from edgekit.pipeline.prune.job import Job
from edgekit.pipeline.prune.judging import Judging, in_memory
from edgekit.pipeline.prune.outcome import outcome
from edgekit.pipeline.result import PruneResult
from edgekit.pruning.dependency import Dependencies, Group
from edgekit.pruning.reconstruct import carries
from edgekit.pruning.remove import remove
from edgekit.pruning.scales import is_normalization
from edgekit.spec import Array, Feeds, Progress, Runner, RunOptions, TensorSpec

PARITY = 1e-4  # of the output's range: as export is held against its framework
NAME = "the module"


def prune_module(
    module: Any,
    *,
    calibration_data: object,
    inputs: tuple[TensorSpec, ...],
    asked: Asked,
    judging: Judging,
    progress: Progress,
    preprocess: Path | None = None,
) -> tuple[Any, PruneResult]:
    """(a smaller copy of ``module``, what was made and measured).

    A missed speed or budget is in the result's exit code; the module is made all the same.

    Raises:
        InputError: nothing may go, the plan cannot be carried out on the module, or zeros or recovery are
            asked for.
        ExportError: the module cannot be exported.
        DataError: the data does not fit.
    """
    check(asked)
    asked = replace(asked, repair="layers")  # blocks are trained in the user's own loop
    if asked.zeros is not None or asked.recover:
        raise InputError(
            "a module is pruned by keep or by speedup alone",
            why="zeros would be trained away, and training the module is what it is handed back for",
            remedy="leave sparsity, pattern and recover out, or prune the exported .onnx",
        )
    progress.stage("export the module, layers apart")
    mode = module.training
    own = copy.deepcopy(module).eval()
    request = SourceRequest(source=NAME, base=Path.cwd(), inputs=inputs, layers_apart=True)
    model = layers_apart(load_module(copy.deepcopy(own), request).model)
    known = origins(own, model)
    _forget_zero_biases(model, known)
    inputs_, outputs = io.specs(model)
    canonical = Canonical(model, "torch", ParityReport((), 0, 0, PARITY), inputs_, outputs)
    done_first = steps.read(preprocess) if preprocess is not None else ()
    data = in_memory(
        calibrate.load(
            canonical, calibration_data, samples=asked.samples, seed=asked.seed, preprocess=done_first
        ),
        beside=canonical.model,
    )
    job = Job(
        canonical,
        data,
        asked,
        judging,
        done_first,
        progress,
        may_go=follows(
            channels_of(known),
            lambda pruned: _runs(_carried_out(own, pruned, known), request),
            next(iter(data.batches(2))),
        ),
        branches=False,
    )
    found = job.by_speed() if asked.speedup is not None else job.by_part()
    made = _carried_out(own, found.model, known)
    hold(_runs(made, request), found.model, next(iter(data.batches(2))), what=NAME)
    made.train(mode)
    return made, _by_parameters(outcome(job, found, Path(NAME)), known)


def _by_parameters(result: PruneResult, known: Mapping[str, Origin]) -> PruneResult:
    """Groups by the names that the module gives its parameters: the exporter calls a turned one "val_6"."""
    names = {name: origin.name for name, origin in known.items()}
    return replace(
        result,
        widths=tuple(replace(row, group=names.get(row.group, row.group)) for row in result.widths),
        table=tuple(replace(row, group=names.get(row.group, row.group)) for row in result.table),
    )


def channels_of(known: Collection[str]) -> Callable[[Dependencies, Group], bool]:
    """M1."""

    def may_go(found: Dependencies, group: Group) -> bool:
        written_down = {
            int(number)
            for rewrite in found.rewrites
            if rewrite.place != "group" and rewrite.counted is not None
            for number in rewrite.counted
        }
        return all(name in known for name, _ in group.places) and not written_down & set(group.channels)

    return may_go


def follows(
    may_go: Callable[[Dependencies, Group], bool], carried_out: Callable[[ir.Model], Runner], feeds: Feeds
) -> Callable[[Dependencies, Group], bool]:
    """``may_go``, and of the channels that a normalization is over only those that the live model can lose.

    Args:
        may_go: of any channels.
        carried_out: a pruned graph -> the live model that should compute it.
        feeds: some samples.
    """
    known: dict[str, bool] = {}

    def can(found: Dependencies, group: Group) -> bool:
        if not may_go(found, group):
            return False
        if not is_normalized(found, group):
            return True
        if group.name not in known:
            pruned = remove(found, group.channels[: len(group.channels) // 2])
            try:
                hold(carried_out(pruned), pruned, feeds, what=NAME)
            except EdgekitError:  # it does not run, or computes something else
                known[group.name] = False
            else:
                known[group.name] = True
        return known[group.name]

    return can


def is_normalized(found: Dependencies, group: Group) -> bool:
    """Whether a normalization along axes of a sample is over these channels."""
    own = frozenset(group.channels)
    return any(
        is_normalization(node) and carries(found.values.get(_read(node), ()), own)
        for node in found.model.graph
    )


def _read(node: ir.Node) -> str:
    value = node.inputs[0]
    return value.name or "" if value is not None else ""


def _forget_zero_biases(model: ir.Model, known: Mapping[str, Origin]) -> None:
    """The exporter writes zeros where a layer has no bias: one that the module does not know goes."""
    for node in model.graph:
        if not is_onnx(node, "Conv", "ConvTranspose") or len(node.inputs) < 3:
            continue
        bias = node.inputs[2]
        array = constant(bias)
        if bias is not None and bias.name not in known and array is not None and not array.any():
            node.resize_inputs(2)


def _carried_out(module: Any, pruned: ir.Model, known: Mapping[str, Origin]) -> Any:
    """``pruned``'s weights in a copy of the module (M3)."""
    arrays: dict[str, Array] = {}
    for name, origin in known.items():
        array = constant(pruned.graph.initializers.get(name))
        if array is not None:
            arrays[origin.name] = array.T if origin.turned else array
    biases: dict[str, Array] = {}
    groups: dict[str, int] = {}
    for node in pruned.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        owner = known.get(weight.name or "") if weight is not None else None
        if owner is None or not is_onnx(node, "Conv", "ConvTranspose", "Gemm"):
            continue
        if not is_onnx(node, "Gemm"):
            groups[owner.name] = int_attribute(node, "group", 1)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        array = constant(bias)
        if bias is not None and array is not None and bias.name not in known:
            biases[owner.name] = array
    return shrunk(module, arrays, biases=biases, groups=groups)


def _runs(made: Any, request: SourceRequest) -> Runner:
    try:
        reference = load_module(copy.deepcopy(made), request).reference
    except EdgekitError as error:
        raise _cannot_follow(NAME, error.what) from error
    assert reference is not None  # noqa: S101  a module always is its own reference
    return reference


def hold(reference: Runner, pruned: ir.Model, feeds: Feeds, *, what: str) -> None:
    """M2.

    Raises:
        InputError: what was made computes something else.
    """
    with open_model(pruned, RunOptions()) as session:
        wanted = session.run(feeds)
    for name, found in reference.run(feeds).items():
        expected = np.asarray(wanted[name], np.float64)
        if found.shape != expected.shape:
            raise _cannot_follow(what, f"output {name!r} has shape {found.shape}, expected {expected.shape}")
        off = float(np.abs(np.asarray(found, np.float64) - expected).max()) / (float(np.ptp(expected)) or 1.0)
        if not off <= PARITY:
            raise _cannot_follow(what, f"output {name!r} differs by {off:.3g} of its range")


def _cannot_follow(what: str, found: str) -> InputError:
    return InputError(
        f"the plan cannot be carried out on {what}: {found}",
        why="its forward pass writes down a size that pruning changes, or uses a weight in a way of its own",
        remedy="take sizes from the tensors (x.flatten(1), x.shape), or prune the exported model: "
        "`edgekit prune model.onnx ...`",
        more="docs/pruning.md",
    )
