"""TorchScript file -> ExportedProgram -> ONNX model.

    torch.jit.load --run once--> output names --TS2EPConverter--> ExportedProgram --torch_export--> Model

A TorchScript program is a program: it cannot import, but torch gives it operators that write files. Those are
looked for before anything is loaded, because loading runs ``__setstate__``. torch.export makes every axis
dynamic that the program does not fix; the declared inputs then narrow them.

Source: torch/_export/converter.py (TS2EPConverter), what torch.export offers for ScriptModules.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ExportError, ModelFileError
from edgekit.frontends.explain import explain
from edgekit.frontends.extras import import_extra
from edgekit.frontends.quiet import quiet
from edgekit.frontends.request import Loaded, SourceRequest
from edgekit.frontends.torch import TRACE_BATCH, load_exported, refuse_weights, run_once
from edgekit.frontends.torch_arguments import Arguments
from edgekit.frontends.torch_inputs import inputs_of
from edgekit.spec import TensorSpec

_FILE_OPERATORS = re.compile(r"\b(?:torch|aten)\.(save|from_file)\(")


def load_script(request: SourceRequest) -> Loaded:
    """Export a TorchScript file.

    Raises:
        ModelFileError: the file is damaged, or (unless trusted) its program writes files.
        ExportError: no inputs are declared, the program does not run on them, weights are given besides, or
            it cannot be converted.
    """
    torch = import_extra("torch", needed_for=request.source)
    refuse_weights(request)
    script = _read(request.base / request.source, torch, trust_source=request.trust_source)
    parameters = _parameters(script)
    inputs = inputs_of(script, parameters, request)
    arguments = _by_position(inputs.arguments, parameters, request.source)
    names = arguments.names

    def call(tensors: Sequence[Any]) -> Any:
        positional, _ = arguments.fill(dict(zip(names, tensors, strict=True)))
        return script(*positional)

    arrays = inputs.arrays(TRACE_BATCH)
    run_once(call, {name: arrays[name] for name in names}, request.source)
    positional, _ = arguments.fill(
        {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    )
    program = _converted(script, positional, request.source)
    return load_exported(program, call, _in_order(request, inputs.specs), names=names)


def _read(path: Path, torch: Any, *, trust_source: bool) -> Any:
    try:
        found = () if trust_source else _file_operators(path)
        if not found:
            with quiet():
                return torch.jit.load(path, map_location="cpu").eval()
    except Exception as error:  # torch raises whatever the damaged member provokes
        raise ModelFileError(
            f"{path.name} is a damaged TorchScript file: {explain(error)}",
            why="its members cannot be read",
            remedy="write it again with torch.jit.save, or better with torch.export.save as .pt2",
        ) from error
    raise ModelFileError(
        f"{path.name} reads or writes files ({', '.join(found)})",
        why="a model computes; a program that touches files may do harm",
        remedy="export it again without them; or add --trust-source if you made the file yourself",
    )


def _file_operators(path: Path) -> tuple[str, ...]:
    with zipfile.ZipFile(path) as archive:
        code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
    return tuple(sorted({f"torch.{found}" for text in code for found in _FILE_OPERATORS.findall(text)}))


def _parameters(script: Any) -> dict[str, Parameter]:
    arguments = script.forward.schema.arguments[1:]  # the first one is self
    return {
        each.name: Parameter(each.name, Parameter.POSITIONAL_OR_KEYWORD, annotation=str(each.type))
        for each in arguments
    }


def _by_position(arguments: Arguments, parameters: Mapping[str, Parameter], source: str) -> Arguments:
    """The same call without names: the converter takes none."""
    if not arguments.named:
        return arguments
    order = [name for name in parameters if name in arguments.named]
    if order != list(parameters)[: len(order)]:
        absent = next(name for name in parameters if name not in arguments.named)
        raise ExportError(
            f"parameter {absent!r} of {source} is not declared, and one after it is",
            why="a TorchScript program is exported with arguments by position, which have no gaps",
            remedy=f"declare {absent!r} too",
        )
    return Arguments(tuple(arguments.named[name] for name in order), {})


def _converted(script: Any, positional: tuple[Any, ...], source: str) -> Any:
    try:
        converter = import_extra("torch._export.converter", needed_for=source)
        with quiet():
            return converter.TS2EPConverter(script, positional).convert()
    except Exception as error:  # the converter raises whatever an operator that it does not know leads to
        raise ExportError(
            f"{source} cannot be converted from TorchScript: {explain(error)}",
            why="torch.export takes a part of TorchScript only",
            remedy="export the module that it was made from: edgekit export model.py:build",
            more="https://docs.pytorch.org/docs/stable/export.html",
        ) from error


def _in_order(request: SourceRequest, specs: tuple[TensorSpec, ...]) -> SourceRequest:
    """``request`` with the dynamic axes among its declared inputs, to be compared with the program's."""
    return SourceRequest(
        request.source,
        request.base,
        inputs=specs,
        opset=request.opset,
        trust_source=request.trust_source,
    )
