"""ONNX file -> .pte: a program for ExecuTorch, with the parts that XNNPACK computes lowered to its delegate.

    .onnx --lowered--> graph --torch.export--> program --XnnpackPartitioner--> delegates and the rest --> .pte

A file has a bound for open sizes (setting ``executorch.largest``): memory is planned ahead of time. Inputs
lie where the caller has them and are not planned. The same model gives the same bytes.

PyTorch chooses a kernel for convolutions while it traces, although no kernel of its own will run; two of its
libraries bound the batch there (fewer than 16), so they are switched off.

Source: docs.pytorch.org/executorch, "XNNPACK backend" and "Memory planning"; PyTorch, fake_impls.py (conv).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgekit.backends import torch_module
from edgekit.backends.executorch_file import calls_of
from edgekit.backends.executorch_lowering import lowered
from edgekit.backends.executorch_operators import OPERATORS
from edgekit.errors import InputError, MissingBackendError
from edgekit.spec import PORTABLE

INSTALL = 'pip install "edgekit[executorch]"'
LARGEST = "executorch.largest"  # of each open size
_CHOICES = ("refuse", "allow")


def write_program(source: str, out: str, *, settings: Mapping[str, str]) -> dict[str, Any]:
    """Called in a worker: ONNX file ``source`` -> ``out``.

    Returns:
        "delegates" and "kernels" as ``executorch_file.Calls`` has them, and the "seconds" that it took.

    Raises:
        MissingBackendError: ExecuTorch or PyTorch cannot be imported.
        InputError: a setting is unknown.
    """
    known = checked(settings)
    torch = imported("torch")
    imported("executorch.exir")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers quantized_decomposed

    begin = time.perf_counter()
    torch.backends.mkldnn.set_flags(False)
    torch.backends.nnpack.set_flags(False)
    model = lowered(ir.load(source))
    module = torch_module.module_of(model, operators=OPERATORS, steps=torch_module.Steps())
    program = torch_module.exported(model, module, device="cpu", largest=int(known[LARGEST]))
    edge = to_edge_transform_and_lower(
        program,
        partitioner=[XnnpackPartitioner()],
        # operators outside of ATen's core, of which a check would be the only user, have portable kernels too
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    finished = edge.to_executorch(
        ExecutorchBackendConfig(
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
        )
    )
    Path(out).write_bytes(finished.buffer)
    calls = calls_of(Path(out))
    return {
        "delegates": calls.delegates,
        "kernels": calls.kernels,
        "seconds": time.perf_counter() - begin,
    }


def checked(settings: Mapping[str, str]) -> dict[str, str]:
    """``settings`` with the defaults of those that are left out.

    Raises:
        InputError: one is not known, or has a value that means nothing.
    """
    found = {LARGEST: "64", PORTABLE: "refuse"} | dict(settings)
    wrong = next(iter({*found} - {LARGEST, PORTABLE}), "")
    if not found[LARGEST].isdigit() or int(found[LARGEST]) < 1:
        wrong = LARGEST
    if found[PORTABLE] not in _CHOICES:
        wrong = PORTABLE
    if wrong:
        raise InputError(
            f"unknown setting {wrong} = {found[wrong]!r}",
            why=f"this target has {LARGEST} (a number) and {PORTABLE} ({' or '.join(_CHOICES)})",
            remedy="correct [run.settings] of the target",
        )
    return found


def imported(name: str) -> Any:
    """A module of ExecuTorch, or PyTorch.

    Raises:
        MissingBackendError: it cannot be imported.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingBackendError(
            f"{name.partition('.')[0]} cannot be imported: {error}",
            why="it compiles and runs this target's artifacts",
            remedy=INSTALL,
            more="edgekit doctor",
        ) from error
