"""A compiled file without a description beside it (.tflite, .xml) -> Contents, Artifact.

The file's own interface is the reference: its names, its layout, floats where it takes integers with a scale.
A file that somebody else compiled can so be inspected, opened, validated and benched like our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgekit import target as targets
from edgekit.backends import openvino_reading
from edgekit.backends.base import file_entries
from edgekit.backends.litert import reading as litert_reading
from edgekit.errors import InputError, ModelFileError
from edgekit.ir.contents import Contents
from edgekit.spec import ELEMENT_TYPES, Artifact, IoBinding

# extension -> the target whose runtime runs such files, and who reads them
FORMS: Mapping[str, tuple[str, Callable[[Path], Contents]]] = {
    ".tflite": ("litert-cpu", litert_reading.read),
    ".xml": ("openvino-cpu", openvino_reading.read),
}
_PARTS = {".tflite": (), ".xml": (".bin",)}


def is_compiled(path: Path) -> bool:
    """Whether the name is that of a file whose content says how it is to be opened."""
    return path.suffix in FORMS


def contents(path: Path) -> Contents:
    """What is inside.

    Raises:
        ModelFileError: it cannot be read, or it is damaged.
        MissingBackendError: what reads it is not installed.
    """
    return FORMS[path.suffix][1](path)


def artifact(path: Path) -> Artifact:
    """The artifact that a bare compiled file is by itself.

    Raises:
        InputError: a file that belongs to it is missing.
        ModelFileError: it cannot be read, or it is damaged.
        MissingBackendError: what reads it is not installed.
    """
    found = contents(path)
    for suffix in _PARTS[path.suffix]:
        part = path.with_suffix(suffix)
        if not part.is_file():
            raise InputError(
                f"{path} has no {part.name} beside it",
                why="the weights are in that file",
                remedy=f"copy {part.name} into {path.parent}",
            )
    _hold_to_arrays(path, (*found.inputs, *found.outputs))
    target = targets.load(FORMS[path.suffix][0])
    steps = {
        binding.reference.name: binding.quant.scale[0]
        for binding in found.outputs
        if binding.quant is not None
    }
    return Artifact(
        folder=path.parent,
        files=file_entries(path.parent, found.files),
        target=target.name,
        backend=target.backend,
        precision=found.precision,
        options=target.run.options(),
        inputs=found.inputs,
        outputs=found.outputs,
        output_steps=steps,
        notes=(f"a {found.form} file without a description, opened by its own interface", *found.notes),
    )


def _hold_to_arrays(path: Path, bindings: Sequence[IoBinding]) -> None:
    """Runtimes know element types that no array has, such as strings; a damaged file says anything.

    Raises:
        ModelFileError: an input or output has such a type.
    """
    for binding in bindings:
        strange = next(
            (each for each in (binding.reference.dtype, binding.dtype) if each not in ELEMENT_TYPES), None
        )
        if strange is not None:
            raise ModelFileError(
                f"{path.name} cannot be opened: {binding.name!r} has the element type {strange!r}",
                why="edgekit gives and takes arrays of numbers",
                remedy="convert the model again with a type of numbers; `edgekit inspect` shows it",
            )
