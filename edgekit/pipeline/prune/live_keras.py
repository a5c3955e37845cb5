"""`edgekit.prune` of a live keras.Model: the same plan, carried out on a new model of the same layers.

    model -> ONNX with its layers apart -> plan, weights solved anew (``prune``) -> a smaller model

As ``live_module`` for PyTorch; M1 to M3 are there. What Keras has of its own:

K1: the graph is written layer by layer (``keras_apart``), so that every constant has an owner, and is held
    against the model before anything is pruned.
K2: a bias behind the depthwise half of a SeparableConv, which has no place for one, goes through the
    pointwise half into that one's: nothing lies between them.
K3: recovery trains the smaller Keras model itself; what it learned goes back into the graph, where
    it is judged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.backends.onnxruntime import open_model
from edgekit.errors import InputError
from edgekit.frontends import parity
from edgekit.frontends.keras import load_reference
from edgekit.frontends.keras_apart import Apart, apart
from edgekit.frontends.keras_shrink import shrunk
from edgekit.frontends.keras_writer import Origin
from edgekit.frontends.parity import ParityReport
from edgekit.frontends.request import SourceRequest
from edgekit.ir import io
from edgekit.ir.graph import constant, int_attribute, is_onnx
from edgekit.passes import layers_apart
from edgekit.pipeline import calibrate, steps
from edgekit.pipeline.model import Canonical
from edgekit.pipeline.prune.asked import Asked, check
from edgekit.pipeline.prune.job import Job
from edgekit.pipeline.prune.judging import Judging, in_memory
from edgekit.pipeline.prune.live_module import PARITY, channels_of, follows, hold
from edgekit.pipeline.prune.outcome import outcome
from edgekit.pipeline.result import PruneResult
from edgekit.pruning.recover_keras import recover_keras
from edgekit.spec import Array, Progress, Runner, RunOptions, TensorSpec

NAME = "the model"
SEED = 0  # of the inputs of the proof


def prune_keras(
    model: Any,
    *,
    calibration_data: object,
    inputs: tuple[TensorSpec, ...],
    asked: Asked,
    judging: Judging,
    progress: Progress,
    preprocess: Path | None = None,
) -> tuple[Any, PruneResult]:
    """(a smaller keras.Model, what was made and measured).

    A missed speed or budget is in the result's exit code; the model is made all the same.

    Raises:
        InputError: a layer cannot be pruned, nothing may go, zeros are asked for, or what was written does
            not compute what the model does.
        ExportError: the model does not run on its inputs.
        DataError: the data does not fit.
    """
    check(asked)
    asked = replace(asked, repair="layers")  # blocks are trained in the user's own loop
    if asked.zeros is not None:
        raise InputError(
            "a Keras model is pruned by keep or by speedup alone",
            why="zeros would be trained away, and training the model is what it is handed back for",
            remedy="leave sparsity and pattern out, or prune the exported .onnx",
        )
    progress.stage("write the model, layers apart")
    request = SourceRequest(source=NAME, base=Path.cwd(), inputs=inputs)
    reference = load_reference(model, request)
    found = apart(model, reference.inputs, tuple(spec.name for spec in reference.outputs))
    graph = layers_apart(found.model)
    proof = _proved(reference, graph)
    inputs_, outputs = io.specs(graph)
    canonical = Canonical(graph, "keras", proof, inputs_, outputs)
    done_first = steps.read(preprocess) if preprocess is not None else ()
    data = in_memory(
        calibrate.load(
            canonical, calibration_data, samples=asked.samples, seed=asked.seed, preprocess=done_first
        ),
        beside=canonical.model,
    )
    live = LiveModel(model, found)

    def trained(pruned: ir.Model) -> ir.Model:
        """K3."""
        small = live.carried_out(pruned)
        recover_keras(
            model,
            small,
            names=tuple(spec.name for spec in inputs_),
            batches=data.batches,
            count=data.count,
            epochs=asked.recover,
            seed=asked.seed,
            progress=progress,
        )
        return layers_apart(apart(small, inputs_, tuple(spec.name for spec in outputs)).model)

    job = Job(
        canonical,
        data,
        asked,
        judging,
        done_first,
        progress,
        may_go=follows(
            channels_of(found.known),
            lambda pruned: load_reference(live.carried_out(pruned), request),
            next(iter(data.batches(2))),
        ),
        branches=False,
        trained=trained,
    )
    chosen = job.by_speed() if asked.speedup is not None else job.by_part()
    made = live.carried_out(chosen.model)
    hold(load_reference(made, request), chosen.model, next(iter(data.batches(2))), what=NAME)
    return made, outcome(job, chosen, Path(NAME))


def _proved(reference: Runner, graph: ir.Model) -> ParityReport:
    """K1."""
    with open_model(graph, RunOptions()) as session:
        report = parity.check(reference, session, tolerance=PARITY, seed=SEED)
    if not report.passed:
        worst = report.worst
        raise InputError(
            f"the graph that edgekit wrote for {NAME} differs at output {worst.name!r} by "
            f"{worst.relative:.3g} of its range",
            why="pruning a graph that computes something else would prune another model",
            remedy="export the model and prune the file: `edgekit prune model.onnx ...`",
            more="docs/pruning.md",
        )
    return report


@dataclass(frozen=True, eq=False)
class LiveModel:
    """The model, and whose each constant of its graph is."""

    model: Any
    found: Apart

    def carried_out(self, pruned: ir.Model) -> Any:
        """A smaller model with the graph's weights."""
        groups = _groups(pruned)
        arrays: dict[int, dict[str, Array]] = defaultdict(dict)
        for name, origin in self._origins():
            array = constant(pruned.graph.initializers.get(name))
            if array is None:
                raise InputError(
                    f"{name} is not in the pruned graph",
                    why="a layer whose weights have gone cannot be built",
                    remedy="export the model and prune the file: `edgekit prune model.onnx ...`",
                )
            arrays[id(origin.layer)][origin.name] = origin.back(np.asarray(array), groups.get(name, 1))
        self._new_biases(pruned, arrays)
        by_layer = {
            id(origin.layer): groups[name]
            for name, origin in self._origins()
            if name in groups and origin.name == "kernel"
        }
        return shrunk(self.model, arrays, groups=by_layer)

    def _new_biases(self, pruned: ir.Model, arrays: dict[int, dict[str, Array]]) -> None:
        """M3, K2."""
        for node in pruned.graph:
            weight = node.inputs[1] if len(node.inputs) > 1 else None
            bias = node.inputs[2] if len(node.inputs) > 2 else None
            origin = self.found.known.get(weight.name or "") if weight is not None else None
            array = constant(bias)
            if origin is None or bias is None or array is None or bias.name in self.found.known:
                continue
            if not is_onnx(node, "Conv", "ConvTranspose", "Gemm"):
                continue
            own = arrays[id(origin.layer)]
            if origin.name == "depthwise_kernel":
                mix = np.asarray(own["pointwise_kernel"], np.float64)  # (*spatial of 1, in, out)
                array = np.asarray(array, np.float64) @ mix.reshape(mix.shape[-2], mix.shape[-1])
            before = np.asarray(own.get("bias", np.zeros_like(array)), np.float64)
            own["bias"] = before + np.asarray(array, np.float64)

    def _origins(self) -> list[tuple[str, Origin]]:
        return [(name, origin) for name, origin in self.found.known.items() if origin is not None]


def _groups(model: ir.Model) -> Mapping[str, int]:
    """Initializer of a convolution's weight -> its groups."""
    return {
        node.inputs[1].name or "": int_attribute(node, "group", 1)
        for node in model.graph
        if is_onnx(node, "Conv", "ConvTranspose") and node.inputs[1] is not None
    }
